"""Damages that were not looked at while the methods were made, at three strengths."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mimicgan.corruptions import FACE_CORRUPTIONS
from mimicgan.experiments.bench import Bench
from mimicgan.experiments.cases import Case
from mimicgan.experiments.options import Callback, ExperimentOptions
from mimicgan.experiments.runner import Experiment, run
from mimicgan.experiments.unseen_corruptions import STRENGTHS, UNSEEN, corrupt_unseen

NAME = "unseen"
METHODS = ("observed", "pgd", "mimicgan", "default", "universal", "supervised")
CONTROL = "none"
"""The entry without damage: its strengths are all the same."""
LISTED = "as listed"
"""Variant of a damage of the paper's appendix that stands beside the list: no unseen one."""


def damage(images: Tensor, generator: torch.Generator, *, name: str, strength: str) -> Tensor:
    """Damage images (n, c, h, w) in [0, 1] by the entry ``name`` of the frozen list."""
    return corrupt_unseen(name, strength, images, generator)


def drawn_once(name: str, shape: tuple[int, int, int] = (1, 28, 28)) -> bool:
    """Whether ``name`` is drawn at random, once for all images of a call."""
    probe = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    first, second = (
        corrupt_unseen(name, "middle", probe, torch.Generator().manual_seed(seed))
        for seed in (1, 2)
    )
    return not UNSEEN[name].per_image and not torch.equal(first, second)


def cases() -> tuple[Case, ...]:
    """Every entry of the list at every strength; last, a sensor whose columns show another one."""
    stuck = FACE_CORRUPTIONS["stuck-pixels"]
    listed = Case(
        stuck.task,
        LISTED,
        stuck.function,
        METHODS,
        code=("mimicgan.corruptions",),
        drawn_once=True,
    )
    frozen = (
        Case(
            name,
            strength,
            partial(damage, name=name, strength=strength),
            METHODS,
            code=("mimicgan.experiments.unseen_corruptions",),
            drawn_once=drawn_once(name),
        )
        for name in UNSEEN
        for strength in (("middle",) if name == CONTROL else STRENGTHS)
    )
    return (*frozen, listed)


def unseen(
    options: ExperimentOptions, callback: Callback | None = None, bench: Bench | None = None
) -> Path | None:
    """Run the experiment; the result file's path, or None while other shards are at work."""
    return run(Experiment(NAME, cases()), options, callback, bench)
