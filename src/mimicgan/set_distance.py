"""How far simulated damage is from the observations, as sets: nothing is paired."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mimicgan.losses import distances, energy_distance, spread

POSITIONAL = 6
"""The views with one row an image come first; those of patches have several."""
BANDS = (0.5, 1.5, 2.5, 4.5, 7.5)
"""Upper ends of the frequency bands, in cycles a side. What is finer says more of the prior than of
the damage: generators have their own texture."""
FAINT = 1e-3
"""Power in a band that counts as none: that of noise of 4 grey levels of 255."""
POOLED = 1
"""Which of the views is the pooled one."""
Corners = tuple[tuple[int, int], ...]


class SetDistance:
    """Distance of simulated damage to fixed observations (n, c, h, w) in [-1, 1].

    A mean of energy distances over views of the images: whole, pooled, differenced, their grey
    values and roughness sorted, their power in bands of low frequencies, and small patches; each
    divided by the spread of the observations in that view.
    """

    def __init__(self, y: Tensor, corners: Corners, scales: list[Tensor] | None = None) -> None:
        self.y, self.corners = y, corners
        self.observed = self.views(y)
        self.scales = scales or [
            distances(v, v).mean().clamp(min=0.05 * max(1, v.shape[1]) ** 0.5)
            for v in self.observed
        ]
        self.within = [spread(v) for v in self.observed]

    def to(self, y: Tensor) -> "SetDistance":
        """The distance to other images, in the same places and units."""
        return SetDistance(y, self.corners, self.scales)

    def paired(self, simulated: Tensor) -> Tensor:
        """Mean distance of each simulated observation to its own real one, about 1 for strangers.

        Both are pooled, so that noise and lost pixels hardly count.
        """
        ours, theirs = _pooled(simulated), self.observed[POOLED]
        return (ours - theirs).square().sum(dim=1).sqrt().mean() / self.scales[POOLED]

    def views(self, x: Tensor) -> list[Tensor]:
        """The views of x (n, c, h, w), each (m, k)."""
        across, along = x.diff(dim=3), x.diff(dim=2)
        edges = torch.cat([across.flatten(1), along.flatten(1)], dim=1)
        grey = _quantiles(thinned(x.flatten(2)), 64).flatten(1)
        rough = _quantiles(thinned(edges).abs(), 64)
        patches = torch.cat([x[:, :, i : i + 4, j : j + 4].flatten(1) for i, j in self.corners])
        return [x.flatten(1), _pooled(x), edges, grey, rough, band_powers(x), patches]

    def shares(self, simulated: Tensor) -> Tensor:
        """How far each observation is from the simulated ones on average, (n,), in the distance's
        units: between two damages, how much their difference owes to single observations."""
        terms = [
            distances(ours, theirs).mean(dim=0).view(-1, len(self.y)).mean(dim=0) / scale
            for ours, theirs, scale in zip(
                self.views(simulated), self.observed, self.scales, strict=True
            )
        ]
        return 2 * torch.stack(terms).mean(dim=0)

    def __call__(self, simulated: Tensor) -> Tensor:
        """The distance of simulated observations (m, c, h, w); about zero when they match."""
        terms = [
            energy_distance(ours, theirs, within) / scale
            for ours, theirs, within, scale in zip(
                self.views(simulated), self.observed, self.within, self.scales, strict=True
            )
        ]
        return torch.stack(terms).mean()


def _pooled(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 4, ceil_mode=True).flatten(1)


def band_powers(x: Tensor) -> Tensor:
    """Logarithms of the power of x (n, c, h, w) in bands of low frequencies, (n, k).

    A wide blur hardly changes the pixels when it grows wider, but takes whole octaves away.
    """
    height, width = x.shape[2:]
    level = x.mean(dim=(2, 3), keepdim=True)
    power = torch.fft.rfft2(faded(x - level), norm="ortho").abs().square()
    down, across = torch.fft.fftfreq(height).abs() * height, torch.fft.rfftfreq(width) * width
    ends = torch.tensor(BANDS)
    rows, columns = torch.bucketize(down, ends), torch.bucketize(across, ends)
    low = (rows < len(BANDS))[:, None] & (columns < len(BANDS))
    low[0, 0] = False
    band = (rows[:, None] * len(BANDS) + columns)[low]
    sizes = torch.bincount(band, minlength=len(BANDS) ** 2)
    total = x.new_zeros(*x.shape[:2], len(sizes)).index_add(2, band, power[..., low])
    return (total[..., sizes > 0] / sizes[sizes > 0] + FAINT).log().flatten(1)


def faded(x: Tensor) -> Tensor:
    """x (n, c, h, w) faded to zero at the borders, which a spectrum would count as edges."""
    height, width = x.shape[2:]
    window = torch.hann_window(height, False)[:, None] * torch.hann_window(width, False)
    return x * window


def thinned(x: Tensor, count: int = 400) -> Tensor:
    """At most ``count`` of the values along the last side, from everywhere.

    Sorting all values of large images would take longer than all the rest.
    """
    size = x.shape[-1]
    # The golden section spreads the places evenly, along neither rows nor columns. Without a common
    # divisor none comes twice before all have come, and no column is left out.
    step = round(0.618034 * size)
    while math.gcd(step, size) > 1:
        step += 1
    return x[..., torch.arange(min(count, size)) * step % size]


def ranked(own: Tensor, wanted: Tensor, at: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Share (k,) of the values ``own`` that lie below each of ``at`` (k,), and the values
    ``wanted`` in order: what has the same rank among them. At most ``count`` of both are taken.
    """
    now, then = (thinned(values.flatten(), count).sort().values for values in (own, wanted))
    return torch.searchsorted(now, at.contiguous()).double() / len(now), then


def _quantiles(x: Tensor, count: int) -> Tensor:
    every = torch.linspace(0, x.shape[-1] - 1, count).long()
    # Without a gradient numpy sorts ten times as fast.
    ordered = x.sort(dim=-1).values if x.requires_grad else torch.from_numpy(np.sort(x.numpy()))
    return ordered[..., every]


def random_corners(
    shape: tuple[int, int, int], generator: torch.Generator, count: int = 6
) -> Corners:
    """Where SetDistance takes its 4x4 patches (smaller ones of smaller images) of ``shape``."""
    rows, columns = (
        torch.randint(max(1, side - 3), (count,), generator=generator) for side in shape[1:]
    )
    return tuple(zip(rows.tolist(), columns.tolist(), strict=True))
