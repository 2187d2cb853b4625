"""A tiny prior, classifier and damages for the tests of the experiments."""

from pathlib import Path

import torch
from torch import Tensor, nn

from mimicgan.experiments.bench import Bench
from mimicgan.prior import Prior

SHAPE = (1, 12, 12)


class TinyGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 144)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.fc(z)).view(-1, *SHAPE)


class BrightHalf(nn.Module):
    """Class 1 where the left half is brighter than the right one."""

    def forward(self, x: Tensor) -> Tensor:
        difference = x[..., :6].mean(dim=(1, 2, 3)) - x[..., 6:].mean(dim=(1, 2, 3))
        return torch.stack([-difference, difference], dim=1)


def inverted(images: Tensor, _generator: torch.Generator) -> Tensor:
    return 1 - images


def speckled(images: Tensor, generator: torch.Generator) -> Tensor:
    hit = torch.rand(images.shape, generator=generator) < 0.3
    return torch.where(hit, 0.5, images)


def tiny_bench(folder: Path) -> Bench:
    """60 random images, labelled by the classifier itself."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (60, *SHAPE), dtype=torch.uint8)
    labels = BrightHalf()(images.float()).argmax(dim=1)
    prior = Prior(TinyGenerator(), 4, SHAPE)
    return Bench(prior, BrightHalf(), images, labels, lambda: images, folder / "runs")
