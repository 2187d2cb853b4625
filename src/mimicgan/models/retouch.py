"""What a narrow generator gets wrong in all of its images, and a fit would take for a damage."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mimicgan.set_distance import ranked

LEVELS = 513
"""Entries of a table, evenly from one end of its range to the other."""
SIZES = (3, 5)
"""Sides of the means that details are what is left of: fine ones, then coarser ones."""
VALUES = 2_000_000
"""Values of each kind, at most, that a table is made from."""


class Retouch(nn.Module):
    """Generated images (n, c, h, w) in [-1, 1] -> the same, nearer to the training images as a set.

    Their mean image, the power of each ring of frequencies, how many details are small and how many
    large, and the grey values of each channel become those of the training images, in turn. One
    fixed map for all images, a few numbers beside the generator's own.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.image_shape = image_shape
        even = torch.linspace(0, 1, LEVELS)
        self.register_buffer("made", torch.zeros(image_shape))
        self.register_buffer("real", torch.zeros(image_shape))
        self.register_buffer("power", torch.ones(channels, _ring_count(height, width)))
        self.register_buffer("details", 2 * even.repeat(len(SIZES), 1))
        self.register_buffer("greys", (2 * even - 1).repeat(channels, 1))

    made: Tensor
    """(c, h, w), the mean of the generated images."""
    real: Tensor
    """(c, h, w), that of the training images."""
    power: Tensor
    """(c, rings), factors of the amplitudes by their frequency, in cycles a side."""
    details: Tensor
    """(2, LEVELS), what becomes of details from 0 to 2, whatever their sign."""
    greys: Tensor
    """(c, LEVELS), what becomes of values from -1 to 1."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self._toned(self._detailed(self._ringed(x)))

    @classmethod
    @torch.no_grad()
    def fitted(cls, made: Tensor, real: Tensor) -> "Retouch":
        """That which takes ``made`` (n, c, h, w) to ``real`` (m, c, h, w), both in [-1, 1]."""
        self = cls((real.shape[1], real.shape[2], real.shape[3]))
        self.made.copy_(made.mean(dim=0))
        self.real.copy_(real.mean(dim=0))
        ours, theirs = (self._power(x - x.mean(dim=0)) for x in (made, real))
        self.power.copy_((theirs / ours).sqrt().nan_to_num(nan=1.0, posinf=1.0))
        x = self._ringed(made)
        for table, own, wanted in zip(self.details, _layers(x), _layers(real), strict=False):
            table.copy_(_table(own.abs(), wanted.abs(), 0.0, 2.0))
        x = self._detailed(x)
        for channel, table in enumerate(self.greys):
            table.copy_(_table(x[:, channel], real[:, channel], -1.0, 1.0))
        return self

    def _power(self, x: Tensor) -> Tensor:
        """Mean power (c, rings) of x (n, c, h, w) in each ring."""
        rings = _rings(x.shape[2], x.shape[3])
        sums = torch.stack(
            [torch.fft.rfft2(part).abs().square().sum(dim=0) for part in torch.split(x, 500)]
        )
        out = torch.zeros_like(self.power)
        return out.index_add(1, rings.flatten(), sums.sum(dim=0).flatten(1) / len(x))

    def _ringed(self, x: Tensor) -> Tensor:
        size = list(x.shape[2:])
        spectrum = torch.fft.rfft2(x - self.made)
        factors = self.power[:, _rings(size[0], size[1])]
        out: Tensor = torch.fft.irfft2(spectrum * factors, s=size) + self.real
        return out

    def _detailed(self, x: Tensor) -> Tensor:
        *details, rest = _layers(x)
        sized = [
            own.sign() * _looked_up(table, own.abs(), 0.0, 2.0)
            for table, own in zip(self.details, details, strict=True)
        ]
        return torch.stack([*sized, rest]).sum(dim=0)

    def _toned(self, x: Tensor) -> Tensor:
        channels = [
            _looked_up(table, x[:, channel], -1.0, 1.0) for channel, table in enumerate(self.greys)
        ]
        return torch.stack(channels, dim=1)


def _rings(height: int, width: int) -> Tensor:
    """(h, w // 2 + 1): cycles a side of each frequency, the longer side's, rounded."""
    side = max(height, width)
    down, across = torch.fft.fftfreq(height) * side, torch.fft.rfftfreq(width) * side
    rings: Tensor = (down[:, None].square() + across.square()).sqrt().round().long()
    return rings


def _ring_count(height: int, width: int) -> int:
    side = max(height, width)
    farthest = math.hypot(height // 2 / height * side, width // 2 / width * side)
    return math.ceil(farthest) + 1


def _layers(x: Tensor) -> list[Tensor]:
    """x (n, c, h, w) as a sum: what each of the means leaves, and the last mean."""
    out = []
    for size in SIZES:
        around = functional.pad(x, (size // 2,) * 4, mode="replicate")
        mean = functional.avg_pool2d(around, size, stride=1)
        out.append(x - mean)
        x = mean
    return [*out, x]


def _table(own: Tensor, wanted: Tensor, low: float, high: float) -> Tensor:
    """(LEVELS,) for values between ``low`` and ``high``: what has the rank in ``wanted`` that they
    have in ``own``."""
    rank, then = ranked(own, wanted, torch.linspace(low, high, LEVELS), VALUES)
    return then[(rank * (len(then) - 1)).round().long()]


def _looked_up(table: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    place = ((x - low) * ((LEVELS - 1) / (high - low))).clamp(0, LEVELS - 1)
    floor = place.floor().clamp(max=LEVELS - 2)
    index = floor.long()
    start = table[index]
    return start + (place - floor) * (table[index + 1] - start)
