"""``mimicgan demo``: the whole method on shipped images, in a minute or so."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.table import Table
from torch import Tensor, nn

from mimicgan.commands.flags import INTEGER, ComputeFlags, check_result
from mimicgan.commands.progress import expected_steps, shown
from mimicgan.commands.screen import Screen
from mimicgan.commands.sources import invented
from mimicgan.commands.summary import has_damage
from mimicgan.corruptions import CORRUPTIONS, FACE_CORRUPTIONS, corrupt
from mimicgan.data import fashion_mnist
from mimicgan.errors import UserError, check_seed
from mimicgan.files import written_whole
from mimicgan.images import to_internal
from mimicgan.match_settings import MatchSettings
from mimicgan.metrics import Accuracy, accuracy, psnr
from mimicgan.overview import grid, stacked
from mimicgan.presets import MIMICGAN, PGD, MimicSettings
from mimicgan.pretrained import load_classifier, load_prior
from mimicgan.prior import Prior
from mimicgan.restore import Method, Settings, restore

DAMAGES: dict[str, tuple[str, ...]] = {
    "fashion-mnist": ("dropped", "negative-blur", "binary"),
    "faces": ("negative", "stuck-pixels", "inpainting"),
}
COUNTS = {"fashion-mnist": 100, "faces": 25}
LABELS: dict[Method, str] = {
    "pgd": "PGD",
    "mimicgan": "MimicGAN (Algorithm 1)",
    "universal": "universal restorer",
    "auto": "default",
}
# Less of everything than a restoration has, for all to be over in a minute or so.
QUICK = MatchSettings(
    bank=1024,
    draws=120,
    rounds=2,
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
    accuracy: Accuracy | None
    """None where nothing classifies: faces."""
    psnr: float
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Demo(ComputeFlags):
    """Damage shipped pictures in the paper's three ways and restore them blind.

    Needs no data set. Writes one picture with rows observed, simulated damage, restored and clean
    for each damage (by the last of --method), and prints how well a classifier copes and how near
    the images come, before and after.

    With --prior faces the pictures are faces that the prior itself invents, which is easier than
    real ones: its generator can make them.

    Examples:
      mimicgan demo
      mimicgan demo --prior faces
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
    prior: Literal["fashion-mnist", "faces"] = "fashion-mnist"
    """Which of the shipped priors."""
    count: Annotated[int | None, INTEGER] = None
    """Images: the first 100 of the 500 that are shipped, or 25 faces, unless given."""
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
        self.prepare()
        check_seed(self.seed)
        prior = load_prior(self.prior)
        clean, labels = self._images(prior)
        classifier = None if labels is None else load_classifier(self.prior)
        rows, sheets = [], []
        for damage in DAMAGES[self.prior]:
            generator = torch.Generator().manual_seed(self.seed)
            observed = corrupt(damage, clean, generator)
            rows.append(_row(damage, "observed", observed, clean, labels, classifier))
            for method in self.methods:
                used = observed[: self.few] if method in SLOW else observed
                settings = Settings(
                    method, self.seed, mimic=self.mimic, pgd=self.pgd, match=self.match
                )
                total = expected_steps(settings, used)
                with screen.progress(f"{damage}: {LABELS[method]}", total) as advance:
                    result = restore(used, prior, settings, callback=shown(advance))
                images = result.images
                rows.append(
                    _row(damage, LABELS[method], images, clean, labels, classifier, result.seconds)
                )
            title = f"{damage}: {(CORRUPTIONS | FACE_CORRUPTIONS)[damage].description}"
            shown_rows = [
                ("observed", observed[: len(images)]),
                ("restored", images),
                ("clean", clean[: len(images)]),
            ]
            if has_damage(result):
                shown_rows.insert(1, ("simulated damage", result.simulated))
            sheets.append(grid(shown_rows, title=title))
        with written_whole(self.out) as partial:
            stacked(sheets).save(partial, "PNG")
        self._tell(screen, rows)

    def _images(self, prior: Prior) -> tuple[Tensor, Tensor | None]:
        count, most = self._count, 500
        if not 1 <= self.few <= count <= most:
            raise UserError(
                f"--few {self.few} --count {count} makes no sense; give 1 <= few <= count <= {most}"
            )
        if not self.methods:
            raise UserError("--method names none; leave it out for all")
        if self.out.suffix.lower() != ".png" or self.out.is_dir():
            raise UserError(f"the picture {self.out} must be a file called something.png")
        check_result(self.out)
        if self.prior == "faces":
            return invented(prior, count, self.seed), None
        sample = fashion_mnist.sample()
        return sample.images[:count].float() / 255, sample.labels[:count]

    @property
    def _count(self) -> int:
        return COUNTS[self.prior] if self.count is None else self.count

    def _tell(self, screen: Screen, rows: list[Row]) -> None:
        screen.show(_table(rows, self.prior))
        if self.few < self._count and set(self.methods) & set(SLOW):
            screen.say(
                f"PGD and Algorithm 1 ran on the first {self.few} of the {self._count} images, "
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
    labels: Tensor | None,
    classifier: nn.Module | None,
    seconds: float | None = None,
) -> Row:
    count, share = len(images), None
    if classifier is not None and labels is not None:
        with torch.no_grad():
            logits = classifier(to_internal(images))
        share = accuracy(logits, labels[:count])
    return Row(damage, method, count, share, float(psnr(images, clean[:count]).mean()), seconds)


def _table(rows: list[Row], prior: str) -> Table:
    what = "faces that the prior invents" if prior == "faces" else "Fashion-MNIST test images"
    table = Table("damage", "method", title=f"Blind restoration of {what}")
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
            "" if a is None else f"{a.value:.1%} ({a.low:.0%} to {a.high:.0%})",
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
        "psnr": row.psnr,
    }
    if row.accuracy is not None:
        values["accuracy"] = row.accuracy.value
        values["accuracy_ci95"] = [row.accuracy.low, row.accuracy.high]
    return values if row.seconds is None else {**values, "seconds": row.seconds}
