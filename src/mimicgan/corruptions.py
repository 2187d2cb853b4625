"""The corruptions of sections 4.1 and 4.2, each reading under its own name; pure and seeded.

A corruption takes images (n, c, h, w) in [0, 1] and a torch.Generator and returns new images of the
same shape and range. The paper's networks see [-1, 1], where its "0" is mid grey: 0.5 here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mimicgan.errors import UserError, needed

Function = Callable[[Tensor, torch.Generator], Tensor]

SMALL_KERNELS = {
    1: (256,),
    3: (64, 128, 64),
    5: (16, 64, 96, 64, 16),
    7: (8, 28, 56, 72, 56, 28, 8),
    9: (4, 13, 30, 51, 60, 51, 30, 13, 4),
}
"""What OpenCV blurs with where no sigma is given, in 256ths: not its own formula."""


@dataclass(frozen=True)
class Corruption:
    """A named corruption; ``task`` groups the readings of one row of the paper's table."""

    name: str
    task: str
    function: Function
    description: str


def binary(images: Tensor, *, low: float, per_image: bool, strict: bool) -> Tensor:
    """Section 4.2 (a): threshold at the 50th percentile of each image, or of the whole batch.

    Pixels above it (or equal, unless ``strict``) become 1, the others ``low``.
    """
    flat = images.flatten(1) if per_image else images.reshape(1, -1)
    threshold = _median(flat).view(-1, 1, 1, 1)
    above = images > threshold if strict else images >= threshold
    return torch.where(above, 1.0, low)


def _median(flat: Tensor) -> Tensor:
    # The mean of the two middle values, as numpy.percentile(x, 50) has it.
    ordered, n = flat.sort(dim=1).values, flat.shape[1]
    return (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2


def dropped(
    images: Tensor,
    generator: torch.Generator,
    *,
    value: float,
    share: float,
    shared: bool = False,
) -> Tensor:
    """Section 4.2 (b): ``share`` of the pixels become ``value``, in all channels.

    Which ones is drawn for each image, or once for the whole batch (``shared``).
    """
    n, _, height, width = images.shape
    count = 1 if shared else n
    gone = torch.rand(count, 1, height, width, generator=generator) < share
    return torch.where(gone, value, images)


def gaussian_blur(images: Tensor, size: int) -> Tensor:
    """OpenCV's GaussianBlur((size, size), 0): sigma from the size, borders as in "reflect"."""
    if size in SMALL_KERNELS:
        kernel = torch.tensor(SMALL_KERNELS[size], dtype=images.dtype)
    else:
        sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
        offsets = torch.arange(size, dtype=images.dtype) - (size - 1) / 2
        kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, size)
    channels, pad = images.shape[1], size // 2
    padded = functional.pad(images, (pad, pad, pad, pad), mode="reflect")
    rows = functional.conv2d(padded, kernel.expand(channels, 1, 1, size), groups=channels)
    turned = kernel.transpose(2, 3).expand(channels, 1, size, 1)
    return functional.conv2d(rows, turned, groups=channels)


def gray_blur(images: Tensor, *, size: int = 15, gray: bool = False) -> Tensor:
    """Appendix A.1, 6: blur, 8 bits, nothing brighter than 120 of 255; the text turns it grey."""
    blurred = gaussian_blur(images, size)
    # Rounding of the blur must not cost a whole level where the listing truncates.
    levels = (blurred * 255 + 1e-3).floor().clamp(0, 255 if gray else 120)
    if gray:
        levels = levels.mean(dim=1, keepdim=True).expand_as(images)
    return levels / 255


