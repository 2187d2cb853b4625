"""The corruptions of section 4.2, each reading under its own name; pure and seeded.

A corruption takes images (n, c, h, w) in [0, 1] and a torch.Generator and returns new images of the
same shape and range. The paper's networks see [-1, 1], where its "0" is mid grey: 0.5 here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Function = Callable[[Tensor, torch.Generator], Tensor]


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
    sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    offsets = torch.arange(size, dtype=images.dtype) - (size - 1) / 2
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, size)
    channels, pad = images.shape[1], size // 2
    padded = functional.pad(images, (pad, pad, pad, pad), mode="reflect")
    rows = functional.conv2d(padded, kernel.expand(channels, 1, 1, size), groups=channels)
    turned = kernel.transpose(2, 3).expand(channels, 1, size, 1)
    return functional.conv2d(rows, turned, groups=channels)


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


def corrupt(name: str, images: Tensor, generator: torch.Generator) -> Tensor:
    """The corruption called ``name`` of images (n, c, h, w) in [0, 1]; KeyError lists the names."""
    if name not in CORRUPTIONS:
        raise KeyError(f"no corruption {name!r}; there are: {', '.join(CORRUPTIONS)}")
    return CORRUPTIONS[name].function(images, generator)
