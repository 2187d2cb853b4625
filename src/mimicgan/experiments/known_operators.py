"""The true damage as a fixed surrogate, for the bound "inversion with the damage known"."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mimicgan.corruptions import corrupt, gaussian_blur
from mimicgan.experiments.cases import Damaging
from mimicgan.images import to_internal


class KnownDamage(nn.Module):
    """The true damage of one portion: images (n, c, h, w) in [-1, 1] -> damaged ones.

    It has no parameters. The generator starts anew at every call, so that what was drawn for the
    portion (which pixels were dropped) is what is applied.
    """

    def __init__(self, damage: Damaging, draw: Callable[[], torch.Generator]) -> None:
        super().__init__()
        self.damage, self.draw = damage, draw

    def forward(self, x: Tensor) -> Tensor:
        return to_internal(self.damage((x + 1) / 2, self.draw()))


def straight_through(name: str, smooth: Callable[[Tensor], Tensor]) -> Damaging:
    """The corruption ``name``, with the gradient of ``smooth`` where it has none of its own."""

    def damage(images: Tensor, generator: torch.Generator) -> Tensor:
        exact = corrupt(name, images.detach(), generator)
        soft = smooth(images)
        return soft + (exact - soft).detach()

    return damage


def _threshold(low: float, per_image: bool, width: float = 0.1) -> Callable[[Tensor], Tensor]:
    """A sigmoid of ``width`` around the median, from ``low`` to 1."""

    def smooth(images: Tensor) -> Tensor:
        flat = images.detach().flatten(1) if per_image else images.detach().reshape(1, -1)
        median = flat.quantile(0.5, dim=1).view(-1, 1, 1, 1)
        return low + (1 - low) * torch.sigmoid((images - median) / width)

    return smooth


def _grey(images: Tensor) -> Tensor:
    return gaussian_blur(images, 25).mean(dim=1, keepdim=True).expand_as(images)


RELAXED: dict[str, Damaging] = {
    name: straight_through(name, smooth)
    for name, smooth in {
        "binary": _threshold(0.5, per_image=True),
        "binary-global": _threshold(0.5, per_image=False),
        "binary-black": _threshold(0.0, per_image=True),
        "gray-blur": lambda x: gaussian_blur(x, 15).clamp(max=120 / 255),
        "gray-blur-text": _grey,
        # OpenCV's filter is no tensor operation; it keeps most of an image.
        "stylize": lambda x: x,
    }.items()
}
