"""Architectures, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from mimicgan.errors import UserError
from mimicgan.models.dcgan import DcganDiscriminator, DcganGenerator
from mimicgan.models.fashion import LATENT, FashionDiscriminator, FashionGenerator


@dataclass(frozen=True)
class Architecture:
    """The networks of one kind of prior: factories that need no argument."""

    generator: Callable[..., Any]
    discriminator: Callable[..., Any]
    encoder: Callable[..., Any]
    widths: bool = False
    """Whether the factories take a ``width``."""


ARCHITECTURES = {
    "fashion": Architecture(
        FashionGenerator, FashionDiscriminator, lambda: FashionDiscriminator(2 * LATENT, width=32)
    ),
    "dcgan": Architecture(
        DcganGenerator, DcganDiscriminator, partial(DcganDiscriminator, 2 * LATENT), widths=True
    ),
}


def architecture(name: str) -> Architecture:
    """The architecture called ``name``; UserError names those that exist."""
    if name not in ARCHITECTURES:
        raise UserError(f"no architecture {name!r}; there are: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
