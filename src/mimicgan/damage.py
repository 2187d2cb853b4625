"""A surrogate that composes what cameras, scanners, sensors and transmission do to pictures.

Geometry, resampling, blur, edges, colour and tone, fixed gain and offset, noise, replaced pixels:
each part is the identity at the start and has few parameters, so that some 25 observations can pin
it down.
"""

import math
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

KNOTS = 33
POOLS = (2, 4, 7)
BLOCK = 4

PARTS = (
    ("affine", "field", "jitter", "outside", "fill"),
    ("pooling",),
    ("sharpness", "flatness", "kernel"),
    ("edges",),
    ("curve", "level", "colour"),
    ("gain", "offset"),
    ("noise", "grain"),
    ("chance", "value", "spread", "square"),
)
"""The parameters of each part that is on or off as one."""


RIMS = ("reflect", "replicate", "constant")
"""What a blur draws in from beyond the frame: its mirror image, the edge drawn out, or black."""


def knots() -> Tensor:
    """Places (KNOTS,) of the curve's knots in [-1, 1].

    They are closest where grey values gather and thresholds lie: at black, at white, and at zero,
    where each image's own median goes once the level is taken off.
    """
    even = torch.linspace(-1, 1, KNOTS)
    return even - 0.95 / (2 * math.pi) * (2 * math.pi * even).sin()


def offsets(size: int) -> tuple[Tensor, ...]:
    """How far each place of a kernel (size, size) is from its centre, down and across."""
    r = torch.arange(size) - size // 2
    return torch.meshgrid(r.float(), r.float(), indexing="ij")


