"""Corruptions drawn at random that no ComposedDamage expresses: a restorer should know them too.

Each function draws its strength and returns a corruption of images (n, c, h, w) in [-1, 1] for a
whole group: what a camera or a file format fixes is drawn once, what varies from picture to
picture is drawn for each.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Corruption = Callable[[Tensor], Tensor]


class Dice:
    """Random numbers from one torch.Generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        return float(self.tensor()) * (high - low) + low

    def integer(self, low: int, high: int) -> int:
        """``low`` to ``high``, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def chance(self, share: float) -> bool:
        return self.uniform(0, 1) < share

    def tensor(self, *size: int) -> Tensor:
        return torch.rand(size, generator=self.generator)

    def normal(self, *size: int) -> Tensor:
        return torch.randn(size, generator=self.generator)

    def value(self) -> float:
        """A grey value; black, middle and white more often than others."""
        return (-1.0, 0.0, 1.0, self.uniform(-1, 1))[self.integer(0, 3)]

    def count(self, n: int) -> int:
        """1 or n: drawn once for the group, or for each image."""
        return 1 if self.chance(0.5) else n


def levels(x: Tensor, dice: Dice) -> Tensor:
    """Few grey levels, by rounding, by dithering, or by a quantile of each image as threshold."""
    kind = dice.integer(0, 2)
    if kind == 0:
        flat = x.flatten(1).sort(dim=1).values
        q = flat[:, int(dice.uniform(0.2, 0.8) * (flat.shape[1] - 1))].view(-1, 1, 1, 1)
        low, high = dice.value(), dice.value()
        above = x > q if dice.chance(0.5) else x >= q
        return torch.where(above, high, low if low != high else -high or -1.0)
    steps = dice.integer(1, 7)
    grey = (x + 1) / 2 * steps
    shift = dice.tensor(*x.shape) if kind == 1 else 0.5
    return (grey + shift).floor().clamp(0, steps) / steps * 2 - 1


def filtered(x: Tensor, dice: Dice) -> Tensor:
    """A small kernel with negative weights: sharpening, relief, edges."""
    size = (3, 5)[dice.integer(0, 1)]
    kernel = dice.normal(size, size) * dice.uniform(0.1, 0.6)
    total = float(dice.integer(0, 1))
    kernel[size // 2, size // 2] += total - kernel.sum()
    out = functional.conv2d(
        functional.pad(x, (size // 2,) * 4, mode="replicate"),
        kernel.expand(x.shape[1], 1, size, size),
        groups=x.shape[1],
    )
    if total == 0:
        out = out.abs() * 2 - 1 if dice.chance(0.5) else out + dice.uniform(-0.5, 0.5)
    return out


def extremes(x: Tensor, dice: Dice) -> Tensor:
    """The largest, smallest or middle value of each neighbourhood."""
    size = (3, 5)[dice.integer(0, 1)]
    padded = functional.pad(x, (size // 2,) * 4, mode="replicate")
    kind = dice.integer(0, 2)
    if kind == 0:
        return functional.max_pool2d(padded, size, 1)
    if kind == 1:
        return -functional.max_pool2d(-padded, size, 1)
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)
    middle: Tensor = windows.flatten(4).median(dim=4).values
    return middle


def block_transform(x: Tensor, dice: Dice) -> Tensor:
    """Coarse quantisation of the cosine transform of blocks, as JPEG does it."""
    size, (height, width) = (4, 8)[dice.integer(0, 1)], x.shape[2:]
    k = torch.arange(size)
    basis = torch.cos(math.pi / size * (k[None] + 0.5) * k[:, None]) * (2 / size) ** 0.5
    basis[0] /= 2**0.5
    padded = functional.pad(x, (0, -width % size, 0, -height % size), mode="replicate")
    blocks = padded.unfold(2, size, size).unfold(3, size, size)
    step = dice.uniform(0.1, 1.2) * (1 + dice.uniform(0, 0.5) * (k[None] + k[:, None]))
    coded = (basis @ blocks @ basis.T / step).round() * step
    out = (basis.T @ coded @ basis).permute(0, 1, 2, 4, 3, 5).reshape(padded.shape)
    whole: Tensor = out[..., :height, :width]
    return whole


def covered(x: Tensor, dice: Dice) -> Tensor:
    """Rectangles, halves, lines or stripes replaced by a constant, by noise or by the negative."""
    n, _, height, width = x.shape
    rows = torch.linspace(-1, 1, height).view(1, 1, -1, 1)
    columns = torch.linspace(-1, 1, width).view(1, 1, 1, -1)
    many = dice.count(n)

    def each(low: float, high: float) -> Tensor:
        return dice.tensor(many, 1, 1, 1) * (high - low) + low

    mask = torch.zeros(many, 1, height, width)
    kind = dice.integer(0, 3)
    for _ in range(dice.integer(1, 4) if kind < 3 else 1):
        if kind == 0:
            inside = (rows - each(-1, 1)).abs() < each(0.1, 0.6)
            part = inside & ((columns - each(-1, 1)).abs() < each(0.1, 0.6))
        else:
            angle = each(0, math.pi)
            across = rows * angle.cos() + columns * angle.sin()
            if kind == 1:
                part = (across - each(-0.8, 0.8)).abs() < each(0.03, 0.15)
            elif kind == 2:
                part = across > each(0.0, 0.9)
            else:
                period = each(0.15, 0.8)
                part = ((across / period + each(0, 1)) % 1) < each(0.1, 0.7)
        mask = torch.maximum(mask, part.float())
    kind = dice.integer(0, 3)
    other = -x if kind == 0 else dice.normal(*x.shape) * 0.5 if kind == 1 else dice.value()
    return x + mask * dice.uniform(0.6, 1) * (other - x)


def uneven_tone(x: Tensor, dice: Dice) -> Tensor:
    """Gain, offset, exponent or polarity that differ from image to image."""
    n = len(x)

    def each(scale: float) -> Tensor:
        return dice.normal(n, 1, 1, 1) * dice.uniform(0, scale)

    out = ((x + 1) / 2) ** each(0.6).exp()
    out = out * each(0.6).exp() + each(0.3)
    if dice.chance(0.2):
        out = torch.where(dice.tensor(n, 1, 1, 1) < 0.5, 1 - out, out)
    return out * 2 - 1


def moved(x: Tensor, dice: Dice) -> Tensor:
    """Shifted, turned, scaled or mirrored, differently for each image or alike for all."""
    many = dice.count(len(x))
    angle = dice.normal(many) * dice.uniform(0, 0.6)
    scale = (dice.normal(many) * dice.uniform(0, 0.25)).exp()
    theta = torch.zeros(many, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = angle.cos() * scale
    theta[:, 0, 1], theta[:, 1, 0] = -angle.sin() * scale, angle.sin() * scale
    theta[:, :, 2] = dice.normal(many, 2) * dice.uniform(0, 0.35)
    if dice.chance(0.3):
        theta[:, dice.integer(0, 1)] *= -1
    theta = theta.expand(len(x), 2, 3)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    value = dice.value()
    return functional.grid_sample(x - value, grid, align_corners=False) + value


def scattered(x: Tensor, dice: Dice) -> Tensor:
    """Every pixel comes from somewhere near: frosted glass."""
    n, _, height, width = x.shape
    identity = torch.eye(2, 3).expand(n, 2, 3)
    grid = functional.affine_grid(identity, list(x.shape), align_corners=False)
    noise = dice.normal(dice.count(n), height, width, 2) * dice.uniform(0.03, 0.25)
    mode = "nearest" if dice.chance(0.5) else "bilinear"
    return functional.grid_sample(
        x, grid + noise, mode=mode, padding_mode="border", align_corners=False
    )


def rearranged(x: Tensor, dice: Dice) -> Tensor:
    """Columns or rows that repeat others or move along; or blocks that change places."""
    turned = dice.chance(0.5)
    x = x.transpose(2, 3) if turned else x
    width = x.shape[3]
    kind = dice.integer(0, 2)
    if kind == 0:
        source = torch.arange(width)
        wrong = dice.tensor(width) < dice.uniform(0.1, 0.6)
        source[wrong] = torch.randint(width, (int(wrong.sum()),), generator=dice.generator)
        out = x[..., source]
    elif kind == 1:
        out = x.roll(dice.integer(1, width // 2), 3)
        if dice.chance(0.5):
            out = torch.where(torch.arange(x.shape[2]).view(-1, 1) % 2 == 0, x, out)
    else:
        size = max(1, width // dice.integer(2, 4))
        count = width // size
        order = torch.randperm(count, generator=dice.generator)
        source = torch.arange(width)
        source[: count * size] = (order[:, None] * size + torch.arange(size)).flatten()
        out = x[..., source]
    return out.transpose(2, 3) if turned else out


def overlaid(x: Tensor, dice: Dice) -> Tensor:
    """A ghost of the image itself, of another one, or a veil over all."""
    kind = dice.integer(0, 2)
    if kind == 0:
        height, width = x.shape[2:]
        other = x.roll((dice.integer(0, height // 2), dice.integer(0, width // 2)), (2, 3))
    elif kind == 1:
        other = x.roll(1, 0)
    else:
        cells = dice.integer(2, 6)
        coarse = dice.normal(len(x), 1, cells, cells)
        other = functional.interpolate(coarse, x.shape[2:], mode="bicubic").expand_as(x)
    share = dice.uniform(0.2, 0.7)
    return x + share * (other - x) if dice.chance(0.6) else x + share * (other + 1)


def sign_noise(x: Tensor, dice: Dice) -> Tensor:
    """Noise of one strength and random sign, by pixels or by patches."""
    size = (1, 1, 2, 4)[dice.integer(0, 3)]
    n, c, height, width = x.shape
    signs = dice.normal(dice.count(n), c, -(-height // size), -(-width // size)).sign()
    noise = functional.interpolate(signs, scale_factor=size, mode="nearest")[..., :height, :width]
    return x + noise * dice.uniform(0.05, 0.7)


def random_network(x: Tensor, dice: Dice) -> Tensor:
    """Two random convolutions between the image and itself."""
    c, width = x.shape[1], 8
    first = dice.normal(width, c, 3, 3) / (3 * c**0.5)
    second = dice.normal(c, width, 3, 3) / (3 * width**0.5)
    hidden = functional.conv2d(x, first, dice.normal(width), padding=1)
    out = functional.conv2d(torch.tanh(2 * hidden), second, padding=1)
    share = dice.uniform(0.3, 1)
    return x + share * (1.5 * out - x)


KINDS = (
    levels,
    filtered,
    extremes,
    block_transform,
    covered,
    uneven_tone,
    moved,
    scattered,
    rearranged,
    overlaid,
    sign_noise,
    random_network,
)


def random_corruption(generator: torch.Generator) -> Corruption:
    """One of the kinds above; images (n, c, h, w) in [-1, 1] -> corrupted ones."""
    dice = Dice(generator)
    kind = KINDS[dice.integer(0, len(KINDS) - 1)]
    return lambda x: kind(x, dice).clamp(-1, 1)
