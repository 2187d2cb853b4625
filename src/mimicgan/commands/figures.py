"""``mimicgan figures``: the paper's figures 1b, 2 and 5 from images of one's own choice."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from mimicgan.commands.corrupt import damaged
from mimicgan.commands.demo import LABELS
from mimicgan.commands.flags import PriorFlags
from mimicgan.commands.progress import expected_steps, shown
from mimicgan.commands.report import surroundings
from mimicgan.commands.screen import json_text
from mimicgan.commands.sources import files_of, images_of, inputs_of, invented
from mimicgan.curves import Curve, by_number, drawn, traced
from mimicgan.errors import UserError, check_seed, needed
from mimicgan.files import output_folder
from mimicgan.image_files import DRAWN
from mimicgan.learnt import Damage
from mimicgan.match_settings import MatchSettings
from mimicgan.metrics import psnr
from mimicgan.mimic import Step
from mimicgan.overview import grid, stacked
from mimicgan.presets import MIMICGAN, PGD, MimicSettings
from mimicgan.restore import Method, Settings, restore

GENERATED = "generated"
LEARNING: set[Method] = {"mimicgan", "auto"}
"""Methods that learn the damage."""


@dataclass(frozen=True, kw_only=True)
class Figures(PriorFlags):
    """Draw the paper's figures: quality while Algorithm 1 alternates, and a grid of all methods.

    OUT gets recovery.png (figure 2), for pgd and mimicgan alternations.png (figure 1b) and loss.png
    (figure 5), with --observations observations.png, and figures.json with every number and
    setting. The clean images are damaged, and measure; no method sees them. Needs matplotlib: pip
    install 'mimicgan[plot]'.

    Examples:
      mimicgan figures out
      mimicgan figures out --prior faces --kind negative inpainting --images generated
      mimicgan figures out --prior faces --images celeba/img_align_celeba --count 25
      mimicgan figures out --count 100 --method auto --observations 1 5 10 25 50 100
      mimicgan figures out --kind gray-blur --supervised runs/supervised/gray-blur.safetensors
    """

    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """A new folder for the figures."""
    images: str = GENERATED
    """Clean images: `generated` by the prior itself, which is easier than real ones, `sample`
    (Fashion-MNIST), or a folder."""
    kinds: Annotated[tuple[str, ...], tyro.conf.arg(name="kind")] = ("negative-blur", "dropped")
    """Damages; `mimicgan corrupt --list` has them."""
    methods: Annotated[tuple[Method, ...], tyro.conf.arg(name="method")] = (
        "pgd",
        "mimicgan",
        "universal",
        "auto",
    )
    """Rows of the grid; curves are drawn for pgd and mimicgan."""
    supervised: tuple[Path, ...] = ()
    """Networks by `mimicgan train supervised` for a further row, one for each --kind."""
    observations: tuple[int, ...] = ()
    """Draw PSNR against these numbers of images that share a damage, for the methods that learn it
    (auto, mimicgan): up to three batches of each number."""
    count: int = 25
    """Images."""
    seed: int = 0
    """Seed of the images, the damage and all methods."""
    overwrite: bool = False
    """Replace OUT if it exists."""
    mimic: MimicSettings = MIMICGAN
    """Numbers of Algorithm 1."""
    pgd: MimicSettings = PGD
    """Numbers of projected gradient descent."""
    match: MatchSettings = field(default_factory=MatchSettings)
    """Numbers of the default method."""

    def run(self) -> None:
        screen = self.screen()
        self.prepare()
        check_seed(self.seed)
        needed("matplotlib", "plot")
        self._refuse()
        prior = self.load()
        if prior.image_shape[0] not in DRAWN:
            raise UserError(
                f"figures show images of 1 or 3 channels, not {prior.image_shape[0]}; "
                "use another prior"
            )
        inputs = files_of(self.prior, *self.supervised)
        if self.images != GENERATED:
            inputs += inputs_of(self.images)
        with output_folder(self.out, overwrite=self.overwrite, inputs=inputs) as to:
            generator = torch.Generator().manual_seed(self.seed)
            if self.images == GENERATED:
                clean = invented(prior, self.count, self.seed)
            else:
                clean = images_of(self.images, prior.image_shape, self.count).images
            # What cannot be done is told before any method has worked.
            for kind in self.kinds:
                damaged(kind, clean[:2], torch.Generator().manual_seed(self.seed))
            if "universal" in self.methods:
                Damage.universal(prior)
            if max(self.observations, default=0) > len(clean):
                raise UserError(
                    f"--observations {max(self.observations)} is more than the {len(clean)} "
                    "images; give a larger --count or more images"
                )
            known = [Damage.load(path, prior) for path in self.supervised]
            curves: list[Curve] = []
            numbered: list[Curve] = []
            sheets, rows = [], []
            for place, kind in enumerate(self.kinds):
                observed = damaged(kind, clean, generator)
                shown_rows: list[tuple[str, Tensor]] = [("observed", observed)]
                if known:
                    plain = Settings(output="fidelity")
                    result = restore(observed, prior, plain, damage=known[place])
                    shown_rows.append(("supervised", result.images))
                rows += [_row(kind, name, images, clean) for name, images in shown_rows]
                for method in self.methods:
                    settings = Settings(
                        method, self.seed, len(clean), self.mimic, self.pgd, self.match
                    )
                    label = LABELS[method]
                    name = f"{kind}, {label}"
                    total = expected_steps(settings, clean, fresh=prior.restorer is None)
                    with screen.progress(f"{kind}: {label}", total) as advance:
                        if method in ("pgd", "mimicgan"):
                            curve, result = traced(name, observed, clean, prior, settings)
                            curves.append(curve)
                        else:
                            result = restore(observed, prior, settings, callback=shown(advance))
                    if method in LEARNING:
                        shown_rows.append((f"learnt damage ({label})", result.simulated))
                    shown_rows.append((label, result.images))
                    rows.append(_row(kind, method, result.images, clean))
                    if self.observations and method in LEARNING:
                        with screen.progress(f"{name}, by number", None) as advance:
                            see = partial(_told, shown(advance))
                            numbers, whole = self.observations, result.images
                            numbered.append(
                                by_number(
                                    name, observed, clean, prior, settings, numbers, whole, see
                                )
                            )
                shown_rows.append(("clean", clean))
                sheets.append(grid(shown_rows, title=kind))
            stacked(sheets).save(to / "recovery.png")
            if curves:
                drawn(curves, to / "alternations.png", against="alternations")
                drawn(curves, to / "loss.png", against="loss")
            if numbered:
                drawn(numbered, to / "observations.png", against="observations")
            facts = {
                "prior": prior.name,
                "images": self.images,
                "count": len(clean),
                "seed": self.seed,
                "supervised": [str(path) for path in self.supervised],
                "settings": {
                    "mimic": asdict(self.mimic),
                    "pgd": asdict(self.pgd),
                    "match": asdict(self.match),
                },
                "rows": rows,
                "curves": [asdict(curve) for curve in (*curves, *numbered)],
                **surroundings(),
            }
            (to / "figures.json").write_text(json_text(facts, indent=1) + "\n", encoding="utf-8")
        screen.say(f"figures in {self.out}")
        screen.result({"command": "figures", "out": self.out, "rows": rows})

    def _refuse(self) -> None:
        if self.count < 1 or not self.kinds or not self.methods:
            raise UserError("give --count 1 or more, and at least one --kind and --method")
        if min(self.observations, default=1) < 1:
            raise UserError("--observations are numbers of images; give 1 or more")
        if self.observations and not LEARNING & set(self.methods):
            raise UserError("--observations is for methods that learn; add --method auto")
        if self.supervised and len(self.supervised) != len(self.kinds):
            raise UserError(
                f"--supervised names {len(self.supervised)} networks for {len(self.kinds)} "
                "damages; give one for each --kind, in the same order"
            )


def _told(see: Callable[[Step], None], number: int, step: Step) -> None:
    see(replace(step, kind=f"{number} images: {step.kind}"))


def _row(kind: str, method: str, images: Tensor, clean: Tensor) -> dict[str, Any]:
    return {"damage": kind, "method": method, "psnr": float(psnr(images, clean).mean())}
