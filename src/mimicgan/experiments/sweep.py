"""How Algorithm 1's numbers were chosen: one change at a time, on validation images."""

from dataclasses import replace
from pathlib import Path

from mimicgan.corruptions import CORRUPTIONS
from mimicgan.errors import UserError
from mimicgan.experiments.bench import Bench
from mimicgan.experiments.cases import Case
from mimicgan.experiments.methods import METHODS, algorithm_1
from mimicgan.experiments.options import Callback, ExperimentOptions
from mimicgan.experiments.runner import Experiment, run
from mimicgan.presets import MimicSettings

NAME = "sweep"
BASE = MimicSettings()
NEAR = replace(BASE, scale=0.01)
SQUARES = replace(BASE, norm="l2")
BOTH = replace(NEAR, norm="l2")
CHANGES: dict[str, MimicSettings] = {
    "base": BASE,
    "rmsprop": replace(BASE, optimizer="rmsprop"),
    "rmsprop, both rates 0.001, 60 x (10 + 5)": replace(
        BASE,
        optimizer="rmsprop",
        latent_rate=1e-3,
        surrogate_rate=1e-3,
        iterations=60,
        latent_steps=5,
    ),
    "tf-rmsprop": replace(BASE, optimizer="tf-rmsprop"),
    "latent rate 0.02": replace(BASE, latent_rate=0.02),
    "surrogate rate 0.001": replace(BASE, surrogate_rate=1e-3),
    "surrogate rate 0.02": replace(BASE, surrogate_rate=0.02),
    "random start": replace(BASE, skip=0.0),
    "no last activation": replace(BASE, last="none"),
    "identity loss 0.1": replace(BASE, identity=0.1),
    "20 x (20 + 10)": replace(BASE, iterations=20, surrogate_steps=20),
    "20 x (5 + 15)": replace(BASE, iterations=20, surrogate_steps=5, latent_steps=15),
    "100 x (3 + 3)": replace(BASE, iterations=100, surrogate_steps=3, latent_steps=3),
    "start at the identity": NEAR,
    "identity, rmsprop": replace(NEAR, optimizer="rmsprop"),
    "identity, tf-rmsprop": replace(NEAR, optimizer="tf-rmsprop"),
    "identity, surrogate rate 0.02": replace(NEAR, surrogate_rate=0.02),
    "identity, 20 x (20 + 10)": replace(NEAR, iterations=20, surrogate_steps=20),
    "identity, identity loss 0.1": replace(NEAR, identity=0.1),
    "squares": SQUARES,
    "squares, identity loss 0.1": replace(SQUARES, identity=0.1),
    "squares, adversarial loss 0.001": replace(SQUARES, adversarial=1e-3),
    "squares, surrogate rate 0.01": replace(SQUARES, surrogate_rate=0.01),
    "squares, latent rate 0.1": replace(SQUARES, latent_rate=0.1),
    "squares, 100 x (3 + 3)": replace(SQUARES, iterations=100, surrogate_steps=3, latent_steps=3),
    "squares, 60 x (10 + 5)": replace(SQUARES, iterations=60, latent_steps=5),
    "identity, squares": BOTH,
    "identity, squares, identity loss 0.1": replace(BOTH, identity=0.1),
    "identity, squares, surrogate rate 0.002": replace(BOTH, surrogate_rate=2e-3),
    "identity, squares, rmsprop": replace(BOTH, optimizer="rmsprop"),
    "identity, squares, latent rate 0.1": replace(BOTH, latent_rate=0.1),
    "identity, squares, latent rate 0.2": replace(BOTH, latent_rate=0.2),
    "identity, squares, latent rate 0.1, 60 x (10 + 10)": replace(
        BOTH, latent_rate=0.1, iterations=60
    ),
    "identity, squares, latent rate 0.1, surrogate rate 0.01": replace(
        BOTH, latent_rate=0.1, surrogate_rate=0.01
    ),
    "identity, squares, 60 x (5 + 5)": replace(
        BOTH, iterations=60, surrogate_steps=5, latent_steps=5
    ),
    "squares, no last activation": replace(SQUARES, last="none"),
    "identity, squares, latent rate 0.1, no last activation": replace(
        BOTH, latent_rate=0.1, last="none"
    ),
    "squares, latent rate 0.1, random start, no last activation": replace(
        SQUARES, latent_rate=0.1, skip=0.0, last="none"
    ),
}
"""Name -> settings; each is one row."""
READINGS = ("binary", "dropped-black", "dropped-black-shared", "negative-blur")


def cases() -> tuple[Case, ...]:
    """One reading of each corruption, and the one of dropped pixels that Table 5 can express."""
    names = []
    for change, settings in CHANGES.items():
        names.append(f"mimicgan: {change}")
        METHODS.setdefault(names[-1], algorithm_1(settings))
    return tuple(
        Case(
            CORRUPTIONS[name].task,
            name,
            CORRUPTIONS[name].function,
            ("observed", *names),
            code=("mimicgan.corruptions",),
        )
        for name in READINGS
    )


def sweep(
    options: ExperimentOptions, callback: Callback | None = None, bench: Bench | None = None
) -> Path | None:
    """Run the experiment; the result file's path, or None while other shards are at work.

    UserError on test images: settings are not chosen on what is reported.
    """
    if options.split == "test":
        raise UserError("the sweep chooses settings; run it with --split validation")
    return run(Experiment(NAME, cases()), options, callback, bench)
