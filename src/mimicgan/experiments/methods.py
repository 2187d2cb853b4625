"""The methods that an experiment compares, by name."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mimicgan.experiments.bench import GUARD, HARDENED, Bench
from mimicgan.experiments.cases import Sample
from mimicgan.experiments.known_operators import KnownDamage
from mimicgan.experiments.supervised import SUPERVISED, supervised_restorer
from mimicgan.image_files import as_pictures as pictures
from mimicgan.images import to_internal, to_user
from mimicgan.match_settings import MatchSettings
from mimicgan.mimic import mimic
from mimicgan.presets import COWBOY, DEFENSE_GAN, MIMICGAN, PGD, TABLE_1, MimicSettings
from mimicgan.purify import Cleaner
from mimicgan.restore import Method as Restoring
from mimicgan.restore import Settings, restore


@dataclass(frozen=True)
class Outcome:
    """What a method made of a portion of images."""

    images: Tensor
    """(n, c, h, w) in [0, 1]."""
    seconds: float = 0.0
    generator_passes: int = 0
    misfit: float | None = None
    understood: bool | None = None
    logits: Tensor | None = None
    """(n, classes), where the method classifies by itself; else the experiment's classifier does.
    """


@dataclass(frozen=True)
class Method:
    """A method of a table, and what its outcome depends on."""

    run: Callable[[Sample, Bench], Outcome]
    weights: tuple[str, ...] = ()
    """Networks it uses, beside the classifier that measures."""
    code: tuple[str, ...] = ()
    """Modules whose code decides its outcome."""
    settings: Callable[[], dict[str, Any]] = dict
    of_clean: bool = False
    """It sees the clean images alone: one outcome for all damages."""
    shared_training: bool = False
    """Portions of a case share a training, so that one process should do them all."""


def observed(sample: Sample, _bench: Bench) -> Outcome:
    """Nothing is done."""
    return Outcome(sample.observed)


def _restored(method: Restoring) -> Callable[[Sample, Bench], Outcome]:
    def run(sample: Sample, bench: Bench) -> Outcome:
        return _by_restore(method, sample.observed, sample.seed, bench)

    return run


def clean_inversion(sample: Sample, bench: Bench) -> Outcome:
    """Upper bound: PGD on the clean images, the nearest that the prior can come."""
    return _by_restore("pgd", sample.truth, sample.seed, bench)


def known_corruption(sample: Sample, bench: Bench) -> Outcome:
    """Upper bound: Algorithm 1 with the true damage as a fixed surrogate.

    Dropped pixels are those that were drawn for these images. A damage without a useful gradient,
    as a threshold, is exact forward and smooth backward (straight-through).
    """
    damage = sample.case.relaxed or sample.case.damage
    started = time.perf_counter()
    with torch.inference_mode(False), torch.enable_grad(), bench.prior.counted() as passes:
        z, _ = mimic(
            to_internal(sample.observed),
            bench.prior,
            PGD,
            torch.Generator().manual_seed(sample.seed),
            surrogate=KnownDamage(damage, sample.draw),
        )
        with torch.no_grad():
            images = to_user(bench.prior.generator(z))
    return Outcome(images, time.perf_counter() - started, passes.images)


def supervised(sample: Sample, bench: Bench) -> Outcome:
    """Upper bound: a restorer trained on real training images under the true damage.

    Its seconds are those of the forward pass; the training is not counted.
    """
    network = supervised_restorer(sample, bench)
    started = time.perf_counter()
    with torch.no_grad():
        images = to_user(network(to_internal(sample.observed)))
    return Outcome(images, time.perf_counter() - started)


def median(sample: Sample, _bench: Bench) -> Outcome:
    """Every pixel becomes the median of the 3x3 around it."""
    padded = functional.pad(sample.observed, (1, 1, 1, 1), mode="replicate")
    windows = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    return Outcome(windows.median(dim=4).values)


def jpeg(sample: Sample, _bench: Bench) -> Outcome:
    """JPEG of quality 25 and back."""
    out = torch.empty_like(sample.observed)
    for image, place in zip(pictures(sample.observed), out, strict=True):
        file = BytesIO()
        image.save(file, "JPEG", quality=25)
        pixels = np.asarray(Image.open(file), dtype=np.float32) / 255
        place.copy_(torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1))
    return Outcome(out)


def hardened(sample: Sample, bench: Bench) -> Outcome:
    """A classifier of the same architecture, trained on adversarial images."""
    network = bench.hardened
    with torch.no_grad():
        return Outcome(sample.observed, logits=network(to_internal(sample.observed)))


def default(sample: Sample, bench: Bench) -> Outcome:
    """The default method; as a defence, the universal restorer cleans what looks undamaged."""
    if not sample.case.defended:
        return _by_restore("auto", sample.observed, sample.seed, bench)
    settings = Settings("auto", sample.seed, batch=len(sample.observed))
    started = time.perf_counter()
    with bench.prior.counted() as passes:
        images = Cleaner(bench.prior, settings).cleaned(sample.observed)
    return Outcome(images, time.perf_counter() - started, passes.images)


def guarded(sample: Sample, bench: Bench) -> Outcome:
    """The restorer that was hardened for the classifier, smoothed; the images are not.

    Its training is not in the seconds.
    """
    model = bench.guarded()
    started = time.perf_counter()
    with torch.no_grad():
        logits = model(sample.observed)
    seconds = time.perf_counter() - started
    return Outcome(model.cleaned(sample.observed), seconds, logits=logits)


def _by_restore(
    method: Restoring, images: Tensor, seed: int, bench: Bench, numbers: MimicSettings = MIMICGAN
) -> Outcome:
    settings = Settings(method, seed, batch=len(images), mimic=numbers, pgd=PGD)
    result = restore(images, bench.prior, settings)
    return Outcome(
        result.images, result.seconds, result.generator_passes, result.misfit, result.understood
    )


GAN = ("generator", "discriminator")
ALGORITHM_1 = ("mimicgan.mimic",)


def algorithm_1(numbers: MimicSettings) -> Method:
    """Algorithm 1 with these settings."""
    return Method(
        lambda sample, bench: _by_restore("mimicgan", sample.observed, sample.seed, bench, numbers),
        GAN,
        ALGORITHM_1,
        lambda: asdict(numbers),
    )


METHODS: dict[str, Method] = {
    "observed": Method(observed),
    "pgd": Method(_restored("pgd"), GAN, ALGORITHM_1, lambda: asdict(PGD)),
    "mimicgan": algorithm_1(MIMICGAN),
    "mimicgan-table-1": Method(
        lambda sample, bench: _by_restore(
            "mimicgan", sample.observed, sample.seed, bench, TABLE_1[sample.case.task]
        ),
        GAN,
        ALGORITHM_1,
        lambda: {task: asdict(numbers) for task, numbers in TABLE_1.items()},
    ),
    "defense-gan": algorithm_1(DEFENSE_GAN),
    "cowboy": algorithm_1(COWBOY),
    "median": Method(median, code=("mimicgan.experiments.methods",)),
    "jpeg": Method(jpeg, code=("mimicgan.experiments.methods",)),
    "adversarial-training": Method(
        hardened,
        code=("mimicgan.training.classifier",),
        settings=lambda: asdict(HARDENED),
    ),
    "default": Method(
        default,
        (*GAN, "restorer"),
        ("mimicgan.restore", "mimicgan.purify"),
        lambda: asdict(MatchSettings()),
    ),
    "hardened": Method(
        guarded,
        ("generator", "restorer", "classifier"),
        ("mimicgan.training.hardening", "mimicgan.models.restorer", "mimicgan.purify"),
        lambda: GUARD,
    ),
    "universal": Method(
        _restored("universal"), ("restorer",), ("mimicgan.match", "mimicgan.models.restorer")
    ),
    "known-corruption": Method(
        known_corruption,
        GAN,
        (*ALGORITHM_1, "mimicgan.experiments.known_operators"),
        lambda: asdict(PGD),
    ),
    "clean-inversion": Method(
        clean_inversion, GAN, ALGORITHM_1, lambda: asdict(PGD), of_clean=True
    ),
    "supervised": Method(
        supervised,
        ("restorer", "discriminator"),
        ("mimicgan.training.supervised", "mimicgan.models.restorer"),
        lambda: asdict(SUPERVISED),
        shared_training=True,
    ),
}
