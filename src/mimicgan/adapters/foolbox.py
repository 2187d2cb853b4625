"""foolbox: a defended classifier as a model to attack."""

from typing import Any

import torch

from mimicgan.errors import needed
from mimicgan.purify import Purified


def foolbox_model(defended: Purified) -> Any:
    """foolbox's model of ``defended``, images in [0, 1]; its gradient is the one chosen there.

    The classifier stays on its device.
    """
    home = next(defended.parameters(), torch.empty(0)).device
    return needed("foolbox", "attacks").PyTorchModel(defended, bounds=(0, 1), device=home)
