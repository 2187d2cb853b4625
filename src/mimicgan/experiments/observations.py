"""How many observations it takes: the default method on 1 to 500 images of one damage."""

from pathlib import Path

from mimicgan.corruptions import CORRUPTIONS
from mimicgan.experiments.bench import Bench
from mimicgan.experiments.cases import Case
from mimicgan.experiments.options import Callback, ExperimentOptions
from mimicgan.experiments.runner import Experiment, run

NAME = "observations"
READINGS = ("binary", "dropped", "negative-blur")
"""The literal reading of each of the paper's three corruptions."""
BATCHES = {1: 12, 5: 6, 10: 4, 25: 3, 50: 2, 100: 1, 500: 1}
"""Observations -> fits of each seed. Few observations are cheap in images, not in time."""
METHODS = ("observed", "universal", "default")


def cases() -> tuple[Case, ...]:
    """Each corruption with each number of observations."""
    return tuple(
        Case(
            CORRUPTIONS[name].task,
            f"n={count}",
            CORRUPTIONS[name].function,
            METHODS,
            code=("mimicgan.corruptions",),
            batch=count,
            batches=batches,
            extra={"observations": count},
        )
        for name in READINGS
        for count, batches in BATCHES.items()
    )


def observations(
    options: ExperimentOptions, callback: Callback | None = None, bench: Bench | None = None
) -> Path | None:
    """Run the experiment; the result file's path, or None while other shards are at work."""
    return run(Experiment(NAME, cases()), options, callback, bench)
