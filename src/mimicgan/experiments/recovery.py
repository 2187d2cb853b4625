"""Section 4.1: six unknown damages of faces, 25 observations at a time (figure 2 in numbers)."""

from pathlib import Path

from mimicgan.corruptions import FACE_CORRUPTIONS
from mimicgan.experiments.bench import Bench, face_bench
from mimicgan.experiments.cases import Case
from mimicgan.experiments.known_operators import RELAXED
from mimicgan.experiments.options import Callback, ExperimentOptions
from mimicgan.experiments.runner import Experiment, run

NAME = "recovery"
OBSERVATIONS = 25
METHODS = (
    "observed",
    "pgd",
    "mimicgan-table-1",
    "mimicgan",
    "universal",
    "default",
    "supervised",
    "known-corruption",
    "clean-inversion",
)
FIXED = ("stuck-pixels", "stuck-pixels-text", "inpainting")
"""Those that are drawn once for a whole portion."""


def cases() -> tuple[Case, ...]:
    """The six tasks, and the text's variants of three."""
    return tuple(
        Case(
            c.task,
            c.name,
            c.function,
            METHODS,
            code=("mimicgan.corruptions",),
            batch=OBSERVATIONS,
            drawn_once=c.name in FIXED,
            relaxed=RELAXED.get(c.name),
        )
        for c in FACE_CORRUPTIONS.values()
    )


def recovery(
    options: ExperimentOptions, callback: Callback | None = None, bench: Bench | None = None
) -> Path | None:
    """Run the experiment; the result file's path, or None while other shards are at work."""
    return run(Experiment(NAME, cases(), face_bench), options, callback, bench)
