"""Attacks that know of the cleaning: what is left of the static table when they do.

PGDM and a black-box search on a restorer, the universal or the hardened one, and the classifier as
one, over a range of eps. The default method gets the same images: for it they are a transferred
attack, since it learns its restorer anew from every batch.
"""

from functools import partial
from pathlib import Path

from mimicgan.experiments.bench import Bench
from mimicgan.experiments.cases import Case
from mimicgan.experiments.defence import adversarial
from mimicgan.experiments.options import Callback, ExperimentOptions
from mimicgan.experiments.robust_classification import undamaged
from mimicgan.experiments.runner import Experiment, run
from mimicgan.purify import Gradient

NAME = "adaptive"
EXACT = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
BPDA = (0.1, 0.3)
SQUARE = (0.05, 0.1, 0.3)
METHODS = ("observed", "median", "adversarial-training", "universal", "default")
HARDENED = ("observed", "adversarial-training", "hardened")


def cases() -> tuple[Case, ...]:
    """Exact gradients, straight-through gradients, and none: the classes to leave are the true."""
    kinds: tuple[tuple[str, str, Gradient, tuple[float, ...]], ...] = (
        ("exact-gradient", "pgdm", "exact", EXACT),
        ("straight-through", "pgdm", "straight-through", BPDA),
        ("black-box", "square", "exact", SQUARE),
    )
    return tuple(
        Case(
            f"{task}-hardened" if hardened else task,
            f"eps={eps:g}",
            undamaged,
            HARDENED if hardened else METHODS,
            code=("mimicgan.attacks",),
            adversary=partial(
                adversarial,
                name=name,
                eps=eps,
                guessed=False,
                through=gradient,
                hardened=hardened,
            ),
            defended=True,
            extra={"eps": eps},
        )
        for hardened in (False, True)
        for task, name, gradient, every in kinds
        for eps in every
    )


def adaptive(
    options: ExperimentOptions, callback: Callback | None = None, bench: Bench | None = None
) -> Path | None:
    """Run the experiment; the result file's path, or None while other shards are at work."""
    return run(Experiment(NAME, cases()), options, callback, bench)
