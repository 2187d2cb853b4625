"""Variations of a damage that no gradient leads to: turned, moved, given the greys of images."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mimicgan.damage import ComposedDamage, knots
from mimicgan.first_guess import FirstGuesses
from mimicgan.pattern import covered, paired_signs, without_pattern
from mimicgan.set_distance import thinned


def matched(
    damage: ComposedDamage, x: Tensor, y: Tensor, guesses: FirstGuesses | None = None
) -> Iterator[ComposedDamage]:
    """Copies under which images x (m, c, h, w) share something with y (n, c, h, w).

    ``guesses`` are first guesses of the clean images of y.
    """
    yield (same := same_moments(damage, x, y))
    if guesses is not None:
        bare = without_pattern(same)(guesses.of(same))
        yield (signed := paired_signs(same, bare, y))
        hidden = covered(signed, bare, y)
        if hidden is not None:
            yield hidden
    yield same_place(damage, x, y)
    yield same_greys(damage, x, y)
    yield same_greys(damage, x, y, falling=True)
    yield same_greys(levelled(damage), x, y)
    for other in stuck(damage, x, y):
        yield other
        yield same_moments(other, x, y)


@torch.no_grad()
def turned(damage: ComposedDamage, generator: torch.Generator) -> Iterator[ComposedDamage]:
    """Copies that mirror the images or turn them first, by right angles where they are square, and
    by two angles drawn at random: no gradient leads so far."""
    _, height, width = damage.shape
    angles = torch.rand(2, generator=generator) * 2 * torch.pi
    cos, sin = angles.cos(), angles.sin()
    turns = [torch.diag(torch.tensor(signs)) for signs in ((1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0))]
    if height == width:
        turns += [turn.flip(0) for turn in (torch.eye(2), *turns)]
    turns += [torch.tensor([[c, -s], [s, c]]) for c, s in zip(cos, sin, strict=True)]
    for turn in turns:
        other = damage.copied()
        other.affine.copy_(turn @ (torch.eye(2, 3) + damage.affine) - torch.eye(2, 3))
        yield other


@torch.no_grad()
def same_place(damage: ComposedDamage, x: Tensor, y: Tensor) -> ComposedDamage:
    """A copy that moves and stretches images, so that what differs among them lies where it does
    in y; beyond the edge is what most pixels of y's edges show."""
    other = damage.copied()
    (at, size), (wanted_at, wanted_size) = _whereabouts(other(x)), _whereabouts(y)
    # The damage shows at u what was at (affine u); u is first taken to its place in x.
    stretch = torch.diag(size / wanted_size.clamp(min=1e-3))
    move = torch.cat([stretch, (at - stretch @ wanted_at).unsqueeze(1)], dim=1)
    before = torch.eye(2, 3) + other.affine
    after = before[:, :2] @ move
    after[:, 2] += before[:, 2]
    other.affine.copy_(after - torch.eye(2, 3))
    edges = [y[:, :, 0], y[:, :, -1], y[..., 0], y[..., -1]]
    other.outside.fill_(1.0)
    other.fill.copy_(torch.cat([edge.flatten() for edge in edges]).median())
    return other


def _whereabouts(images: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and spread (2,), in [-1, 1] across and down, of what differs among images."""
    spread = images.std(dim=0).mean(dim=0)
    weight = (spread - spread.flatten().quantile(0.1)).clamp(min=1e-6)
    found = []
    for share in (weight.sum(dim=0), weight.sum(dim=1)):
        at, share = (torch.arange(len(share)) * 2 + 1) / len(share) - 1, share / share.sum()
        middle = (share * at).sum()
        found.append((middle, (share * (at - middle).square()).sum().sqrt()))
    centres, spreads = zip(*found, strict=True)
    return torch.stack(centres), torch.stack(spreads)


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


COPIED = 0.15
"""How far apart two columns of the observations are at most, as a share of what is usual between
them, if one shows what the other does."""


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
    while (alike.sum(dim=1) > 1).any():
        first = alike[int(alike.sum(dim=1).argmax())]
        # Neighbours are alike in any picture: what else they are alike decides.
        member = alike[:, first].float().mean(dim=1) >= 0.5
        group, rest = member.nonzero()[:, 0], ~member
        # The one that they all show is as like the other columns as these are.
        shares = usual[group].clamp(min=1e-3) / apart[group].mean(dim=0).clamp(min=1e-3)
        source = group[shares[:, rest].log().abs().sum(dim=1).argmin()]
        steps[group] = (source - group).float()
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
    now, wanted = (thinned(values.flatten(), 50000).sort().values for values in (other(x), y))
    rank = torch.searchsorted(now, other.curve.contiguous()).double() / len(now)
    rank = 1 - rank if falling else rank
    other.curve.copy_(wanted[(rank * (len(wanted) - 1)).long()])
    return other
