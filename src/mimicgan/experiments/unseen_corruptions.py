"""A hold-out benchmark beyond Appendix A.1: twenty damages that the paper does not name.

The list was written without knowledge of how restoration works and is frozen: change neither a
function nor an amount once a method has been measured on it; a new idea belongs in a new list.
The amounts were set with a plain convolutional classifier on Fashion-MNIST training images, so
that "low" costs it a little accuracy, "middle" brings it to roughly 30-75 % and "high" is worse.

Every function takes images (n, c, h, w), float32 in [0, 1], an amount, and a generator, and gives
new images of the same shape and range. Lengths are fractions of the shorter side, so that one
amount means the same at any size. What "per_image" marks is drawn afresh for each image; any
other draw is made once and is the same on all images of a call, however many they are.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F

STRENGTHS = ("low", "middle", "high")


def none(images: Tensor, _amount: float, _generator: Generator) -> Tensor:
    """Undamaged, the control: a copy of the images."""
    return images.clone()


def gamma(images: Tensor, amount: float, _generator: Generator) -> Tensor:
    """Darkening by a wrong tone curve: intensities to the power `amount`."""
    return images**amount


def low_contrast(images: Tensor, amount: float, _generator: Generator) -> Tensor:
    """Fog: the range [0, 1] shrinks to a width of 1 - `amount` around a light grey of 0.6."""
    return images * (1 - amount) + 0.6 * amount


def overexposure(images: Tensor, amount: float, _generator: Generator) -> Tensor:
    """Exposed 2**`amount` times too long, over stray light of 0.02, and clipped at white."""
    return ((images + 0.02) * 2**amount).clamp(0, 1)


def uneven_lighting(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """One lamp at a fixed random place on the border: burnt out beside it, dark away from it."""
    (y, x), (height, width) = _pixels(images), images.shape[2:]
    angle = 2 * math.pi * _draw(torch.rand, (), images, generator)
    lamp_y, lamp_x = height / 2 * (1 + angle.sin()), width / 2 * (1 + angle.cos())
    distance = torch.hypot(y - lamp_y, x - lamp_x) / min(height, width)
    return (images * 2 * torch.exp(-amount * distance)).clamp(0, 1)


def gaussian_noise(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Read-out noise: an independent normal of standard deviation `amount` on every value."""
    return (images + amount * _draw(torch.randn, images.shape, images, generator)).clamp(0, 1)


