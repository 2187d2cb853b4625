"""Variations of a damage that no gradient leads to: given the means, greys and losses of images."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mimicgan.blurs import same_power
from mimicgan.damage import ComposedDamage, knots, plain_values
from mimicgan.first_guess import FirstGuesses
from mimicgan.pattern import BOUND, covered, paired_signs, without_pattern
from mimicgan.places import same_place
from mimicgan.set_distance import ranked


def matched(
    damage: ComposedDamage, x: Tensor, y: Tensor, guesses: FirstGuesses | None = None
) -> Iterator[ComposedDamage]:
    """Copies under which images x (m, c, h, w) share something with y (n, c, h, w).

    ``guesses`` are first guesses of the clean images of y.
    """
    yield (same := same_moments(damage, x, y))
    yield same_means(damage, x, y)
    yield from same_power(damage, x, y)
    yield from impulses(damage, x, y)
    if guesses is not None:
        bare = without_pattern(same)(guesses.of(same))
        yield (signed := paired_signs(same, bare, y))
        # Beside what is covered there may be a pattern, or none that was not there before.
        for each in (signed, damage):
            hidden = covered(each, bare, y)
            if hidden is None:
                break
            yield hidden
    yield same_place(damage, x, y)
    yield same_greys(damage, x, y)
    yield same_greys(damage, x, y, falling=True)
    yield same_greys(levelled(damage), x, y)
    for other in stuck(damage, x, y):
        yield other
        yield same_moments(other, x, y)


@torch.no_grad()
def same_moments(damage: ComposedDamage, x: Tensor, y: Tensor) -> ComposedDamage:
    """A copy whose gain and offset give every pixel the mean and spread that it has in y."""
    other = damage.copied()
    now = other(x)
    ratio = (y.std(dim=0) / now.std(dim=0).clamp(min=0.05)).clamp(0, 3)
    gain = (1 + other.gain) * ratio
    other.offset.copy_(y.mean(dim=0) - ratio * (now.mean(dim=0) - other.offset))
    other.gain.copy_(gain - 1)
    return other


@torch.no_grad()
def same_means(damage: ComposedDamage, x: Tensor, y: Tensor) -> ComposedDamage:
    """A copy whose offset gives every pixel the mean that it has in y, by bisection: moments do not
    tell how far beyond black or white a pixel is that was cut off there."""
    other = damage.copied()
    shown = without_pattern(damage)(x) * (1 + damage.gain)
    # A pixel that is always black may be just that.
    wanted = y.mean(dim=0).clamp(-0.998, 0.998)
    low, high = torch.full_like(wanted, -2.0), torch.full_like(wanted, 2.0)
    for _ in range(12):
        middle = (low + high) / 2
        dark = (shown + middle).clamp(-1, 1).mean(dim=0) < wanted
        low, high = torch.where(dark, middle, low), torch.where(dark, high, middle)
    other.offset.copy_((low + high) / 2)
    return other


@torch.no_grad()
def edged(damage: ComposedDamage, x: Tensor, y: Tensor) -> Iterator[ComposedDamage]:
    """Copies that draw edges in black, then take the greys of y: with others none comes near it."""
    if damage.edges.any():
        return
    for strength in (1.5, 3.0):
        other = damage.copied()
        other.edges[1] = strength
        yield same_greys(other, x, y)


RARE = 0.02
"""Share of pixels below which an odd grey value may be chance."""


@torch.no_grad()
def impulses(damage: ComposedDamage, x: Tensor, y: Tensor) -> Iterator[ComposedDamage]:
    """Copies in which lost pixels take the grey value, or the two, that y has most too often."""
    whole = damage.copied()
    whole.chance[:2] = plain_values(damage.shape, damage.size)["chance"][:2]
    now, wanted, shown = _histogram(whole(x)), _histogram(y), _levels(y)
    kept, values = torch.ones(()), torch.zeros(0, dtype=torch.long)
    for count in range(1, 3):
        excess = wanted - kept * now
        excess[values] = 0.0
        if excess.max() < RARE:
            return
        values = torch.cat([values, excess.argmax(dim=0, keepdim=True)])
        greys = torch.stack([_commonest(shown, value) for value in values])
        # Where every pixel is kept with one chance, so are those of all other values together.
        kept = ((1 - wanted[values].sum()) / (1 - now[values].sum()).clamp(min=1e-3)).clamp(0.02, 1)
        lost = (wanted[values] - kept * now[values]).clamp(min=0)
        other = whole.copied()
        # The second kind goes over the first.
        share = lost / (1 - torch.cat([lost[1:], lost.new_zeros(1)]))
        other.chance[:count] = share.clamp(0.01, 0.98).logit()
        other.value[:count] = greys / 127.5 - 1
        other.spread[:count] = 0.0
        yield other


LUMPED = 0.05
"""The same of one that lies together, as parts of pictures do."""


@torch.no_grad()
def lumps(damage: ComposedDamage, x: Tensor, y: Tensor) -> Iterator[ComposedDamage]:
    """Copies in which lost blocks, rows or a square take the grey value that y has most too often;
    none where pixels of that value do not lie together."""
    whole = damage.copied()
    whole.chance.copy_(plain_values(damage.shape, damage.size)["chance"])
    now, wanted = _histogram(whole(x)), _histogram(y)
    excess, value = (wanted - now).max(dim=0)
    lost = excess / (1 - now[value]).clamp(min=1e-3)
    shown = _levels(y).view_as(y)
    there = (shown // 4 == value).all(dim=1)
    beside = (there[..., 1:] & there[..., :-1]).sum() / there[..., :-1].sum().clamp(min=1)
    # What all images show in one place was not lost here and there.
    fixed = (there.float().mean(dim=0) > 0.9).float().mean()
    if excess < LUMPED or lost - fixed < LUMPED or beside < (1 + there.float().mean()) / 2:
        return
    # One square an image; a part of it may lie outside.
    side = 1.1 * (lost * y[0, 0].numel()).sqrt()
    grey = _commonest(shown, value) / 127.5 - 1
    for kind, chance in ((2, lost), (3, lost), (4, torch.tensor(0.99))):
        other = whole.copied()
        other.chance[kind] = chance.clamp(0.01, 0.99).logit()
        other.value[kind] = grey
        other.spread[kind] = 0.0
        if kind == 4:
            other.square.copy_(side.log())
        yield other


def _histogram(images: Tensor) -> Tensor:
    """Share (64,) of the pixels at each four of 256 levels of [-1, 1].

    Generated black is not always quite black.
    """
    levels = _levels(images) // 4
    return torch.bincount(levels, minlength=64) / len(levels)


def _commonest(levels: Tensor, value: Tensor) -> Tensor:
    """The most frequent of ``levels`` (any shape) among the four that are one ``value``."""
    return levels[levels // 4 == value].mode().values


def _levels(images: Tensor) -> Tensor:
    return ((images.clamp(-1, 1) + 1) * 127.5).round().long().flatten()


COPIED = 0.15
"""How far apart two columns of the observations are at most, as a share of what is usual between
them, if one shows what the other does."""
SAME = 3.0
"""How much further than usual among columns that show the same one of them may be from the rest."""


@torch.no_grad()
def stuck(damage: ComposedDamage, x: Tensor, y: Tensor) -> Iterator[ComposedDamage]:
    """A copy whose columns and rows show others where those of y (n, c, h, w) do, but for a fixed
    pattern; none where none of them do."""
    now = damage(x)
    across = _sources(now, y)
    along = _sources(now.transpose(2, 3), y.transpose(2, 3))
    if across.any() or along.any():
        other = damage.copied()
        other.columns.copy_(across)
        other.rows.copy_(along)
        yield other


def _sources(now: Tensor, y: Tensor) -> Tensor:
    """How many columns on, (w,), each column of y takes what it shows; zero for its own.

    ``now`` (m, c, h, w) are images whose columns all show their own.
    """
    usual, apart = _unlikeness(now), _unlikeness(y)
    alike, steps = apart <= COPIED * usual, torch.zeros(len(apart))
    moved = (y.mean(dim=0) - now.mean(dim=0)).square().mean(dim=(0, 1))
    while (alike.sum(dim=1) > 1).any():
        first = alike[int(alike.sum(dim=1).argmax())]
        # Neighbours are alike in any picture: what else they are alike decides, and how alike.
        group = (alike[:, first].float().mean(dim=1) >= 0.5).nonzero()[:, 0]
        within = apart[group][:, group].median(dim=1).values
        group = group[within <= SAME * within.median() + 1e-3]
        # The one that they all show is where it belongs, and has no other's fixed pattern.
        steps[group] = (group[moved[group].argmin()] - group).float()
        alike[group] = False
        alike[:, group] = False
    return steps


def _unlikeness(images: Tensor) -> Tensor:
    """(w, w): mean square difference of two columns, as a share of their variance; one for those
    that hardly vary."""
    columns = (images - images.mean(dim=0)).permute(3, 0, 1, 2).flatten(1)
    power = columns.square().mean(dim=1)
    both = power[:, None] + power
    apart = both - 2 * columns @ columns.T / columns.shape[1]
    share = torch.where(torch.minimum(power[:, None], power) > 1e-3, apart / both, 1.0)
    return share.fill_diagonal_(0.0)


NEAR = 0.04
"""How far knots of a curve are at most from a value that they may stand for."""


@torch.no_grad()
def saturated(damage: ComposedDamage, y: Tensor) -> ComposedDamage:
    """A copy whose curve ends just where y (n, c, h, w) ends, at each end where y often does.

    A restorer takes what is all but saturated for something else.
    """
    other = damage.copied()
    ends = torch.zeros_like(other.curve, dtype=torch.bool)
    ends[[0, 1, -2, -1]] = True
    for value in (y.min(), y.max()):
        if ((y - value).abs() < 1 / 255).float().mean() > RARE:
            near = (other.curve - value).abs() < NEAR
            # Near black and white there are tones as well.
            near = near & ends if value.abs() > BOUND else near
            other.curve.copy_(torch.where(near, value, other.curve))
    return other


@torch.no_grad()
def levelled(damage: ComposedDamage) -> ComposedDamage:
    """A copy that takes each image's own median off, as automatic exposure and thresholds do."""
    other = damage.copied()
    other.level.fill_(1.0)
    return other


@torch.no_grad()
def same_greys(
    damage: ComposedDamage, x: Tensor, y: Tensor, *, falling: bool = False
) -> ComposedDamage:
    """A copy whose curve gives all pixels together the grey values that they have in y.

    With ``falling`` the brightest become the darkest, as in a negative.
    """
    other = damage.copied()
    other.curve.copy_(knots())
    rank, wanted = ranked(other(x), y, other.curve, 50000)
    rank = 1 - rank if falling else rank
    other.curve.copy_(wanted[(rank * (len(wanted) - 1)).long()])
    return other
