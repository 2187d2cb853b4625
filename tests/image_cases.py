"""Images, and sources that must be refused, for several test files."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mimicgan.errors import UserError
from mimicgan.image_files import read_images

GREY = (1, 28, 28)
COLOUR = (3, 16, 24)


def some(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Random images on the 8-bit grid."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator).float() / 255


def refused(source: Path | str, shape: tuple[int, int, int] = GREY) -> str:
    """What the user is told when these images cannot be used."""
    with pytest.raises(UserError) as caught:
        read_images(source, shape)
    return str(caught.value)
