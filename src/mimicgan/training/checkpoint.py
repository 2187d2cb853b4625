"""Checkpoints that survive kill -9: written beside, then renamed."""

import random
from pathlib import Path
from typing import Any

import torch

from mimicgan.files import written_whole


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a training state (tensors and plain values) atomically."""
    with written_whole(path) as partial:
        torch.save(state, partial)


def load(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The state at ``path``, or None when there is none.

    Raises ValueError when it was written with other settings: a run that changes its
    settings half way could not be repeated.
    """
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, weights_only=True)
    if state["settings"] != settings:
        raise ValueError(
            f"{path} belongs to a run with other settings {state['settings']}; "
            "give the same settings to go on, or another output folder to start anew"
        )
    return state


def step_generator(seed: int, step: int) -> torch.Generator:
    """A generator that depends on (seed, step) alone: a resumed run repeats an unbroken one."""
    mixed = random.Random(f"{seed}/{step}").getrandbits(63)
    return torch.Generator().manual_seed(mixed)


def batch_indices(count: int, batch: int, step: int, seed: int) -> torch.Tensor:
    """The indices (batch,) of training step ``step``; an epoch is one permutation of ``count``."""
    per_epoch = count // batch
    epoch, within = divmod(step, per_epoch)
    order = torch.randperm(count, generator=step_generator(seed, -1 - epoch))
    return order[within * batch : (within + 1) * batch]
