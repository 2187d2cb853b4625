"""What an experiment measures with: a prior, a classifier, and labelled images."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from mimicgan.data import fashion_mnist
from mimicgan.errors import UserError
from mimicgan.experiments.code_version import code_digest
from mimicgan.experiments.options import ExperimentOptions
from mimicgan.learnt import Damage
from mimicgan.predict import Ranged
from mimicgan.prior import Prior
from mimicgan.purify import Gradient, Purified
from mimicgan.training.classifier import ClassifierSettings, train_classifier
from mimicgan.training.hardening import HardenSettings, harden

HARDENED = ClassifierSettings(steps=2000, eps=0.3)
SMOOTHING = 0.05
"""Noise of the hardened restorer's classifier, in units of [0, 1]."""
GUARD = {**asdict(HardenSettings()), "smoothing": SMOOTHING, "images": "training"}
"""All that decides the method ``hardened``."""


@dataclass(frozen=True)
class Bench:
    """Networks and data of an experiment."""

    prior: Prior
    classifier: nn.Module | None
    """Images (n, c, h, w) in [-1, 1] -> logits (n, classes); None where there are no classes."""
    images: Tensor
    """(n, c, h, w) uint8, the images that are damaged and restored."""
    labels: Tensor
    """(n,) int64."""
    train: Callable[[], Tensor]
    """Training images (n, c, h, w) uint8, for the supervised bound and for hardening alone."""
    runs: Path
    """Where networks that are trained on the way are kept."""
    labelled: Callable[[], tuple[Tensor, Tensor]] | None = None
    """Training images with labels, for adversarial training alone."""

    def drawn(self, seed: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Images in [0, 1] and labels, ``start`` to ``stop`` in the random order of ``seed``."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))
        index = order[start:stop]
        return self.images[index].float() / 255, self.labels[index]

    @cached_property
    def hardened(self) -> nn.Module:
        """The classifier of adversarial training, made at the first use and kept in ``runs``."""
        code = code_digest("mimicgan.training.classifier")
        key = f"{HARDENED.seed}-{HARDENED.eps}-{HARDENED.steps}-{code}"
        path = self.runs / "hardened" / f"{key}.pt"
        if self.labelled is None:
            raise UserError("this bench has no labelled training images; leave the method out")
        return train_classifier(*self.labelled(), HARDENED, path)

    def attackable(self) -> nn.Module:
        """The classifier for images in [0, 1]; UserError where there is none."""
        if self.classifier is None:
            raise UserError("this needs a classifier; use a bench that has one")
        return Ranged(self.classifier)

    def guarded(self, gradient: Gradient = "exact") -> Purified:
        """The classifier behind its hardened restorer, smoothed."""
        return Purified(
            self.attackable(),
            self.prior,
            damage=self._guard,
            gradient=gradient,
            smoothing=SMOOTHING,
        )

    @cached_property
    def _guard(self) -> Damage:
        """That restorer, made at the first use and kept in ``runs``."""
        if self.classifier is None:
            raise UserError("this bench has no classifier; leave the method out")
        settings = HardenSettings()
        code = code_digest("mimicgan.training.hardening", "mimicgan.models.restorer")
        parts = {"settings": GUARD, "weights": self.weights, "code": code}
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
        path = self.runs / "hardened" / f"restorer-{key}.safetensors"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            images = self.train().float() / 255
            harden(self.classifier, self.prior, settings, images=images).save(path)
        return Damage.load(path, self.prior)

    @cached_property
    def prior_digest(self) -> str:
        """Digest of the prior with what belongs to no network: its bank, box and mismatch."""
        return self.prior.sha256()[:12]

    @cached_property
    def weights(self) -> dict[str, str]:
        """Digest of each network that there is."""
        parts = {
            "generator": self.prior.generator,
            "discriminator": self.prior.discriminator,
            "restorer": self.prior.restorer,
            "classifier": self.classifier,
        }
        return {name: _digest(part) for name, part in parts.items() if part is not None}


def face_bench(options: ExperimentOptions) -> Bench:
    """The shipped prior of faces with CelebA's validation images, which nothing was chosen on."""
    from mimicgan.data import celeba
    from mimicgan.pretrained import load_prior

    images = celeba.load("validation", options.data_dir)
    return Bench(
        prior=load_prior("faces"),
        classifier=None,
        images=images,
        labels=torch.zeros(len(images), dtype=torch.long),
        train=lambda: celeba.load("train", options.data_dir),
        runs=options.runs,
    )


def load_bench(options: ExperimentOptions) -> Bench:
    """The shipped Fashion-MNIST prior and classifier with the images of ``options.split``."""
    from mimicgan.pretrained import load_classifier, load_prior

    data = fashion_mnist.load(options.split, options.data_dir)
    return Bench(
        prior=load_prior("fashion-mnist"),
        classifier=load_classifier("fashion-mnist"),
        images=data.images,
        labels=data.labels,
        train=lambda: fashion_mnist.load("train", options.data_dir).images,
        runs=options.runs,
        labelled=lambda: _pair(fashion_mnist.load("train", options.data_dir)),
    )


def _pair(data: fashion_mnist.FashionMnist) -> tuple[Tensor, Tensor]:
    return data.images, data.labels


def _digest(network: nn.Module) -> str:
    sha = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        sha.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        sha.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:12]