def salt_and_pepper(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Bit errors: each pixel of each image turns white or black with chance `amount`."""
    n, _, height, width = images.shape
    hit, salt = _draw(torch.rand, (2, n, 1, height, width), images, generator)
    return torch.where(hit < amount, (salt < 0.5).to(images.dtype), images)


def photon_noise(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Low light: counts of Poisson photons, 1/`amount` of them for white, dark current 0.1."""
    dark = 0.1
    rates = ((images + dark) / amount).to(generator.device)
    counts = torch.poisson(rates, generator=generator).to(images.device)
    return (counts * amount - dark).clamp(0, 1)


def fixed_pattern_noise(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """A badly calibrated sensor: fixed normal offsets, per column `amount`, per pixel half that."""
    _, c, height, width = images.shape
    column = _draw(torch.randn, (1, 1, 1, width), images, generator)
    pixel = _draw(torch.randn, (1, c, height, width), images, generator)
    return (images + amount * (column + pixel / 2)).clamp(0, 1)


def motion_blur(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """A moving camera: mean along a line `amount` long, in one fixed random direction."""
    angle = math.pi * _draw(torch.rand, (), images, generator)
    half = amount * min(images.shape[2:]) / 2
    y, x = _kernel_offsets(half, images)
    return _blur(images, 1 - _distance_to_segment(y, x, angle.sin() * half, angle.cos() * half))


def defocus_blur(images: Tensor, amount: float, _generator: Generator) -> Tensor:
    """A lens out of focus: mean over a disk of radius `amount`."""
    radius = amount * min(images.shape[2:])
    y, x = _kernel_offsets(radius, images)
    return _blur(images, radius + 0.5 - torch.hypot(y, x))


def dirt_on_lens(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Ten fixed soft grey blobs of radius up to `amount`; at its centre a blob hides nearly all."""
    (y, x), (height, width) = _pixels(images), images.shape[2:]
    v, u, size = _draw(torch.rand, (3, 10, 1, 1), images, generator)
    radius = (0.5 + 0.5 * size) * amount * min(height, width)
    distance = torch.hypot(y - v * height, x - u * width) / radius
    clear = (1 - 0.9 * torch.exp(-(distance**4))).prod(dim=0)
    return images * clear + 0.4 * (1 - clear)


def tilt(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """A crooked scan: turned by `amount` radians, sheared by half that; fixed random direction."""
    turn = amount * torch.where(_draw(torch.rand, (), images, generator) < 0.5, 1.0, -1.0)
    y, x = _pixels(images)
    v = y - y.mean()
    u = x - x.mean() + turn / 2 * v
    down, right = turn.sin() * u + turn.cos() * v, turn.cos() * u - turn.sin() * v
    return _sample(images, y.mean() + down, x.mean() + right, "zeros")


def elastic_warp(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """A crumpled page: a fixed smooth displacement, of standard deviation about `amount`."""
    coarse = _draw(torch.randn, (1, 2, 6, 6), images, generator)
    smooth = F.interpolate(coarse, images.shape[2:], mode="bicubic", align_corners=True)
    shift = amount * min(images.shape[2:]) * smooth[0]
    y, x = _pixels(images)
    return _sample(images, y + shift[0], x + shift[1], "border")


def row_jitter(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Lost line synchronisation: each row of each image slides by a normal of sd `amount`."""
    n, _, height, _ = images.shape
    shift = amount * min(images.shape[2:]) * _draw(torch.randn, (n, height, 1), images, generator)
    y, x = _pixels(images)
    return _sample(images, y.expand(n, -1, -1), x + shift, "border")


def pixelation(images: Tensor, amount: float, _generator: Generator) -> Tensor:
    """Too few pixels: means over cells of side about `amount`, each shown as one flat cell."""
    cells = max(1, round(1 / amount))
    return F.interpolate(F.adaptive_avg_pool2d(images, cells), images.shape[2:], mode="nearest")


def jpeg(images: Tensor, amount: float, _generator: Generator) -> Tensor:
    """Passed on `amount` times: JPEG of Pillow quality 1, its block grid moved; 1 or 3 channels."""
    pictures = (images.detach() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    for _ in range(round(amount)):
        # Without the move, a second save at the same quality would change next to nothing.
        pictures = np.roll(pictures, (3, 5), axis=(1, 2))
        for picture in pictures:
            file = io.BytesIO()
            # squeeze: Pillow wants one channel as (h, w).
            Image.fromarray(picture.squeeze()).save(file, "JPEG", quality=1)
            picture[:] = np.asarray(Image.open(file)).reshape(picture.shape)
    pictures = np.roll(pictures, (-3 * round(amount), -5 * round(amount)), axis=(1, 2))
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).to(images) / 255


def block_dropout(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Lost packets: each of the 7 x 7 blocks of each image is mid-grey with chance `amount`."""
    chance = _draw(torch.rand, (images.shape[0], 1, 7, 7), images, generator)
    lost = F.interpolate(chance, images.shape[2:], mode="nearest") < amount
    return torch.where(lost, 0.5, images)


def fixed_scratches(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """A scratched scanner glass: `amount` light scratches, the same ones on every image."""
    return _scratched(images, round(amount), 1, generator)


def random_scratches(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Badly handled film: `amount` light scratches, other ones on each image."""
    return _scratched(images, round(amount), images.shape[0], generator)


def occluding_square(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """A sticker: one flat square of side `amount` at a random place, in a random grey."""
    (y, x), (height, width) = _pixels(images), images.shape[2:]
    size = round(amount * min(height, width))
    top, left, tone = _draw(torch.rand, (3, images.shape[0], 1, 1, 1), images, generator)
    down, right = y - (top * (height - size)).round(), x - (left * (width - size)).round()
    inside = (down >= 0) & (down < size) & (right >= 0) & (right < size)
    return torch.where(inside, tone, images)


@dataclass(frozen=True)
class UnseenCorruption:
    """One damage: its function (images, amount, generator) and the amounts for STRENGTHS."""

    name: str
    function: Callable[[Tensor, float, Generator], Tensor]
    description: str
    amounts: tuple[float, float, float]
    # True: equal images of one call come out different. False: they come out equal.
    per_image: bool


UNSEEN: dict[str, UnseenCorruption] = {
    function.__name__: UnseenCorruption(
        function.__name__, function, (function.__doc__ or "").splitlines()[0], amounts, per_image
    )
    for function, amounts, per_image in (
        (none, (0, 0, 0), False),
        (gamma, (2, 6, 12), False),
        (low_contrast, (0.1, 0.3, 0.6), False),
        (overexposure, (1.5, 3, 4.5), False),
        (uneven_lighting, (3, 6, 9), False),
        (gaussian_noise, (0.1, 0.2, 0.4), True),
        (salt_and_pepper, (0.04, 0.12, 0.3), True),
        (photon_noise, (0.05, 0.2, 0.7), True),
        (fixed_pattern_noise, (0.08, 0.2, 0.45), False),
        (motion_blur, (0.15, 0.35, 0.7), False),
        (defocus_blur, (0.06, 0.12, 0.25), False),
        (dirt_on_lens, (0.1, 0.2, 0.3), False),
        (tilt, (0.2, 0.45, 0.9), False),
        (elastic_warp, (0.025, 0.06, 0.15), False),
        (row_jitter, (0.025, 0.1, 0.25), True),
        (pixelation, (0.07, 0.15, 0.25), False),
        (jpeg, (1, 3, 8), False),
        (block_dropout, (0.08, 0.3, 0.6), True),
        (fixed_scratches, (2, 6, 15), False),
        (random_scratches, (2, 6, 15), True),
        (occluding_square, (0.35, 0.6, 0.75), True),
    )
}


def corrupt_unseen(name: str, strength: str, images: Tensor, generator: Generator) -> Tensor:
    """Damage images (n, c, h, w), float32 in [0, 1], h and w >= 16; new ones of the same kind."""
    if name not in UNSEEN:
        raise KeyError(f"no unseen corruption {name!r}; choose one of {', '.join(UNSEEN)}")
    if strength not in STRENGTHS:
        raise KeyError(f"no strength {strength!r}; choose one of {', '.join(STRENGTHS)}")
    if images.ndim != 4 or images.dtype != torch.float32 or min(images.shape[2:]) < 16:
        got = f"{images.dtype} {tuple(images.shape)}"
        raise ValueError(f"images must be float32 (n, c, h, w) with h and w >= 16, got {got}")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise ValueError("images must lie in [0, 1]: scale them, or clamp them to that range")
    corruption = UNSEEN[name]
    return corruption.function(images, corruption.amounts[STRENGTHS.index(strength)], generator)


def _draw(
    random: Callable[..., Tensor], shape: tuple[int, ...], like: Tensor, generator: Generator
) -> Tensor:
    """Draws of `random` (torch.rand or torch.randn) with this shape, for use beside `like`."""
    # Drawn where the generator lives, so that images on any device may come with any generator.
    return random(shape, generator=generator, device=generator.device).to(like)


def _pixels(images: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column number of every pixel, each (1, h, w)."""
    rows, columns = (torch.arange(side).to(images) for side in images.shape[2:])
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return y[None], x[None]


def _sample(images: Tensor, y: Tensor, x: Tensor, outside: str) -> Tensor:
    """Read images (n, c, h, w) at pixel places y, x (1 or n, h, w); `outside` pads the rest."""
    n, _, height, width = images.shape
    grid = torch.stack((2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1), dim=-1)
    grid = grid.expand(n, -1, -1, -1)
    return F.grid_sample(images, grid, padding_mode=outside, align_corners=True).clamp(0, 1)


def _kernel_offsets(reach: float, images: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns around the centre of a kernel (k, k) that holds lengths up to `reach`."""
    steps = torch.arange(-math.ceil(reach), math.ceil(reach) + 1).to(images)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return y, x


def _blur(images: Tensor, weight: Tensor) -> Tensor:
    """Mean of each channel's neighbours by the positive part of `weight` (k, k), k odd."""
    kernel = weight.clamp(min=0) / weight.clamp(min=0).sum()
    c, reach = images.shape[1], weight.shape[0] // 2
    # Replicated edges: zeros would add a dark frame, which is another damage.
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    return F.conv2d(padded, kernel.expand(c, 1, -1, -1), groups=c).clamp(0, 1)


def _distance_to_segment(y: Tensor, x: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
    """Distance of the places y, x to the segment from (-dy, -dx) to (dy, dx); shapes broadcast."""
    along = ((y * dy + x * dx) / (dy**2 + dx**2)).clamp(-1, 1)
    return torch.hypot(y - along * dy, x - along * dx)


def _scratched(images: Tensor, count: int, sets: int, generator: Generator) -> Tensor:
    """Draw `count` light lines over images (n, c, h, w), from 1 set of lines or from n."""
    (y, x), (height, width) = _pixels(images), images.shape[2:]
    side = min(height, width)
    for _ in range(count):
        v, u, turn, size, tone = _draw(torch.rand, (5, sets, 1, 1, 1), images, generator)
        angle, half = math.pi * turn, (0.2 + 0.4 * size) * side
        dy, dx = angle.sin() * half, angle.cos() * half
        distance = _distance_to_segment(y - v * height, x - u * width, dy, dx)
        # One pixel wide at 28 x 28, with soft edges at any size.
        cover = (side / 56 + 0.5 - distance).clamp(0, 1)
        images = images * (1 - cover) + (0.6 + 0.4 * tone) * cover
    return images
