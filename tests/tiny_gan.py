"""Networks and pictures small enough to train within a test, for the tests and their processes."""

import torch
from torch import Tensor, nn

from mimicgan.models import ARCHITECTURES, Architecture
from mimicgan.training.gan import GanSettings

SETTINGS = GanSettings(architecture="tiny", steps=9, warmup=4, batch=8, ema=0.9)


class TinyGenerator(nn.Module):
    """Latent (n, 3) -> image (n, 1, 4, 4), with batch norms as Table 3 has them."""

    latent_size = 3
    image_shape = (1, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(3, 8), nn.BatchNorm1d(8)
        self.second, self.norm2 = nn.Linear(8, 10), nn.BatchNorm1d(10)
        self.last = nn.Linear(10, 16)

    def forward(self, z: Tensor) -> Tensor:
        hidden = self.norm2(self.second(self.norm(self.first(z).relu())).relu())
        image: Tensor = self.last(hidden).tanh().view(-1, 1, 4, 4)
        return image


class TinyDiscriminator(nn.Module):
    """Image -> logit (n,), or ``outputs`` values, with a batch norm."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(16, 8), nn.LeakyReLU(0.2), nn.BatchNorm1d(8)
        )
        self.last = nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.body(x))
        return out.squeeze(1)


ARCHITECTURES["tiny"] = Architecture(
    TinyGenerator, TinyDiscriminator, lambda: TinyDiscriminator(2 * TinyGenerator.latent_size)
)


def pictures(count: int = 30) -> Tensor:
    """uint8 pictures (count, 1, 4, 4): a bright and a dark half, at random strengths."""
    strength = torch.rand(count, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    half = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 4, 1).expand(count, 1, 4, 4)
    return (255 * (strength * half + (1 - strength) * (1 - half))).to(torch.uint8)
