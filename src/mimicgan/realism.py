"""Restored images on the generator's manifold: sharp, where a mean of many guesses is soft."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from mimicgan.learnt import Damage
from mimicgan.mimic import mimic
from mimicgan.presets import REALISM
from mimicgan.prior import Prior
from mimicgan.user_classifier import lent

CANDIDATES = 1024
"""Latents among which the starts are looked for."""
CLOSE = 0.5
"""An image of the generator counts as expressing a restored one at this share of its error."""


class _Both(nn.Module):
    """Images (n, c, h, w) -> what the damage makes of them, and themselves: (n, 2c, h, w)."""

    def __init__(self, damage: nn.Module) -> None:
        super().__init__()
        self.damage = damage

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.damage(x), x], dim=1)


def realistic(
    y: Tensor,
    restored: Tensor,
    damage: Damage,
    prior: Prior,
    seed: int,
    batch: int,
    callback: Callable[..., None] | None = None,
) -> Tensor:
    """Latents (n, k) whose images are near ``restored`` and, damaged as learnt, near ``y``.

    Both are (n, c, h, w) in [-1, 1]. Algorithm 1 with the learnt damage held fixed, from the latent
    of the nearest of ``CANDIDATES`` typical images; equation 3's mimicking loss counts the
    restored image as a second observation. ``callback`` gets each ``Step``, and as ``first`` the
    number of the first image at work.
    """
    generator = torch.Generator().manual_seed(seed)
    both = _Both(damage.drawing_from(generator))
    known = prior.bank
    latents = prior.draw(CANDIDATES, generator) if known is None else known[:CANDIDATES]
    images = prior.images_of(latents).flatten(1)
    found: list[Tensor] = []
    # The damage may be a user's own network.
    with lent(both):
        for part, near in zip(torch.split(y, batch), torch.split(restored, batch), strict=True):
            start = latents[torch.cdist(near.flatten(1), images).argmin(dim=1)]
            goal = torch.cat([part, near], dim=1)
            done = sum(len(each) for each in found)
            noted = None if callback is None else partial(callback, first=done)
            z, _ = mimic(goal, prior, REALISM, generator, both, noted, start=start)
            found.append(z)
    return torch.cat(found)


def expressed(restored: Tensor, sharp: Tensor, error: float) -> bool:
    """Whether images of the generator are near the restored ones, both (n, c, h, w) in [-1, 1].

    Near is what the restorer is expected to get wrong anyway (``Damage.error``): then the
    generator's images lose nothing that the observations could tell. A restorer that gets nearly
    all right knows details that the generator cannot make.
    """
    return float((sharp - restored).abs().mean()) < CLOSE * error
