"""Training a restorer on pairs (damaged, clean): once for all damages, or at test time for one."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mimicgan.errors import within
from mimicgan.models.restorer import Restorer
from mimicgan.random_corruption import random_corruption
from mimicgan.random_damage import random_damage
from mimicgan.training import checkpoint

Pairs = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""(step, generator) -> damaged and clean images (n, c, h, w) in [-1, 1]."""

UNDAMAGED = 0.05
"""Share of the groups that a universal restorer sees as they are."""
FOREIGN = 0.45
"""Share that gets a corruption outside the surrogate's family; a third of it both."""


@dataclass(frozen=True)
class RestorerSettings:
    """Settings of the training of a universal restorer."""

    steps: int = 40000
    batch: int = 64
    """Images per step, in groups of 8 that share one random damage."""
    learning_rate: float = 1e-3
    """Adam's, falling on one cosine."""
    seed: int = 0

    def __post_init__(self) -> None:
        checkpoint.check(self)
        within(0, math.inf, learning_rate=self.learning_rate)


def fit_restorer(
    model: nn.Module,
    pairs: Pairs,
    steps: int,
    learning_rate: float,
    seed: int,
    callback: Callable[[int, float], None] | None = None,
    path: Path | None = None,
    settings: dict[str, object] | None = None,
    every: int = 500,
    loss: Callable[[Tensor, Tensor], Tensor] = functional.l1_loss,
) -> nn.Module:
    """Train ``model`` to give clean from damaged by ``loss`` (restored, clean); Adam, one cosine.

    With ``path`` the run is checkpointed every ``every`` steps and resumed. Returns the model in
    eval mode.
    """
    # Convolutions of few channels run a sixth faster that way.
    model.train().requires_grad_(True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer}
    first = 0
    if path is not None and (state := checkpoint.load(path, settings or {})) is not None:
        first = state["step"]
        checkpoint.fill(path, state, parts)
    for step in range(first, steps):
        optimizer.param_groups[0]["lr"] = _cosine(step, steps) * learning_rate
        damaged, clean = pairs(step, checkpoint.step_generator(seed, step))
        apart = loss(model(damaged), clean)
        optimizer.zero_grad(set_to_none=True)
        apart.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if path is not None and ((step + 1) % every == 0 or step + 1 == steps):
            states = {name: part.state_dict() for name, part in parts.items()}
            checkpoint.save(path, {**states, "settings": settings or {}, "step": step + 1})
        if callback is not None:
            callback(step + 1, apart.item())
    return model.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


def _cosine(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / min(50, steps))
    return warm * (0.51 + 0.49 * torch.cos(torch.tensor(torch.pi * step / steps)).item())


def random_pairs(images: Tensor, batch: int, group: int = 8) -> Pairs:
    """Pairs under random damages: ``group`` of the images (n, c, h, w) in [-1, 1] share each."""
    shape = (images.shape[1], images.shape[2], images.shape[3])

    def pairs(_step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        clean = images[torch.randint(len(images), (batch,), generator=generator)]
        with torch.no_grad():
            parts = [damaged(part, generator) for part in torch.split(clean, group)]
        return torch.cat(parts), clean

    def damaged(x: Tensor, generator: torch.Generator) -> Tensor:
        kind = float(torch.rand((), generator=generator))
        if kind < UNDAMAGED:
            return x
        if kind < UNDAMAGED + FOREIGN:
            x = random_corruption(generator)(x)
            if kind > UNDAMAGED + FOREIGN / 3:
                return x
        out: Tensor = random_damage(shape, generator)(x)
        return out

    return pairs


def train_universal(
    images: Tensor,
    settings: RestorerSettings,
    path: Path,
    callback: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """The restorer that ships with a prior: random damages on images (n, c, h, w) in [-1, 1].

    The checkpoint at ``path`` is resumed; UserError or ValueError where it is of other images or
    settings.
    """
    with checkpoint.seeded(settings.seed):
        model = Restorer((images.shape[1], images.shape[2], images.shape[3]))
    return fit_restorer(
        model,
        random_pairs(images, settings.batch),
        settings.steps,
        settings.learning_rate,
        settings.seed,
        callback,
        path,
        {**asdict(settings), "images": checkpoint.digest_of(images)},
    )
