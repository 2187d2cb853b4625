"""Untrained networks in the formats of the package, for tests that must not depend on weights."""

from pathlib import Path

import torch

from mimicgan.models.fashion import FashionDiscriminator, FashionGenerator
from mimicgan.models.restorer import Restorer
from mimicgan.pretrained import Card, save_prior

CARD = Card(
    name="untrained",
    architecture="fashion",
    data="none",
    licence="MIT",
    command="none",
    seed=3,
    settings={"steps": 0},
    metrics={"psnr": 1.5},
)


def untrained_generator() -> FashionGenerator:
    """A generator with random weights and statistics, in eval mode."""
    torch.manual_seed(0)
    return FashionGenerator().eval()


def save_untrained(folder: Path, *, parts: bool = True) -> FashionGenerator:
    """Save a prior, with discriminator and restorer if ``parts``; its generator."""
    generator = untrained_generator()
    discriminator = FashionDiscriminator().eval() if parts else None
    restorer = Restorer(generator.image_shape).eval() if parts else None
    save_prior(folder, CARD, generator, discriminator, restorer)
    return generator
