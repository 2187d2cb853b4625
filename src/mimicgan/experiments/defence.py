"""Table 4b: attacks on the classifier alone, cleaned before it sees them (static, grey box)."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from mimicgan.attacks import ATTACKS, attacked, on_manifold
from mimicgan.experiments.bench import GUARD, Bench
from mimicgan.experiments.cases import Case
from mimicgan.experiments.code_version import code_digest
from mimicgan.experiments.options import Callback, ExperimentOptions
from mimicgan.experiments.robust_classification import undamaged
from mimicgan.experiments.runner import Experiment, run
from mimicgan.files import written_whole
from mimicgan.purify import Gradient, Purified

NAME = "defence"
PAPER: dict[str, dict[str, float]] = {
    "deepfool": {"observed": 0.062, "cowboy": 0.802, "defense-gan": 0.800, "mimicgan": 0.854},
    "cw-l2": {"observed": 0.004, "cowboy": 0.670, "defense-gan": 0.662, "mimicgan": 0.692},
    "bim": {"observed": 0.056, "cowboy": 0.600, "defense-gan": 0.584, "mimicgan": 0.680},
    "pgdm": {"observed": 0.054, "cowboy": 0.608, "defense-gan": 0.588, "mimicgan": 0.664},
    "fgsm": {"observed": 0.116, "cowboy": 0.482, "defense-gan": 0.466, "mimicgan": 0.600},
    "obfuscated": {"observed": 0.238, "cowboy": 0.238, "defense-gan": 0.266, "mimicgan": 0.336},
}
"""Table 4b of the paper, accuracies."""
METHODS = (
    "observed",
    "median",
    "jpeg",
    "adversarial-training",
    "pgd",
    "defense-gan",
    "cowboy",
    "mimicgan",
    "universal",
    "hardened",
    "default",
)
FEW = ("universal", "hardened", "default")
CLEAN_BATCHES = {1: 50, 10: 10}
"""Images cleaned together -> portions of each seed; 100 together are the row without a number."""
EPS = (0.3, 0.15)
"""Of [0, 1]: the paper's 0.3, read as a share of [0, 1] and of [-1, 1]."""


def adversarial(
    bench: Bench,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    name: str,
    eps: float,
    guessed: bool,
    through: Gradient | None = None,
    hardened: bool = False,
) -> Tensor:
    """The attack ``name`` on ``bench``'s classifier, made once and kept in ``bench.runs``.

    ``through`` attacks a restorer (the universal or the hardened one) and the classifier as one,
    with that gradient.
    """
    parts = {
        "attack": name,
        "eps": eps,
        "guessed": guessed,
        "seed": seed,
        "classifier": bench.weights["classifier"],
        "generator": bench.weights["generator"] if name == OBFUSCATED else None,
        "through": [through, bench.weights["restorer"]] if through else None,
        **({"hardened": GUARD} if hardened else {}),
    }

    def make() -> Tensor:
        model = bench.attackable()
        if through and hardened:
            model = bench.guarded(through)
        elif through:
            model = Purified(model, bench.prior, gradient=through)
        target = None if guessed else labels
        if name == OBFUSCATED:
            return on_manifold(model, bench.prior, images, labels, seed=seed)
        return attacked(name, model, images, target, eps=eps, seed=seed)

    code = ("mimicgan.attacks", "mimicgan.purify") if through else ("mimicgan.attacks",)
    return kept(bench, parts, images, code, make)


def kept(
    bench: Bench,
    parts: dict[str, Any],
    images: Tensor,
    code: tuple[str, ...],
    make: Callable[[], Tensor],
) -> Tensor:
    """What ``make`` makes of ``images``, made once and kept in ``bench.runs``.

    ``parts`` and the modules ``code`` are what else decides it.
    """
    parts = parts | {
        "images": hashlib.sha256(images.numpy().tobytes()).hexdigest(),
        "code": code_digest(*code),
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
    path = bench.runs / "adversarial" / f"{key}.safetensors"
    if not path.exists():
        made = make()
        with written_whole(path) as partial_path:
            save_file({"images": made.contiguous()}, partial_path)
    return load_file(path)["images"]


OBFUSCATED = "obfuscated"


def cases() -> tuple[Case, ...]:
    """Every attack, with true and with guessed labels, in both readings of eps; clean images."""
    few = (
        Case(
            "clean", f"n={n}", undamaged, FEW, batch=n, batches=b, defended=True, extra={"batch": n}
        )
        for n, b in CLEAN_BATCHES.items()
    )
    found = [_case("clean", "clean", None), *few]
    for name, attack in ATTACKS.items():
        for eps in EPS if attack.bounded else EPS[:1]:
            # DeepFool never asks for a label.
            for guessed in (True,) if name == "deepfool" else (True, False):
                labels = "guessed" if guessed else "true"
                variant = f"{labels}-{eps}" if attack.bounded else labels
                made = partial(adversarial, name=name, eps=eps, guessed=guessed)
                found.append(_case(name, variant, made))
    made = partial(adversarial, name=OBFUSCATED, eps=0.0, guessed=False)
    return (*found, _case(OBFUSCATED, "true", made))


def _case(task: str, variant: str, made: Callable[..., Tensor] | None) -> Case:
    code = () if made is None else ("mimicgan.attacks",)
    return Case(task, variant, undamaged, METHODS, code=code, adversary=made, defended=True)


def defence(
    options: ExperimentOptions, callback: Callback | None = None, bench: Bench | None = None
) -> Path | None:
    """Run the experiment; the result file's path, or None while other shards are at work."""
    return run(Experiment(NAME, cases()), options, callback, bench)
