"""Stand-ins for the classifier that an attacker has in mind: none is known, so some are made up.

Each is a small network that tells clusters of the clean images apart. What fools it looks like what
fools a classifier with labels, and no label is needed.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mimicgan.random_corruption import Corruption, Dice


def clusters(images: Tensor, count: int, generator: torch.Generator, rounds: int = 8) -> Tensor:
    """Labels (n,) of images (n, c, h, w) by k-means of their pooled pixels."""
    pooled = functional.avg_pool2d(images, images.shape[2] // 7).flatten(1)
    centres = pooled[torch.randperm(len(pooled), generator=generator)[:count]]
    for _ in range(rounds):
        labels = torch.cdist(pooled, centres).argmin(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, labels, pooled)
        counts = torch.bincount(labels, minlength=count).clamp(min=1)
        centres = sums / counts[:, None]
    return labels


def decoy(
    images: Tensor, generator: torch.Generator, steps: int = 300, batch: int = 64
) -> nn.Module:
    """A small classifier of random shape, trained to tell clusters of ``images`` apart.

    Images (n, c, h, w) in [-1, 1] -> logits.
    """
    dice = Dice(generator)
    classes = dice.integer(6, 24)
    labels = clusters(images, classes, generator)
    kernel, width = (3, 5)[dice.integer(0, 1)], dice.integer(12, 32)
    halvings = max(2, round(math.log2(images.shape[2] / 7)))
    layers: list[nn.Module] = []
    before = images.shape[1]
    for _ in range(halvings):
        pool = nn.MaxPool2d(2) if dice.chance(0.5) else nn.AvgPool2d(2)
        layers += [
            nn.Conv2d(before, width, kernel, padding=kernel // 2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            pool,
        ]
        before, width = width, min(2 * width, 64)
    side = images.shape[2] // 2**halvings
    model = nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(before * side * (images.shape[3] // 2**halvings), 96),
        nn.ReLU(),
        nn.Linear(96, classes),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        index = torch.randint(len(images), (batch,), generator=generator)
        loss = functional.cross_entropy(model(images[index]), labels[index])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval().requires_grad_(False)


def misleading(models: list[nn.Module], dice: Dice) -> Corruption:
    """A small change of images (n, c, h, w) in [-1, 1] that turns the answer of one of ``models``.

    One step along the sign of the gradient, or several from a random start, of a strength drawn
    from slight to 0.7, a third of the whole range.
    """
    model = models[dice.integer(0, len(models) - 1)]
    eps = dice.uniform(0.02, 0.7)
    steps = 1 if dice.chance(0.4) else dice.integer(2, 8)
    stride = eps if steps == 1 else eps * dice.uniform(1, 2) / steps

    def corrupt(x: Tensor) -> Tensor:
        answer = model(x).argmax(dim=1)
        out = x
        if steps > 1 and dice.chance(0.5):
            out = x + (dice.tensor(*x.shape) * 2 - 1) * eps
        for _ in range(steps):
            with torch.enable_grad():
                at = out.detach().requires_grad_(True)
                loss = functional.cross_entropy(model(at), answer, reduction="sum")
                (slope,) = torch.autograd.grad(loss, at)
            out = x + (out.detach() + stride * slope.sign() - x).clamp(-eps, eps)
            out = out.clamp(-1, 1)
        return out

    return corrupt
