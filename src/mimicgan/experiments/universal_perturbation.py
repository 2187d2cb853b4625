"""Figure 4a: one perturbation for all images, made from 15 of them, scaled up."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mimicgan.attacks import universal_perturbation
from mimicgan.experiments.bench import Bench
from mimicgan.experiments.cases import Case
from mimicgan.experiments.options import Callback, ExperimentOptions
from mimicgan.experiments.robust_classification import undamaged
from mimicgan.experiments.runner import Experiment, run

NAME = "universal"
SCALES = (0.5, 1.0, 2.0, 4.0, 8.0)
COUNT = 15
METHODS = (
    "observed",
    "median",
    "pgd",
    "defense-gan",
    "mimicgan",
    "universal",
    "hardened",
    "default",
)


def perturbed(bench: Bench, images: Tensor, _labels: Tensor, seed: int, *, scale: float) -> Tensor:
    """Images (n, c, h, w) in [0, 1] plus ``scale`` times a perturbation of training images."""
    classifier = bench.attackable()
    generator = torch.Generator().manual_seed(seed)
    train = bench.train()
    chosen = train[torch.randint(len(train), (COUNT,), generator=generator)].float() / 255
    target = int(torch.randint(10, (), generator=generator))
    change = universal_perturbation(classifier, chosen, target)
    return (images + scale * change).clamp(0, 1)


def cases() -> tuple[Case, ...]:
    """Each scale of the perturbation."""
    return tuple(
        Case(
            "universal-perturbation",
            f"alpha={scale:g}",
            undamaged,
            METHODS,
            code=("mimicgan.attacks",),
            adversary=partial(perturbed, scale=scale),
            defended=True,
            extra={"alpha": scale},
        )
        for scale in SCALES
    )


def universal(
    options: ExperimentOptions, callback: Callback | None = None, bench: Bench | None = None
) -> Path | None:
    """Run the experiment; the result file's path, or None while other shards are at work."""
    return run(Experiment(NAME, cases()), options, callback, bench)
