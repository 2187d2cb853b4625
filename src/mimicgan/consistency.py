"""What the observations hold comes through: restored images are taken towards those that the learnt
damage turns into the observations, as far as both can be trusted."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mimicgan.blurs import shaped
from mimicgan.damage import ComposedDamage

STEPS = 20
AT_ONCE = 400_000
"""Pixels, of all channels, of the images that take a step together: their gradient takes room."""
RATE = 0.06
"""Step of Adam at first, of [-1, 1]; it falls to a tenth."""
CALM = 0.1
"""Slope below which steps are shorter: where nothing is missing, nothing is to move."""
EXACT = 3e-4
"""Mean square error, of [-1, 1], of the best learnt damage: no less is asked of a pixel."""
MOST = 10.0
"""Factor at most by which a restorer is further off on real images than on generated ones: where
most pixels' residuals say more, it is the damage that is wrong."""
FAR = 5.0
"""Factor above which a blur with a shape is not exact enough to be asked: of other damages it may
be a few pixels that make it as large."""
TRIED = 64
"""Generated images on which the steps are tried."""
SURE = 2.0
"""Standard errors above which a mean residual is no chance."""
ODD = 3.0
"""Factor from which a pixel's residual is more than the restorer's error explains."""


@torch.inference_mode(False)
def consistent(damage: ComposedDamage, y: Tensor, x: Tensor, slack: Tensor) -> Tensor:
    """Images near restored ones x that ``damage`` turns into y, all (n, c, h, w) in [-1, 1].

    Steps on the sum of |f(x') - y|^2 / slack + |x' - x|^2, each image by itself. ``slack``
    (c, h, w) is the error of a pixel of f over that of a pixel of x, both mean squares; f is
    ``damage`` without what is random.
    """
    still, count = damage.still(), max(1, AT_ONCE // slack.numel())
    parts = zip(torch.split(y, count), torch.split(x, count), strict=True)
    # Callers may run under inference_mode, whose tensors can take no part in a gradient.
    return torch.cat([_stepped(still, a.clone(), b.clone(), slack.clone()) for a, b in parts])


def _stepped(still: ComposedDamage, y: Tensor, x: Tensor, slack: Tensor) -> Tensor:
    y, x = y.detach(), x.detach()
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    near = x
    for step in range(STEPS):
        near = near.detach().requires_grad_(True)
        with torch.enable_grad():
            loss = ((still(near) - y).square() / slack + (near - x).square()).sum() / 2
            (slope,) = torch.autograd.grad(loss, near)
        first.lerp_(slope, 0.2)
        second.lerp_(slope.square(), 0.1)
        mean, size = first / (1 - 0.8 ** (step + 1)), second / (1 - 0.9 ** (step + 1))
        rate = RATE * (1 - 0.9 * step / STEPS)
        near = near.detach() - rate * mean / (size.sqrt() + CALM)
    return near.clamp(-1, 1)


@dataclass(frozen=True)
class Residuals:
    """What a damage leaves unexplained, per pixel (c, h, w), as mean squares of [-1, 1]."""

    damage: ComposedDamage
    clean: Tensor
    """Generated images (n, c, h, w), ``simulated`` from them, and ``again``: restored of these."""
    simulated: Tensor
    again: Tensor
    noise: Tensor
    """Of simulated observations, given the clean images."""
    ours: Tensor
    """Of simulated observations, given what is restored of them."""
    theirs: Tensor
    """Of the real ones, given what is restored of those."""
    chance: float
    """Standard error of the mean of ``noise`` over as many images as are observed."""

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        damage: ComposedDamage,
        clean: Tensor,
        simulated: Tensor,
        again: Tensor,
        y: Tensor,
        restored: Tensor,
    ) -> "Residuals":
        """``simulated`` are images ``clean`` damaged, ``again`` what is restored of them, and
        ``restored`` of the observations y; all (n, c, h, w) in [-1, 1]."""
        still = damage.still()
        noise, ours, theirs = (
            (still(images) - shown).square()
            for images, shown in ((clean, simulated), (again, simulated), (restored, y))
        )
        chance = float(noise.flatten(1).mean(dim=1).std(correction=0)) / math.sqrt(len(y))
        noise, ours, theirs = (each.mean(dim=0) for each in (noise, ours, theirs))
        return cls(damage, clean, simulated, again, noise, ours, theirs, chance)

    @property
    def beyond(self) -> Tensor:
        """Of the real ones, more than noise."""
        return self.theirs - self.noise

    @property
    def within(self) -> Tensor:
        """Of simulated ones, more than noise; negative where a mean is nearer to it."""
        return self.ours - self.noise

    @property
    def factor(self) -> Tensor:
        """How many times further off the restorer is on real images, in squares.

        1 where noise hides how far off it is on generated ones: a ratio to next to nothing, or to
        less, would be anything.
        """
        within = self.within.mean()
        if within < SURE * self.chance:
            return torch.ones(())
        return (self.beyond.mean() / within.clamp(min=1e-6)).clamp(1, MOST)

    @property
    def contradict(self) -> bool:
        """Whether most pixels of the observations say that the damage is wrong."""
        return float((self.beyond > MOST * self.within.clamp(min=1e-6)).float().mean()) > 0.5


@torch.no_grad()
def slack_of(residuals: Residuals, left: float) -> Tensor | None:
    """The slack (c, h, w) of ``consistent`` for the damage and a restorer; None where the steps
    would leave more than the share ``left`` of the mean square error, or the damage is wrong or its
    blur not exact.

    How much further the residuals of the real ones are from zero tells how much further off the
    restorer is on them.
    """
    factor = residuals.factor
    if residuals.contradict or (factor > FAR and shaped(residuals.damage)):
        return None
    noise, clean, again = residuals.noise, residuals.clean, residuals.again
    odd = (residuals.theirs - ODD * (noise + factor * residuals.ours)).clamp(min=0)
    error = (again - clean).square().mean().clamp(min=1e-6)
    slack: Tensor = (noise + odd + EXACT) / (factor * error)
    few = slice(TRIED)
    off = clean[few] + factor.sqrt() * (again[few] - clean[few])
    before = (off - clean[few]).square().mean()
    moved = consistent(residuals.damage, residuals.simulated[few], off, slack)
    return slack if (moved - clean[few]).square().mean() < left * before else None
