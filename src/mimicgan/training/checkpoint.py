"""Checkpoints that survive kill -9: written beside, then renamed."""

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import torch

from mimicgan.errors import UserError, at_least, check_seed
from mimicgan.files import written_whole


class Run(Protocol):
    """Settings that every training has."""

    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def seed(self) -> int: ...


def check(run: Run) -> None:
    """ValueError for settings with which nothing is trained."""
    at_least(1, steps=run.steps, batch=run.batch)
    check_seed(run.seed)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a training state (tensors and plain values) atomically."""
    # Made in memory: torch's own writer does not say that a disk is full.
    content = BytesIO()
    torch.save(state, content)
    with written_whole(path) as partial:
        partial.write_bytes(content.getbuffer())


def load(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The state at ``path``, or None when there is none.

    Raises UserError when it is damaged, no checkpoint, or of other images (``settings["images"]``,
    ``digest_of``), and ValueError when it was written with other settings: a run that changes its
    settings half way could not be repeated.
    """
    if not path.exists():
        return None
    try:
        # Plain tensors and values alone: any other pickle could run anything.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Fed with foreign bytes torch's reader may raise nearly anything.
        raise damaged(path) from error
    if not (isinstance(state, dict) and {"settings", "step"} <= state.keys()):
        raise damaged(path)
    if state["settings"] != settings:
        if isinstance(state["settings"], dict) and _but_images(state["settings"]) == _but_images(
            settings
        ):
            raise other_images(path)
        raise ValueError(
            f"{path} belongs to a run with other settings {state['settings']}; "
            "give the same settings to go on, or another output folder to start anew"
        )
    if not isinstance(state["step"], int):
        raise damaged(path)
    return state


def _but_images(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "images"}


def fill(path: Path, state: dict[str, Any], parts: Mapping[str, Any]) -> None:
    """Give every part (network, optimizer, schedule) its state; UserError where it has none."""
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise damaged(path) from error


def damaged(path: Path) -> UserError:
    return UserError(
        f"{path} is damaged or no checkpoint of this training; delete it to start anew, or give "
        "another output folder"
    )


def digest_of(images: torch.Tensor) -> str:
    """SHA-256 of images (n, c, h, w), or of their labels (n,), in their order.

    A run belongs to those it began with.
    """
    return hashlib.sha256(images.contiguous().numpy().data).hexdigest()


def other_images(path: Path) -> UserError:
    return UserError(
        f"{path} belongs to a run on other images; give the same images to go on, or another "
        "output folder to start anew"
    )


def step_generator(seed: int, step: int) -> torch.Generator:
    """A generator that depends on (seed, step) alone: a resumed run repeats an unbroken one."""
    mixed = random.Random(f"{seed}/{step}").getrandbits(63)
    return torch.Generator().manual_seed(mixed)


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Random numbers of the processor, and of ``device`` if it is a GPU, begin at ``seed``.

    The caller's own stay as they were.
    """
    gpu = device if device is not None and device.type == "cuda" else None
    with torch.random.fork_rng(devices=[] if gpu is None else [gpu]):
        # torch.manual_seed would seed every GPU of the caller's.
        torch.default_generator.manual_seed(seed)
        if gpu is not None:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


def batch_indices(count: int, batch: int, step: int, seed: int) -> torch.Tensor:
    """The indices (batch,) of training step ``step``; an epoch is one permutation of ``count``.

    ValueError when there are fewer than a batch.
    """
    if not 1 <= batch <= count:
        raise ValueError(
            f"a batch of {batch} does not go with {count} images; give 1 or more, and at most as "
            "many as there are images"
        )
    per_epoch = count // batch
    epoch, within = divmod(step, per_epoch)
    order = torch.randperm(count, generator=step_generator(seed, -1 - epoch))
    return order[within * batch : (within + 1) * batch]
