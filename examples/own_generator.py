"""Algorithm 1 with a generator and a surrogate of your own."""

import torch
from torch import nn

import mimicgan
from mimicgan.presets import MimicSettings


class Blobs(nn.Module):
    """A generator without training: two bright blobs whose places are the latents."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        line = torch.linspace(-1, 1, 28)
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        images = torch.zeros(len(z), 28, 28)
        for k in (0, 2):
            away = (rows - z[:, k, None, None]) ** 2 + (columns - z[:, k + 1, None, None]) ** 2
            images = images + torch.exp(-away / 0.05)
        return (images.clamp(0, 1) * 2 - 1)[:, None]


class Contrast(nn.Module):
    """A surrogate with two parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * x + self.offset


def main() -> float:
    prior = mimicgan.Prior(Blobs(), latent_size=4, image_shape=(1, 28, 28), box=(-0.8, 0.8))
    clean = (prior.sample(25, torch.Generator().manual_seed(0)) + 1) / 2
    observed = 0.4 * clean + 0.5
    settings = mimicgan.Settings(
        "mimicgan",
        mimic=MimicSettings(iterations=20, adversarial=0.0, start="random", restarts=4),
    )
    result = mimicgan.restore(observed, prior, settings, surrogate=Contrast())
    print(f"gain {result.surrogate.gain.item():.2f}, should be 0.40")
    return float((result.images - clean).abs().mean())


if __name__ == "__main__":
    print(f"mean error {main():.3f}")