class ComposedDamage(nn.Module):
    """Images (n, c, h, w) in [-1, 1] -> damaged images of the same shape and range.

    Random parts (noise, replaced pixels) draw from ``self.generator`` when it is set, else from
    torch's own.
    """

    def __init__(self, shape: tuple[int, int, int], kernel: int = 25) -> None:
        super().__init__()
        channels, height, width = shape
        self.shape, self.size = shape, min(kernel, 2 * (min(height, width) // 2) - 1)
        self.generator: torch.Generator | None = None
        self.rim = RIMS[0]
        """One of ``RIMS``. Fits leave it: sets of images hardly tell."""
        zeros = torch.zeros
        self.affine = nn.Parameter(zeros(2, 3))
        self.field = nn.Parameter(zeros(1, 2, 7, 7))
        self.jitter = nn.Parameter(torch.tensor(0.0))
        self.outside = nn.Parameter(torch.tensor(0.0))
        self.fill = nn.Parameter(torch.tensor(-1.0))
        self.pooling = nn.Parameter(zeros(len(POOLS)))
        self.sharpness = nn.Parameter(torch.tensor([4.5, 0.0, 4.5]))
        self.flatness = nn.Parameter(torch.tensor(0.0))
        self.kernel = nn.Parameter(zeros(self.size, self.size))
        self.edges = nn.Parameter(zeros(2))
        self.colour = nn.Parameter(torch.eye(channels))
        self.level = nn.Parameter(torch.tensor(0.0))
        self.curve = nn.Parameter(knots())
        self.columns = nn.Parameter(zeros(width))
        self.rows = nn.Parameter(zeros(height))
        self.gain = nn.Parameter(zeros(shape))
        self.offset = nn.Parameter(zeros(shape))
        self.noise = nn.Parameter(zeros(3))
        self.grain = nn.Parameter(zeros(shape))
        self.chance = nn.Parameter(torch.full((5,), -6.0))
        self.value = nn.Parameter(torch.tensor([-1.0, 1.0, -1.0, -1.0, -1.0]))
        self.spread = nn.Parameter(zeros(5))
        self.square = nn.Parameter(torch.tensor(math.log(height / 3)))

    def forward(self, x: Tensor) -> Tensor:
        x = self._resampled(self._warped(x))
        x = self._stuck(self._toned(self._edged(self._blurred(x))))
        x = x * (1 + self.gain)
        if self.grain.any():
            # A pixel with noise of its own is covered, whatever became of its gain.
            x = x.masked_fill(self.grain != 0, 0.0)
        x = x + self.offset
        x = self._replaced(self._noisy(x))
        # Saturation, with a small gradient left where it bites.
        return x.clamp(-1, 1) + 0.01 * (x - x.detach())

    def _warped(self, x: Tensor) -> Tensor:
        if not self._live("affine", "field", "jitter"):
            return x
        n, _, height, width = x.shape
        identity = torch.eye(2, 3) + self.affine
        grid = functional.affine_grid(identity.expand(n, 2, 3), list(x.shape), align_corners=False)
        bent = functional.interpolate(
            self.field, (height, width), mode="bicubic", align_corners=True
        )
        grid = grid + bent.permute(0, 2, 3, 1)
        if self._live("jitter"):
            rows = self._normal((n, height, 1)) * self.jitter
            grid = torch.stack([grid[..., 0] + rows, grid[..., 1]], dim=3)
        moved = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
        if not self._live("outside"):
            return moved
        # What lies beyond the edge: the edge drawn out, or one value, or between the two.
        pixels = torch.tensor([width, height])
        inside = ((1 - grid.abs()) * pixels / 2 + 0.5).clamp(0, 1).prod(dim=3).unsqueeze(1)
        return moved + self.outside * (1 - inside) * (self.fill - moved)

    def _resampled(self, x: Tensor) -> Tensor:
        if not self._live("pooling"):
            return x
        out = x
        for share, size in zip(self.pooling, POOLS, strict=True):
            coarse = functional.interpolate(
                functional.avg_pool2d(x, size, ceil_mode=True, count_include_pad=False),
                scale_factor=size,
                mode="nearest",
            )[..., : x.shape[2], : x.shape[3]]
            out = out + share * (coarse - x)
        return out

    def blur_kernel(self) -> Tensor:
        """The learnt kernel (size, size), not negative, sum one.

        A Gaussian, as a line or a disk of even weight where it is flat, times what is left.
        """
        rows, columns = offsets(self.size)
        a, b, c = self.sharpness
        apart = (a * rows + b * columns) ** 2 + (c * columns) ** 2
        # Powers of far distances must stay finite; so far out the weight is nothing anyway.
        logits = -0.5 * apart.clamp(1e-6, 100) ** self.flatness.exp().clamp(max=8) + self.kernel
        kernel: Tensor = logits.flatten().softmax(0).view(self.size, self.size)
        return kernel

    def _blurred(self, x: Tensor) -> Tensor:
        if not self._live("sharpness", "flatness", "kernel"):
            return x
        pad = self.size // 2
        black = -1.0 if self.rim == "constant" else None
        padded = functional.pad(x, (pad, pad, pad, pad), self.rim, black)
        size = list(padded.shape[2:])
        spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(self.blur_kernel().flip(0, 1), s=size)
        full: Tensor = torch.fft.irfft2(spectrum, s=size)
        return full[..., 2 * pad :, 2 * pad :]

    def _edged(self, x: Tensor) -> Tensor:
        # Edges overdone, as sharpening does, and drawn in black, as picture styles do.
        if not self._live("edges"):
            return x
        sharpened, drawn = self.edges
        around = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        across = (around[..., 1:-1, 2:] - around[..., 1:-1, :-2]) / 2
        along = (around[..., 2:, 1:-1] - around[..., :-2, 1:-1]) / 2
        steep = (across.square() + along.square()).mean(dim=1, keepdim=True).add(1e-6).sqrt()
        x = x + sharpened * (x - functional.avg_pool2d(around, 3, stride=1))
        out: Tensor = (x + 1) * (1 - drawn * steep) - 1
        return out

    def _toned(self, x: Tensor) -> Tensor:
        if len(self.colour) > 1:
            x = torch.einsum("dc,nchw->ndhw", self.colour, x)
        if self._live("level"):
            middle = x.flatten(1).median(dim=1).values.view(-1, 1, 1, 1)
            x = x - self.level * middle
        x = x.clamp(-1, 1)
        if not self._live("curve"):
            return x
        place = knots()
        low = torch.bucketize(x.detach().contiguous(), place[1:-1]).flatten()

        def at(values: Tensor) -> Tensor:
            # `values[low]` adds its gradient up from many threads in any order, and slowly.
            return values.index_select(0, low).view_as(x)

        slope = self.curve.diff() / place.diff()
        return at(self.curve) + (x - at(place)) * at(slope)

    def _stuck(self, x: Tensor) -> Tensor:
        # Each column, and each row, may show another one, so many places on.
        for side, name in ((3, "columns"), (2, "rows")):
            if self._live(name):
                steps = self.get_parameter(name)
                source = (torch.arange(len(steps)) + steps.detach()).round().long()
                x = x.index_select(side, source.clamp(0, len(steps) - 1))
        return x

    def _noisy(self, x: Tensor) -> Tensor:
        if self.grain.any():
            x = x + self.grain * self._normal(x.shape)
        if not self._live("noise"):
            return x
        white, coarse, photon = self.noise
        n, c, height, width = x.shape
        grain = self._normal((n, c, (height + 1) // 2, (width + 1) // 2))
        grain = functional.interpolate(grain, scale_factor=2, mode="bilinear")[..., :height, :width]
        strength = white + photon * ((x + 1).clamp(1e-4, 2) / 2).sqrt()
        out: Tensor = x + strength * self._normal(x.shape) + coarse * grain
        return out

    def _replaced(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        chance = self.chance.sigmoid()
        high, broad = height // BLOCK + 2, width // BLOCK + 2
        shapes = ((n, 1, height, width),) * 2 + (
            (n, 1, high, broad),
            (n, 1, height, 1),
            (n, 1, 1, 1),
        )
        for k, shape in enumerate(shapes):
            if chance[k].item() < 0.01:
                continue
            mask = self._bernoulli(self.chance[k], shape)
            if k == 2:
                top, left = (self._uniform((2,)) * BLOCK).long().tolist()
                mask = functional.interpolate(mask, scale_factor=BLOCK, mode="nearest")
                mask = mask[..., top : top + height, left : left + width]
            if k == 4:
                mask = mask * self._square(n, height, width)
            value = self.value[k] + self.spread[k] * self._normal(x.shape)
            x = x + mask * (value - x)
        return x

    def _square(self, n: int, height: int, width: int) -> Tensor:
        half = self.square.exp() / 2
        centre = self._uniform((2, n, 1, 1, 1))
        rows = (torch.arange(height).view(-1, 1) - centre[0] * height).abs()
        columns = (torch.arange(width).view(1, -1) - centre[1] * width).abs()
        return ((half - torch.maximum(rows, columns)) / 0.5).sigmoid()

    def _bernoulli(self, logit: Tensor, shape: tuple[int, ...]) -> Tensor:
        u = self._uniform(shape).clamp(1e-6, 1 - 1e-6)
        soft = ((logit + u.logit()) / 0.3).sigmoid()
        return (soft > 0.5).float() + soft - soft.detach()

    def _uniform(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self.generator)

    def _normal(self, shape: tuple[int, ...] | torch.Size) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    @torch.no_grad()
    def still(self) -> "ComposedDamage":
        """A frozen copy without what is random: row jitter, noise and replaced pixels."""
        other = self.copied()
        other.jitter.zero_()
        other.noise.zero_()
        other.gain.masked_fill_(other.grain != 0, -1.0)
        other.grain.zero_()
        other.chance.fill_(-100.0)
        return other

    def copied(self) -> "ComposedDamage":
        """A damage like this one, without gradients, that draws from the same generator."""
        other = ComposedDamage(self.shape, self.size).requires_grad_(False)
        other.load_state_dict(self.state_dict())
        other.generator = self.generator
        return other

    def parts(self) -> frozenset[str]:
        """The parts that are on, each by its first name: what kind of damage this is."""
        plain = plain_values(self.shape, self.size)
        return frozenset(
            part[0]
            for part in (*PARTS, ("columns", "rows"))
            if any(not torch.equal(self.get_parameter(n), plain[n]) for n in part)
        )

    def _live(self, *names: str) -> bool:
        # Whether any of them is to get a gradient, or is not as it was made.
        own, plain = {n: self.get_parameter(n) for n in names}, plain_values(self.shape, self.size)
        return any(p.requires_grad or not torch.equal(p, plain[n]) for n, p in own.items())


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def plain_values(shape: tuple[int, int, int], size: int) -> Mapping[str, Tensor]:
    """The parameters of a damage that does nothing, by name; not to be changed."""
    return {name: p.detach() for name, p in ComposedDamage(shape, size).named_parameters()}
