"""A unit of work, one portion of images under one damage by one method, measured once and kept."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mimicgan.experiments.bench import Bench
from mimicgan.experiments.cases import Case, Sample
from mimicgan.experiments.code_version import code_digest
from mimicgan.experiments.methods import METHODS
from mimicgan.experiments.options import ExperimentOptions
from mimicgan.files import written_whole
from mimicgan.images import to_internal
from mimicgan.metrics import feature_distance, psnr, ssim
from mimicgan.training.checkpoint import step_generator

# The error of rounding to 8 bits; an untouched image would count as infinitely good.
PSNR_LIMIT = 58.9


@dataclass(frozen=True)
class Unit:
    """Images ``start`` to ``stop`` of ``seed`` under the damage of ``case`` by ``method``."""

    case: Case
    method: str
    seed: int
    batch: int
    """Number of the portion."""
    start: int
    stop: int

    @property
    def label(self) -> str:
        return f"{self.case.task} {self.case.variant} {self.method} {self.seed}.{self.batch}"


@dataclass(frozen=True)
class Measurement:
    """The raw outcome of a unit; sums, so that units can be pooled."""

    images: int
    correct: int | None
    psnr_sum: float
    ssim_sum: float
    seconds: float
    generator_passes: int
    misfit: float | None
    understood: bool | None
    threads: int
    feature_sum: float | None = None


def units_of(cases: tuple[Case, ...], options: ExperimentOptions) -> list[Unit]:
    """All units, portion by portion over all cases and methods: early results cover every row.

    A case whose portion is larger than ``options.images`` has none.
    """
    found: list[tuple[int, int, Unit]] = []
    for case in cases:
        size = case.batch or options.batch
        starts = range(0, options.images, size)
        if case.batch is not None:
            # A portion smaller than the case asks for would be another case.
            starts = range(0, options.images - size + 1, size)
        for number, start in enumerate(starts):
            if case.batches is not None and number >= case.batches:
                break
            stop = min(start + size, options.images)
            for turn, seed in enumerate(options.seeds):
                for method in case.methods:
                    unit = Unit(case, method, seed, number, start, stop)
                    found.append((turn, number, unit))
    return [unit for _, _, unit in sorted(found, key=lambda item: item[:2])]


def key_of(unit: Unit, bench: Bench, options: ExperimentOptions) -> str:
    """Name of a unit's measurement: a digest of all that decides it but the code."""
    method, case = METHODS[unit.method], unit.case
    # An attack may use any of the networks.
    used = (*method.weights, "classifier") if case.adversary is None else tuple(bench.weights)
    parts = {
        # A method that sees no damage is measured once for all of them.
        "case": "clean" if method.of_clean else f"{case.task}/{case.variant}",
        "method": unit.method,
        "seed": unit.seed,
        # The number of the portion seeds its damage and its method.
        "images": [unit.batch, unit.start, unit.stop],
        "split": options.split,
        "settings": method.settings(),
        "damage": {} if method.of_clean else case.settings,
        "weights": {name: bench.weights[name] for name in used if name in bench.weights},
    }
    if {"generator", "restorer"} <= set(method.weights):
        # A fit learns from its bank, and its misfit is in units of the prior's.
        parts["prior"] = bench.prior_digest
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def code_of(unit: Unit) -> str:
    """Digest of the code of the unit's method and damage."""
    method = METHODS[unit.method]
    modules = method.code if method.of_clean else (*method.code, *unit.case.code)
    return code_digest(*modules)


def measure(unit: Unit, bench: Bench) -> Measurement:
    """Damage the unit's images, let its method restore them, and compare with the truth."""

    def draw() -> torch.Generator:
        return step_generator(unit.seed, unit.batch)

    truth, labels = bench.drawn(unit.seed, unit.start, unit.stop)
    if unit.case.shuffled:
        order = torch.randperm(len(truth), generator=draw())
        truth, labels = truth[order], labels[order]
    strangers = unit.case.strangers
    if strangers is not None:
        truth = strangers(len(truth), bench.prior.image_shape, draw())
    # Drawn, not the state itself: the method's random numbers must not be those of the damage.
    seed = int(torch.randint(2**31, (), generator=draw()))
    if unit.case.adversary is not None:
        observed = unit.case.adversary(bench, truth, labels, seed)
    else:
        observed = unit.case.damage(truth, draw()).clamp(0, 1)
    sample = Sample(unit.case, observed, truth, seed, draw)
    outcome = METHODS[unit.method].run(sample, bench)
    images, truth, labels = (part[: unit.case.judged] for part in (outcome.images, truth, labels))
    # The images around the judged ones are not in its row, nor is what they cost.
    share = len(truth) / len(observed)
    with torch.no_grad():
        logits, correct = outcome.logits, None
        if logits is None and bench.classifier is not None and strangers is None:
            logits = bench.classifier(to_internal(images))
        if logits is not None:
            correct = int((logits[: len(labels)].argmax(dim=1) == labels).sum())
        features = None
        if bench.classifier is None and bench.prior.discriminator is not None:
            apart = feature_distance(images, truth, bench.prior.discriminator)
            features = float(apart.sum())
        peak = psnr(images, truth).clamp(max=PSNR_LIMIT)
        alike = ssim(images, truth)
    misfit = outcome.misfit
    return Measurement(
        images=len(truth),
        correct=correct,
        psnr_sum=float(peak.double().sum()),
        ssim_sum=float(alike.double().sum()),
        seconds=outcome.seconds * share,
        generator_passes=round(outcome.generator_passes * share),
        misfit=misfit if misfit is not None and math.isfinite(misfit) else None,
        understood=outcome.understood,
        threads=torch.get_num_threads(),
        feature_sum=features,
    )


State = dict[str, Any]


def save(path: Path, measurement: Measurement, unit: Unit) -> None:
    """Write a measurement, with words on what it is of."""
    state: State = {"unit": unit.label, "code": code_of(unit), **asdict(measurement)}
    with written_whole(path) as partial:
        partial.write_text(json.dumps(state, indent=1, allow_nan=False), encoding="utf-8")


def load(path: Path) -> State | None:
    """What :func:`save` wrote to ``path``, if anything."""
    if not path.exists():
        return None
    state: State = json.loads(path.read_text(encoding="utf-8"))
    return state


def measurement(state: State) -> Measurement:
    """The measurement without the words on what it is of."""
    return Measurement(**{k: v for k, v in state.items() if k not in {"unit", "code"}})


def save_all(path: Path, states: dict[str, State]) -> None:
    """Write measurements by their key, one a line, so that others can add to them."""
    lines = [
        json.dumps({"key": key, **state}, allow_nan=False) for key, state in sorted(states.items())
    ]
    with written_whole(path) as partial:
        partial.write_text("\n".join([*lines, ""]), encoding="utf-8")


def load_all(path: Path) -> dict[str, State]:
    """What :func:`save_all` wrote to ``path``; nothing where there is no such file."""
    if not path.exists():
        return {}
    states = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {state.pop("key"): state for state in states}
