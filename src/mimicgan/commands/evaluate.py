"""``mimicgan evaluate``: how good a prior is, on clean images that it was not trained on."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.table import Table
from torch import Tensor, nn

from mimicgan.commands.flags import PATH, PriorFlags, check_result
from mimicgan.commands.sources import FASHION, SAMPLE_SHAPE, DataFlags
from mimicgan.data import fashion_mnist
from mimicgan.errors import UserError, check_seed
from mimicgan.files import written_whole
from mimicgan.images import rounded, to_internal
from mimicgan.metrics import Z95, accuracy, frechet_distance, last_features, psnr, ssim
from mimicgan.mimic import Step
from mimicgan.presets import PGD
from mimicgan.pretrained import load_classifier
from mimicgan.prior import Prior
from mimicgan.restore import Settings, restore

FEWEST = 10
"""Images of a set whose Frechet distance means anything."""
UPDATES = PGD.latent_steps
"""Latent updates in an alternation: ``steps`` is a multiple of it."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(PriorFlags, DataFlags):
    """Measure a prior on clean validation images, which it was not trained on.

    How near its generator comes to them (inversion: PSNR, SSIM, and for Fashion-MNIST
    the accuracy of the classifier on the inverted images), and how far what it generates is from
    them as a set: a Frechet distance, in the last features of the Fashion-MNIST classifier or,
    for other images, of the prior's own discriminator. The distance of one half of the real images
    to the other is what no prior can go below.

    Examples:
      mimicgan evaluate
      mimicgan evaluate --prior runs/mine --data my-photos --steps 1000
      mimicgan evaluate --prior faces --data celeba --data-dir ~/data --out results/prior-faces.json
    """

    images: Annotated[int, tyro.conf.arg(metavar="INT")] = 100
    """Validation images that are inverted, the first of a random order; all are compared as a set.
    """
    steps: Annotated[int, tyro.conf.arg(metavar="INT")] = 300
    """Updates of the latents in an inversion, a multiple of 10."""
    seed: Annotated[int, tyro.conf.arg(metavar="INT")] = 0
    """Seed of the choice of images, the latents and the generated set."""
    out: Annotated[Path | None, PATH] = None
    """A result file to write, .json."""

    def run(self) -> None:
        screen = self.screen()
        self.prepare()
        check_seed(self.seed)
        if self.images < 2 or self.steps < UPDATES or self.steps % UPDATES:
            raise UserError(
                f"--images {self.images} --steps {self.steps} makes no sense; give 2 images or "
                f"more, and steps that {UPDATES} divides"
            )
        check_result(self.out)
        prior = self.load()
        clean, labels = self._clean(prior.image_shape)
        if len(clean) < self.images:
            raise UserError(
                f"there are {len(clean)} validation images, too few for --images {self.images}; "
                "give more data, or lower --images"
            )
        classifier = None if labels is None else load_classifier(FASHION)
        judge = classifier or prior.discriminator
        generator = torch.Generator().manual_seed(self.seed)
        clean, labels = _shuffled(clean, labels, generator)
        settings = Settings(
            "pgd", self.seed, self.images, pgd=replace(PGD, iterations=self.steps // UPDATES)
        )
        with screen.progress("inverting clean images", self.steps) as advance:

            def note(step: Step) -> None:
                advance((step.iteration + 1) * UPDATES, f"loss {step.mimicking:.4f}")

            some = clean[: self.images].float() / 255
            inverted = restore(some, prior, settings, callback=note).images
        rows = [self._inversion(inverted, some, labels, classifier)]
        if judge is not None and len(clean) < 2 * FEWEST:
            screen.warn(f"fewer than {2 * FEWEST} validation images: no Frechet distance")
        elif judge is not None:
            rows += _apart(
                prior,
                to_internal(clean.float() / 255),
                judge,
                "discriminator" if labels is None else "classifier",
                generator,
            )
        table = Table("what", "n", "PSNR, dB", "SSIM", "accuracy", "Frechet", box=None)
        for row in rows:
            keys = ("psnr", "ssim", "accuracy", "frechet")
            cells = [f"{row[key]:.3f}" if key in row else "" for key in keys]
            table.add_row(row["variant"], str(row["n_images"]), *cells)
        screen.show(table)
        if self.out is not None:
            self._write(self.out, rows, prior.sha256(), settings)
            screen.say(f"result in {self.out}")
        screen.result({"command": "evaluate", "prior": self.prior, "rows": rows})

    def _clean(self, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor | None]:
        """Validation images (n, c, h, w) uint8, with labels (n,) where they have some."""
        if self.data == FASHION and shape == SAMPLE_SHAPE:
            data = fashion_mnist.load("validation", self.data_dir)
            return data.images, data.labels
        return self.clean(shape, "validation"), None

    def _inversion(
        self, inverted: Tensor, clean: Tensor, labels: Tensor | None, classifier: nn.Module | None
    ) -> dict[str, Any]:
        near = psnr(inverted, clean)
        mean, half = float(near.mean()), Z95 * float(near.std()) / len(near) ** 0.5
        row = {
            "task": "prior",
            "variant": f"inversion, {self.steps} steps",
            "method": "clean-inversion",
            "n_images": len(clean),
            "psnr": mean,
            "psnr_ci95": [mean - half, mean + half],
            "ssim": float(ssim(inverted, clean).mean()),
        }
        if classifier is None or labels is None:
            return row
        own, before = (
            accuracy(classifier(to_internal(images)), labels[: len(clean)])
            for images in (inverted, clean)
        )
        return row | {
            "accuracy": own.value,
            "accuracy_ci95": [own.low, own.high],
            "accuracy_clean": before.value,
        }

    def _write(self, out: Path, rows: list[dict[str, Any]], sha: str, settings: Settings) -> None:
        # Loads much that an evaluation does not need.
        from mimicgan.experiments.record import command_line, origin

        chosen = {
            "prior": self.prior,
            "latent_size": self.latent_size,
            "image_shape": self.image_shape,
            "box": self.box,
            "data": self.data,
            "images": self.images,
            "steps": self.steps,
            "seed": self.seed,
        }
        record = {
            "experiment": "prior",
            "prior": {"name": self.prior, "sha256": sha},
            "settings": {
                "data": self.data,
                "split": "validation",
                "images": self.images,
                "inversion": asdict(settings.pgd),
            },
            "seeds": [self.seed],
            **origin(command_line(["evaluate"], chosen)),
            "rows": rows,
        }
        with written_whole(out) as partial:
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _shuffled(
    images: Tensor, labels: Tensor | None, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    order = torch.randperm(len(images), generator=generator)
    return images[order], None if labels is None else labels[order]


def _apart(
    prior: Prior, real: Tensor, network: nn.Module, name: str, generator: torch.Generator
) -> list[dict[str, Any]]:
    """Frechet distances to one half of the real images (n, c, h, w) in [-1, 1]: of draws from the
    box, of the bank, and of the other half.

    All of as many images: the distance falls with the number.
    """
    first, second = torch.split(last_features(real, network), -(-len(real) // 2))
    made = {"box": prior.sample(len(second), generator)}
    if prior.bank is not None:
        made["typical"] = prior.typical(len(second), generator)
    sets = {label: last_features(rounded(images), network) for label, images in made.items()}
    return [
        {
            "task": "prior",
            "variant": f"{label}, features of the {name}",
            "method": "frechet",
            "n_images": len(features),
            "frechet": frechet_distance(features, first),
        }
        for label, features in (*sets.items(), ("real", second))
    ]