def stylize(images: Tensor, generator: torch.Generator) -> Tensor:
    """Appendix A.1, 5: OpenCV's stylization, then noise on what is above the 90th percentile.

    UserError unless there are three channels, and OpenCV is installed.
    """
    if images.shape[1] != 3:
        raise UserError("stylize is for images in colour; choose another corruption")
    cv2 = needed("cv2", "cv")
    pictures = (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
    styled = [torch.from_numpy(cv2.stylization(x, sigma_s=10, sigma_r=0.8)) for x in pictures]
    x = torch.stack(styled).permute(0, 3, 1, 2).to(images) / 255
    bright = torch.quantile(x.flatten()[:: max(1, x.numel() // 2**23)], 0.9)
    # The listing's 0.5 is of [-1, 1].
    noisy = bright + 0.25 * torch.randn(x.shape, generator=generator)
    return torch.where(x > bright, noisy, x).clamp(0, 1)


def stuck_pixels(images: Tensor, generator: torch.Generator, *, sigma: float = 0.25) -> Tensor:
    """Appendix A.1, 3: column 26 of 64 in place of those before it, plus noise drawn once."""
    column = round(26 * images.shape[3] / 64)
    noise = torch.randn(*images.shape[1:3], column, generator=generator)
    stuck = images[..., column : column + 1] + sigma / 2 * noise
    return torch.cat([stuck, images[..., column:]], dim=3).clamp(0, 1)


def occlusion(images: Tensor, generator: torch.Generator) -> Tensor:
    """Appendix A.1, 2: a cross over eyes, nose and mouth becomes noise, anew in every image."""
    bar = torch.zeros(images.shape[2:], dtype=torch.bool)
    bar[_part(24, 44, images.shape[2]), _part(12, 54, images.shape[3])] = True
    other = torch.zeros_like(bar)
    other[_part(12, 54, images.shape[2]), _part(24, 44, images.shape[3])] = True
    noise = 0.5 + 0.25 * torch.randn(images.shape, generator=generator)
    return torch.where(bar | other, noise, images).clamp(0, 1)


def inpainting(images: Tensor, generator: torch.Generator) -> Tensor:
    """Appendix A.1, 1: eight bands, 4 of 64 rows each, multiplied by noise drawn once."""
    channels, height, width = images.shape[1:]
    mask = torch.ones(channels, height, width)
    for top in range(4, 64, 8):
        part = mask[:, _part(top, top + 4, height), _part(12, 54, width)]
        part.copy_(0.5 * torch.randn(part.shape, generator=generator))
    # The listing multiplies images in [-1, 1].
    return ((images * 2 - 1) * mask / 2 + 0.5).clamp(0, 1)


def _part(start: int, stop: int, size: int) -> slice:
    return slice(round(start * size / 64), round(stop * size / 64))


def negative_blur(images: Tensor, *, size: int = 25) -> Tensor:
    """Section 4.2 (c): blur, then invert."""
    return (1 - gaussian_blur(images, size)).clamp(0, 1)


CORRUPTIONS: dict[str, Corruption] = {
    c.name: c
    for c in (
        Corruption(
            "binary",
            "binary",
            lambda x, _: binary(x, low=0.5, per_image=True, strict=False),
            "per-image median, pixels at or above it white, the others grey (0 in [-1, 1])",
        ),
        Corruption(
            "binary-global",
            "binary",
            lambda x, _: binary(x, low=0.5, per_image=False, strict=True),
            "median of all pixels, pixels above it white, the others grey (0 in [-1, 1])",
        ),
        Corruption(
            "binary-black",
            "binary",
            lambda x, _: binary(x, low=0.0, per_image=True, strict=True),
            "per-image median, pixels above it white, the others black",
        ),
        Corruption(
            "dropped",
            "dropped",
            lambda x, g: dropped(x, g, value=0.5, share=0.7),
            "70 % of the pixels grey (0 in [-1, 1])",
        ),
        Corruption(
            "dropped-black",
            "dropped",
            lambda x, g: dropped(x, g, value=0.0, share=0.7),
            "70 % of the pixels black",
        ),
        Corruption(
            "dropped-shared",
            "dropped",
            lambda x, g: dropped(x, g, value=0.5, share=0.7, shared=True),
            "70 % of the pixels grey, the same ones in every image",
        ),
        Corruption(
            "dropped-black-shared",
            "dropped",
            lambda x, g: dropped(x, g, value=0.0, share=0.7, shared=True),
            "70 % of the pixels black, the same ones in every image",
        ),
        Corruption(
            "negative-blur",
            "negative-blur",
            lambda x, _: negative_blur(x),
            "Gaussian blur of width 25, then inverted",
        ),
    )
}
"""Section 4.2: every reading of Table 3b's three."""

FACE_CORRUPTIONS: dict[str, Corruption] = {
    c.name: c
    for c in (
        Corruption(
            "gray-blur",
            "gray-blur",
            lambda x, _: gray_blur(x),
            "Gaussian blur of width 15, then nothing brighter than 120 of 255 (the listing)",
        ),
        Corruption(
            "gray-blur-text",
            "gray-blur",
            lambda x, _: gray_blur(x, size=25, gray=True),
            "Gaussian blur of width 25, then grey (the text)",
        ),
        Corruption("stylize", "stylize", stylize, "OpenCV's stylization, noise on what is bright"),
        Corruption(
            "stuck-pixels",
            "stuck-pixels",
            stuck_pixels,
            "a column near the middle in place of all before it, with fixed noise",
        ),
        Corruption(
            "stuck-pixels-text",
            "stuck-pixels",
            lambda x, g: stuck_pixels(x, g, sigma=0.5),
            "the same with twice the noise (the text)",
        ),
        Corruption(
            "negative", "negative", lambda x, _: negative_blur(x), "Gaussian blur of 25, inverted"
        ),
        Corruption(
            "negative-text",
            "negative",
            lambda x, _: negative_blur(x, size=11),
            "Gaussian blur of width 11, then inverted (the text)",
        ),
        Corruption(
            "occlusion",
            "occlusion",
            occlusion,
            "a cross in the middle becomes noise, in each image",
        ),
        Corruption(
            "inpainting", "inpainting", inpainting, "eight bands multiplied by noise drawn once"
        ),
    )
}
"""Section 4.1: the six of Appendix A.1, as listed, and the text where it differs."""


def corrupt(name: str, images: Tensor, generator: torch.Generator) -> Tensor:
    """The corruption called ``name`` of images (n, c, h, w) in [0, 1]; KeyError lists the names."""
    known = CORRUPTIONS | FACE_CORRUPTIONS
    if name not in known:
        raise KeyError(f"no corruption {name!r}; there are: {', '.join(known)}")
    return known[name].function(images, generator)
