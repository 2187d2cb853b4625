"""Table 3b: how well a classifier copes with damaged images, before and after cleaning."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimicgan.corruptions import CORRUPTIONS
from mimicgan.experiments.bench import Bench
from mimicgan.experiments.cases import Case
from mimicgan.experiments.known_operators import RELAXED
from mimicgan.experiments.options import Callback, ExperimentOptions
from mimicgan.experiments.runner import Experiment, run

NAME = "robust-classification"
PAPER: dict[str, dict[str, float]] = {
    "binary": {"observed": 0.370, "pgd": 0.255, "mimicgan": 0.504},
    "dropped": {"observed": 0.255, "pgd": 0.156, "mimicgan": 0.464},
    "negative-blur": {"observed": 0.072, "pgd": 0.084, "mimicgan": 0.458},
}
"""Table 3b of the paper, accuracies; its classifier has 0.915 on clean images."""
PAPER_CLEAN = 0.915
METHODS = (
    "observed",
    "pgd",
    "mimicgan",
    "default",
    "universal",
    "supervised",
    "known-corruption",
    "clean-inversion",
)
FIXED = ("dropped-shared", "dropped-black-shared")
"""Those that are drawn once for a whole portion."""


def undamaged(images: Tensor, _generator: torch.Generator) -> Tensor:
    """A copy of the images."""
    return images.clone()


def cases() -> tuple[Case, ...]:
    """Every reading of the paper's three corruptions, and clean images."""
    clean = Case(
        "clean",
        "clean",
        undamaged,
        ("observed", "mimicgan", "default", "universal", "clean-inversion"),
    )
    damaged = (
        Case(
            c.task,
            c.name,
            c.function,
            METHODS,
            code=("mimicgan.corruptions",),
            drawn_once=c.name in FIXED,
            relaxed=RELAXED.get(c.name),
        )
        for c in CORRUPTIONS.values()
    )
    return (*damaged, clean)


def paper_readings(rows: list[dict[str, Any]]) -> dict[str, str]:
    """For each task the variant whose observed accuracy is nearest to the paper's."""
    nearest: dict[str, str] = {}
    for task, numbers in PAPER.items():
        found = [r for r in rows if r["task"] == task and r["method"] == "observed"]
        if found:
            best = min(found, key=lambda r: abs(r["accuracy"] - numbers["observed"]))
            nearest[task] = best["variant"]
    return nearest


def robust_classification(
    options: ExperimentOptions, callback: Callback | None = None, bench: Bench | None = None
) -> Path | None:
    """Run the experiment; the result file's path, or None while other shards are at work."""
    return run(Experiment(NAME, cases()), options, callback, bench)
