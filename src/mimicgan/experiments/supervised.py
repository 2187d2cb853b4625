"""The supervised upper bound: a restorer trained on real pairs under the true damage."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mimicgan.experiments.bench import Bench
from mimicgan.experiments.cases import Case, Sample
from mimicgan.experiments.code_version import code_digest
from mimicgan.files import written_whole
from mimicgan.images import to_internal
from mimicgan.models.restorer import Restorer

Pairs = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""(step, generator) -> damaged and clean images (n, c, h, w) in [-1, 1]."""


@dataclass(frozen=True)
class SupervisedSettings:
    """Settings of the training of one supervised restorer."""

    steps: int = 3000
    batch: int = 64
    learning_rate: float = 1e-3
    warm: bool = True
    """Start from the prior's universal restorer where it has one, as the default method does."""
    seed: int = 0


SUPERVISED = SupervisedSettings()


def supervised_restorer(
    sample: Sample, bench: Bench, settings: SupervisedSettings = SUPERVISED
) -> nn.Module:
    """The network for ``sample``'s damage, trained on training images or read from ``bench.runs``.

    Where the damage is drawn once for a portion, it is trained for this very draw; else one network
    serves all portions of a case. A killed training goes on where it was.
    """
    name = _key(sample, bench, settings)
    path = bench.runs / "supervised" / f"{name}.safetensors"
    if not path.exists():
        checkpoint = path.with_suffix(".pt")
        network = _train(sample, bench, settings, checkpoint)
        # Half precision, weights alone: there is a file for every damage of every experiment.
        state = {key: value.half().contiguous() for key, value in network.state_dict().items()}
        with written_whole(path) as partial:
            save_file(state, partial)
        checkpoint.unlink(missing_ok=True)
    network = Restorer(bench.prior.image_shape)
    network.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return network.eval().requires_grad_(False)


def _train(
    sample: Sample, bench: Bench, settings: SupervisedSettings, checkpoint: Path
) -> nn.Module:
    from mimicgan.training.restorer import fit_restorer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Restorer(bench.prior.image_shape)
    if settings.warm and bench.prior.restorer is not None:
        network.load_state_dict(bench.prior.restorer.state_dict())
    return fit_restorer(
        network,
        real_pairs(bench.train(), sample, settings.batch),
        settings.steps,
        settings.learning_rate,
        settings.seed,
        path=checkpoint,
        settings=asdict(settings),
    )


def real_pairs(images: Tensor, sample: Sample, batch: int) -> Pairs:
    """Pairs of real images (n, c, h, w) uint8 under the damage of ``sample``."""
    case: Case = sample.case

    def pairs(_step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        clean = images[torch.randint(len(images), (batch,), generator=generator)].float() / 255
        damaged = case.damage(clean, sample.draw() if case.drawn_once else generator)
        return to_internal(damaged), to_internal(clean)

    return pairs


def _key(sample: Sample, bench: Bench, settings: SupervisedSettings) -> str:
    case = sample.case
    parts: dict[str, Any] = {
        "task": case.task,
        "variant": case.variant,
        "settings": asdict(settings),
        "shape": bench.prior.image_shape,
        "code": code_digest("mimicgan.models.restorer", *case.code),
    }
    if settings.warm and bench.prior.restorer is not None:
        parts["start"] = bench.weights["restorer"]
    if case.drawn_once:
        parts["draw"] = sample.draw().initial_seed()
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
