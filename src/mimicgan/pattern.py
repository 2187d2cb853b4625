"""A fixed pattern, a gain and an offset for each pixel, from guessed clean images and observations.

As sets, 25 observations cannot tell so many numbers, nor the sign of a gain; guesses of the clean
images can, since they draw on the pixels around.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from mimicgan.damage import ComposedDamage

STIFF = 1e-3
"""Variance, of [-1, 1], below which a pixel keeps the gain that it has."""

BOUND = 0.999
"""Where black and white begin, of [-1, 1]."""
FEWEST = 8
"""Pairs from which a pixel's pattern is learnt."""
SURE = 8.0
"""F from which a pixel's pattern counts. Beyond chance, a restorer's errors go with what is shown,
which looks like a pattern."""
FAINT = 0.1
"""Standard deviation, of [-1, 1], below which a pixel shows no noise."""


def pixelwise(damage: ComposedDamage) -> bool:
    """Whether pixels have a gain or an offset each, beside what is covered."""
    beside = damage.grain == 0
    return bool(damage.gain[beside].any() or damage.offset[beside].any())


def has_pattern(damage: ComposedDamage) -> bool:
    """Whether ``damage`` has a fixed pattern, and nothing that hides it in single images."""
    still = damage.jitter.item() == 0 and bool((damage.chance.sigmoid() < 0.01).all())
    return still and pixelwise(damage)


@torch.no_grad()
def changes_contrast(damage: ComposedDamage) -> bool:
    """Whether the fixed pattern multiplies many pixels, of those that are not covered."""
    multiplied = (damage.gain.abs() > 0.3) & (damage.grain == 0)
    return float(multiplied.float().mean()) > 0.1


@torch.no_grad()
def without_pattern(damage: ComposedDamage) -> ComposedDamage:
    """A copy without the fixed pattern and without what is random."""
    other = damage.still()
    other.gain.zero_()
    other.offset.zero_()
    return other


@torch.no_grad()
def paired_signs(damage: ComposedDamage, z: Tensor, y: Tensor) -> ComposedDamage:
    """A copy whose gains have the signs by which z and the observations y go together.

    z is what ``damage`` makes of guessed clean images ``without_pattern``; both (n, c, h, w) in
    [-1, 1]. What a pixel shows on average stays: sets do not tell these two.
    """
    other = damage.copied()
    centre = z.mean(dim=0)
    gain = 1 + damage.gain
    turned = ((z - centre) * (y - y.mean(dim=0))).mean(dim=0) * gain < 0
    other.gain.copy_(torch.where(turned, -gain, gain) - 1)
    other.offset.add_(torch.where(turned, 2 * gain * centre, 0.0))
    return other


@torch.no_grad()
def covered(damage: ComposedDamage, z: Tensor, y: Tensor) -> ComposedDamage | None:
    """A copy that shows nothing but noise in the pixels of y that have nothing in common with z;
    None where there are hardly any.

    z as in ``paired_signs``. Sets alone take such noise for a picture of the same contrast.
    """
    apart, wanted = z - z.mean(dim=0), y - y.mean(dim=0)
    power = apart.square().mean(dim=0) * wanted.square().mean(dim=0)
    shared = (apart * wanted).mean(dim=0).square() / power.clamp(min=1e-8)
    # What lies before a picture hides all of its channels. Two standard errors of the correlation
    # of strangers; several channels are surer, and a guess holds some of what it was made from.
    limit = (4 if len(shared) == 1 else 6) / len(z)
    strange = (shared.mean(dim=0) < limit) & (y.std(dim=0) > FAINT).all(dim=0)
    # Single pixels are like that by chance: what is covered lies together.
    together = _around(strange.float(), functional.avg_pool2d) > 0.6
    together |= strange & (_around(together.float(), functional.max_pool2d) > 0)
    together = together.expand_as(y[0])
    if together.float().mean() < 0.01:
        return None
    other = damage.copied()
    other.gain.masked_fill_(together, -1.0)
    other.offset.copy_(torch.where(together, y.mean(dim=0), other.offset))
    other.grain.copy_(torch.where(together, y.std(dim=0), other.grain))
    return other


def _around(pixels: Tensor, pool: Callable[..., Tensor]) -> Tensor:
    """``pool`` of the 3x3 pixels around each of (h, w)."""
    return pool(pixels[None, None], 3, stride=1, padding=1)[0, 0]


@torch.no_grad()
def paired_pattern(
    damage: ComposedDamage, x: Tensor, y: Tensor, guess: Tensor | None = None
) -> ComposedDamage:
    """A copy whose gain and offset take guesses x of clean images to their observations y.

    All (n, c, h, w) in [-1, 1]. Least squares for each pixel on what is neither black nor white in
    y, shrunk towards no pattern as far as chance could have made it (James and Stein 1961). A pixel
    with fewer than ``FEWEST`` such pairs, or that is covered, keeps what it has. Where x were taken
    to what ``damage`` shows, they fit it whether it is right or not: what is chance is told from
    ``guess``, which were not.
    """
    z = without_pattern(damage)(x)
    # What was cut off at black or white says only that it lies beyond.
    whole = (y.abs() < BOUND).float()
    count = whole.sum(dim=0)

    def mean(values: Tensor) -> Tensor:
        return (values * whole).sum(dim=0) / count.clamp(min=1)

    def least_squares(z: Tensor) -> tuple[Tensor, Tensor]:
        centre, wanted = mean(z), mean(y)
        spread, shared = mean((z - centre).square()), mean((z - centre) * (y - wanted))
        gain = (shared + STIFF * (1 + damage.gain)) / (spread + STIFF)
        return gain, wanted - gain * centre

    def apart(z: Tensor) -> Tensor:
        return ((y - z).square() * whole).sum(dim=0)

    gain, offset = least_squares(z)
    doubted = z if guess is None else without_pattern(damage)(guess)
    slope, start = least_squares(doubted)
    left = apart(slope * doubted + start)
    # F of the two numbers: how much more they explain than chance would.
    chance = left / (count - 2).clamp(min=1) + 1e-4
    more = (apart(doubted) - left).clamp(min=0) / 2 / chance
    real = 1 - SURE / more.clamp(min=SURE)
    known = (count >= FEWEST) & (damage.grain == 0)
    other = damage.copied()
    other.gain.copy_(torch.where(known, real * (gain - 1), damage.gain))
    other.offset.copy_(torch.where(known, real * offset, damage.offset))
    return other
