"""Section 4.1's supervised baseline: a restorer trained on real pairs under the true damage."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mimicgan.corruptions import Function
from mimicgan.errors import within
from mimicgan.images import to_internal
from mimicgan.learnt import warm_restorer
from mimicgan.prior import Prior
from mimicgan.training import checkpoint
from mimicgan.training.restorer import Pairs, fit_restorer


@dataclass(frozen=True)
class SupervisedSettings:
    """Settings of the training of one supervised restorer."""

    steps: int = 3000
    """Updates of the network."""
    batch: int = 64
    """Pairs in an update."""
    learning_rate: float = 1e-3
    """Adam's, falling on one cosine."""
    adversarial: float = 1e-3
    """Weight of -log D of the restored images, beside the l1 distance; D is the prior's
    discriminator, held fixed. Without one the term is left out."""
    warm: bool = True
    """Start from the prior's universal restorer where it has one, as the default method does. With
    --no-warm start from an untrained network."""
    seed: int = 0
    """Seed of the images and damages that are drawn."""

    def __post_init__(self) -> None:
        checkpoint.check(self)
        within(0, math.inf, learning_rate=self.learning_rate, adversarial=self.adversarial)


def train_supervised(
    damage: Function,
    images: Tensor,
    prior: Prior,
    settings: SupervisedSettings,
    path: Path,
    draw: Callable[[], torch.Generator] | None = None,
    callback: Callable[[int, float], None] | None = None,
    origin: dict[str, object] | None = None,
) -> nn.Module:
    """A restorer for ``damage``, from clean images (n, c, h, w) uint8 of the prior's kind.

    ``draw`` gives the generator for a damage that is the same in every batch, as that of a broken
    sensor. Checkpointed at ``path`` and resumed where the settings and ``origin`` (what else the
    run depends on) are the same. ``callback`` gets step and loss.
    """
    judge = prior.discriminator

    def loss(restored: Tensor, clean: Tensor) -> Tensor:
        apart = (restored - clean).abs().mean()
        if judge is None or not settings.adversarial:
            return apart
        # log(1 - D) has no lower end: against a D that does not learn, a network leaves the range
        # of images for it.
        return apart + settings.adversarial * functional.softplus(-judge(restored)).mean()

    start = prior if settings.warm else replace(prior, restorer=None)
    return fit_restorer(
        warm_restorer(start, settings.seed),
        real_pairs(damage, images, settings.batch, draw),
        settings.steps,
        settings.learning_rate,
        settings.seed,
        callback,
        path,
        {**asdict(settings), **(origin or {})},
        loss=loss,
    )


def real_pairs(
    damage: Function,
    images: Tensor,
    batch: int,
    draw: Callable[[], torch.Generator] | None = None,
) -> Pairs:
    """Pairs of real images (n, c, h, w) uint8 under ``damage``; ``draw`` as above."""

    def pairs(_step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        clean = images[torch.randint(len(images), (batch,), generator=generator)].float() / 255
        damaged = damage(clean, draw() if draw else generator)
        return to_internal(damaged), to_internal(clean)

    return pairs
