"""``mimicgan demo``: the whole method on shipped images, in a minute or so."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.table import Table
from torch import Tensor, nn

from mimicgan.commands.flags import ComputeFlags
from mimicgan.commands.progress import expected_steps, shown
from mimicgan.commands.screen import Screen
from mimicgan.corruptions import CORRUPTIONS, corrupt
from mimicgan.data import fashion_mnist
from mimicgan.errors import UserError
from mimicgan.files import written_whole
from mimicgan.images import to_internal
from mimicgan.match import MatchSettings
from mimicgan.metrics import Accuracy, accuracy, psnr
from mimicgan.overview import grid, stacked
from mimicgan.presets import MIMICGAN, PGD, MimicSettings
from mimicgan.pretrained import load_classifier, load_prior
from mimicgan.restore import Method, Settings, restore

DAMAGES = ("binary", "dropped", "negative-blur")
LABELS: dict[Method, str] = {
    "pgd": "PGD",
    "mimicgan": "MimicGAN (Algorithm 1)",
    "universal": "universal restorer",
    "auto": "default",
}
# Less of everything than a restoration has, for all to be over in a minute or so.
QUICK = MatchSettings(
    bank=1024,
    draws=200,
    rounds=3,
    starts=2,
    short_steps=20,
    long_steps=30,
    pruning_steps=5,
    attempts=1,
    restorer_steps=60,
)
SHORT, SHORT_PGD = replace(MIMICGAN, iterations=7), replace(PGD, iterations=7)
# Algorithm 1 and PGD search every image's latent step by step.
SLOW: tuple[Method, ...] = ("pgd", "mimicgan")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    damage: str
    method: str
    images: int
    accuracy: Accuracy
    psnr: float
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Demo(ComputeFlags):
    """Damage shipped pictures in the paper's three ways and restore them blind.

    Needs no data set. Writes one picture with rows observed, simulated damage, restored and clean
    for each damage (by the last of --method), and prints how well a classifier copes and how near
    the images come, before and after.

    Examples:
      mimicgan demo
      mimicgan demo --method auto --seed 7 --out seven.png
    """

    out: Path = Path("demo.png")
    """The picture."""
    methods: Annotated[tuple[Method, ...], tyro.conf.arg(name="method")] = (
        "pgd",
        "mimicgan",
        "auto",
    )
    """What restores, one or more."""
    seed: int = 0
    """Seed of the damage and of all methods."""
    count: int = 100
    """Images, the first of the 500 that are shipped."""
    few: int = 10
    """Images for PGD and Algorithm 1, which take their time over each."""
    mimic: MimicSettings = SHORT
    """Numbers of Algorithm 1, with a third of its alternations."""
    pgd: MimicSettings = SHORT_PGD
    """Numbers of projected gradient descent, with a third of its steps."""
    match: MatchSettings = QUICK
    """Numbers of the default method, fewer than in a restoration."""

    def run(self) -> None:
        screen = self.screen()
        device = self.prepare()
        clean, labels = self._images()
        prior, classifier = load_prior("fashion-mnist"), load_classifier("fashion-mnist")
        for network in (prior.generator, prior.discriminator, prior.restorer, classifier):
            if network is not None:
                network.to(device)
        rows, sheets = [], []
        for damage in DAMAGES:
            generator = torch.Generator().manual_seed(self.seed)
            observed = corrupt(damage, clean, generator)
            rows.append(_row(damage, "observed", observed, clean, labels, classifier))
            for method in self.methods:
                used = observed[: self.few] if method in SLOW else observed
                settings = Settings(
                    method, self.seed, mimic=self.mimic, pgd=self.pgd, match=self.match
                )
                total = expected_steps(settings, len(used))
                with screen.progress(f"{damage}: {LABELS[method]}", total) as advance:
                    result = restore(used.to(device), prior, settings, callback=shown(advance))
                images = result.images.cpu()
                rows.append(
                    _row(damage, LABELS[method], images, clean, labels, classifier, result.seconds)
                )
            parts = (observed, result.simulated.cpu(), images, clean)
            names = ("observed", "simulated damage", "restored", "clean")
            title = f"{damage}: {CORRUPTIONS[damage].description}"
            shown_rows = [
                (name, part[: len(images)]) for name, part in zip(names, parts, strict=True)
            ]
            sheets.append(grid(shown_rows, title=title))
        with written_whole(self.out) as partial:
            stacked(sheets).save(partial, "PNG")
        self._tell(screen, rows)

    def _images(self) -> tuple[Tensor, Tensor]:
        sample = fashion_mnist.sample()
        if not 1 <= self.few <= self.count <= len(sample.images):
            raise UserError(
                f"--few {self.few} --count {self.count} makes no sense; "
                f"give 1 <= few <= count <= {len(sample.images)}"
            )
        if not self.methods:
            raise UserError("--method names none; leave it out for all")
        if self.out.suffix.lower() != ".png" or self.out.is_dir():
            raise UserError(f"the picture {self.out} must be a file called something.png")
        return sample.images[: self.count].float() / 255, sample.labels[: self.count]

    def _tell(self, screen: Screen, rows: list[Row]) -> None:
        screen.show(_table(rows))
        if self.few < self.count and set(self.methods) & set(SLOW):
            screen.say(
                f"PGD and Algorithm 1 ran on the first {self.few} of the {self.count} images, "
                "with fewer steps than in the experiments. Nothing was told what the damage is."
            )
        screen.say(f"picture in {self.out}")
        screen.result(
            {
                "command": "demo",
                "picture": str(self.out),
                "seed": self.seed,
                "rows": [_values(row) for row in rows],
            }
        )


def _row(
    damage: str,
    method: str,
    images: Tensor,
    clean: Tensor,
    labels: Tensor,
    classifier: nn.Module,
    seconds: float | None = None,
) -> Row:
    count, device = len(images), next(classifier.parameters()).device
    with torch.no_grad():
        logits = classifier(to_internal(images.to(device))).cpu()
    share = accuracy(logits, labels[:count])
    return Row(damage, method, count, share, float(psnr(images, clean[:count]).mean()), seconds)


def _table(rows: list[Row]) -> Table:
    table = Table("damage", "method", title="Blind restoration of Fashion-MNIST test images")
    for name in ("images", "accuracy (95 % interval)", "PSNR dB", "seconds"):
        table.add_column(name, justify="right")
    for index, row in enumerate(rows):
        first = index == 0 or rows[index - 1].damage != row.damage
        last = index + 1 == len(rows) or rows[index + 1].damage != row.damage
        a = row.accuracy
        table.add_row(
            row.damage if first else "",
            row.method,
            str(row.images),
            f"{a.value:.1%} ({a.low:.0%} to {a.high:.0%})",
            f"{row.psnr:.1f}",
            "" if row.seconds is None else f"{row.seconds:.1f}",
            end_section=last,
        )
    return table


def _values(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {
        "damage": row.damage,
        "method": row.method,
        "n_images": row.images,
        "accuracy": row.accuracy.value,
        "accuracy_ci95": [row.accuracy.low, row.accuracy.high],
        "psnr": row.psnr,
    }
    return values if row.seconds is None else {**values, "seconds": row.seconds}
