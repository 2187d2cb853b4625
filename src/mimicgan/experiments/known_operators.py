"""The true damage as a fixed surrogate, for the bound "inversion with the damage known"."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mimicgan.corruptions import corrupt
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


def relaxed_binary(
    name: str, low: float, per_image: bool, width: float = 0.1
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """The binary corruption ``name`` with straight-through gradients.

    Forward it is the corruption itself; backward it is a sigmoid of ``width`` around the median,
    because a threshold has no gradient of its own.
    """

    def damage(images: Tensor, generator: torch.Generator) -> Tensor:
        hard = corrupt(name, images.detach(), generator)
        flat = images.detach().flatten(1) if per_image else images.detach().reshape(1, -1)
        median = flat.quantile(0.5, dim=1).view(-1, 1, 1, 1)
        soft = low + (1 - low) * torch.sigmoid((images - median) / width)
        return soft + (hard - soft).detach()

    return damage


RELAXED: dict[str, Damaging] = {
    "binary": relaxed_binary("binary", 0.5, per_image=True),
    "binary-global": relaxed_binary("binary-global", 0.5, per_image=False),
    "binary-black": relaxed_binary("binary-black", 0.0, per_image=True),
}
