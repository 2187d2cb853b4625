"""Training of the classifier that the experiments measure with."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mimicgan.errors import within
from mimicgan.models.classifier import FashionClassifier
from mimicgan.training import checkpoint


@dataclass(frozen=True)
class ClassifierSettings:
    """Settings of one classifier training run."""

    steps: int = 4300
    """Adam updates; the learning rate follows one cosine."""
    batch: int = 128
    """Images per step, each shifted by up to one pixel."""
    learning_rate: float = 3e-3
    eps: float = 0.0
    """Train on images moved by up to this much of [0, 1], one signed gradient step from a random
    start (Wong et al. 2020), in the pixels; 0 for clean images."""
    seed: int = 0

    def __post_init__(self) -> None:
        checkpoint.check(self)
        within(0, math.inf, learning_rate=self.learning_rate)
        within(0, 1, eps=self.eps)


def train_classifier(
    images: Tensor,
    labels: Tensor,
    settings: ClassifierSettings,
    path: Path,
    every: int = 200,
    callback: Callable[[int, float], None] | None = None,
) -> FashionClassifier:
    """Train on images (n, 1, 28, 28) uint8 and labels (n,), resuming the checkpoint at ``path``.

    UserError or ValueError where that is of other images or settings.
    """
    with checkpoint.seeded(settings.seed):
        return _train(images, labels, settings, path, every, callback)


def _train(
    images: Tensor,
    labels: Tensor,
    settings: ClassifierSettings,
    path: Path,
    every: int,
    callback: Callable[[int, float], None] | None,
) -> FashionClassifier:
    model = FashionClassifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule}
    first = 0
    own = {
        **asdict(settings),
        "images": checkpoint.digest_of(images) + checkpoint.digest_of(labels),
    }
    state = checkpoint.load(path, own)
    if state is not None:
        first = state["step"]
        checkpoint.fill(path, state, parts)
    for step in range(first, settings.steps):
        generator = checkpoint.step_generator(settings.seed, step)
        # Dropout draws from the global generator: tied to the step, a resumed run repeats it.
        torch.default_generator.manual_seed(generator.initial_seed() % 2**32)
        index = checkpoint.batch_indices(len(images), settings.batch, step, settings.seed)
        x = _augmented(images[index].float() / 127.5 - 1, generator)
        if settings.eps:
            x = _moved(model, x, labels[index], 2 * settings.eps, generator)
        loss = functional.cross_entropy(model(x), labels[index], label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if (step + 1) % every == 0 or step + 1 == settings.steps:
            states = {name: part.state_dict() for name, part in parts.items()}
            checkpoint.save(path, {**states, "settings": own, "step": step + 1})
        if callback is not None:
            callback(step + 1, loss.item())
    return model.eval().requires_grad_(False)


def _moved(
    model: FashionClassifier, x: Tensor, labels: Tensor, eps: float, generator: torch.Generator
) -> Tensor:
    shift = (torch.rand(x.shape, generator=generator) * 2 - 1) * eps
    start = (x + shift).clamp(-1, 1).requires_grad_(True)
    loss = functional.cross_entropy(model(start), labels)
    (slope,) = torch.autograd.grad(loss, start)
    moved = start.detach() + 1.25 * eps * slope.sign()
    return torch.minimum(torch.maximum(moved, x - eps), x + eps).clamp(-1, 1)


def _augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    n, _, height, width = x.shape
    padded = functional.pad(x, (1, 1, 1, 1), value=-1.0)
    top, left = torch.randint(0, 3, (2, n), generator=generator)
    rows = (torch.arange(height) + top[:, None])[:, None, :, None]
    columns = (torch.arange(width) + left[:, None])[:, None, None, :]
    return padded[torch.arange(n)[:, None, None, None], 0, rows, columns]
