"""The supervised upper bound: a restorer trained on real pairs under the true damage."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from mimicgan.experiments.bench import Bench
from mimicgan.experiments.cases import Sample
from mimicgan.experiments.code_version import code_digest
from mimicgan.files import written_whole
from mimicgan.models.restorer import Restorer
from mimicgan.training.supervised import SupervisedSettings, train_supervised

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
    draw = sample.draw if sample.case.drawn_once else None
    return train_supervised(
        sample.case.damage, bench.train(), bench.prior, settings, checkpoint, draw
    )


def _key(sample: Sample, bench: Bench, settings: SupervisedSettings) -> str:
    case = sample.case
    parts: dict[str, Any] = {
        "task": case.task,
        "variant": case.variant,
        "settings": asdict(settings),
        "shape": bench.prior.image_shape,
        "code": code_digest("mimicgan.training.supervised", *case.code),
    }
    if settings.warm and bench.prior.restorer is not None:
        parts["start"] = bench.weights["restorer"]
    if settings.adversarial and bench.prior.discriminator is not None:
        parts["judge"] = bench.weights["discriminator"]
    if case.drawn_once:
        parts["draw"] = sample.draw().initial_seed()
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
