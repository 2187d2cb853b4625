"""``mimicgan figures``: the paper's figures 1b, 2 and 5 from images of one's own choice."""

from dataclasses import asdict, dataclass, field
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
from mimicgan.curves import Curve, drawn, traced
from mimicgan.errors import UserError, check_seed, needed
from mimicgan.files import output_folder
from mimicgan.image_files import DRAWN
from mimicgan.learnt import Damage
from mimicgan.match_settings import MatchSettings
from mimicgan.metrics import psnr
from mimicgan.overview import grid, stacked
from mimicgan.presets import MIMICGAN, PGD, MimicSettings
from mimicgan.restore import Method, Settings, restore

GENERATED = "generated"


@dataclass(frozen=True, kw_only=True)
class Figures(PriorFlags):
    """Draw the paper's figures: quality while Algorithm 1 alternates, and a grid of all methods.

    OUT gets alternations.png (figure 1b), recovery.png (figure 2), loss.png (figure 5) and
    figures.json with every number and setting. The clean images are damaged, and measure; no method
    sees them. Needs matplotlib: pip install 'mimicgan[plot]'.

    Examples:
      mimicgan figures out
      mimicgan figures out --prior faces --kind negative inpainting --images generated
      mimicgan figures out --prior faces --images celeba/img_align_celeba --count 25
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
        if self.count < 1 or not self.kinds or not self.methods:
            raise UserError("give --count 1 or more, and at least one --kind and --method")
        prior = self.load()
        if prior.image_shape[0] not in DRAWN:
            raise UserError(
                f"figures show images of 1 or 3 channels, not {prior.image_shape[0]}; "
                "use another prior"
            )
        inputs = files_of(self.prior)
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
            curves: list[Curve] = []
            sheets, rows = [], []
            for kind in self.kinds:
                observed = damaged(kind, clean, generator)
                shown_rows: list[tuple[str, Tensor]] = [("observed", observed)]
                rows.append(_row(kind, "observed", observed, clean))
                for method in self.methods:
                    settings = Settings(
                        method, self.seed, len(clean), self.mimic, self.pgd, self.match
                    )
                    total = expected_steps(settings, len(clean))
                    label = LABELS[method]
                    with screen.progress(f"{kind}: {label}", total) as advance:
                        if method in ("pgd", "mimicgan"):
                            curve, result = traced(
                                f"{kind}, {label}", observed, clean, prior, settings
                            )
                            curves.append(curve)
                        else:
                            result = restore(observed, prior, settings, callback=shown(advance))
                    if method in ("mimicgan", "auto"):
                        name = f"learnt damage ({label})"
                        shown_rows.append((name, result.simulated))
                    shown_rows.append((label, result.images))
                    rows.append(_row(kind, method, result.images, clean))
                shown_rows.append(("clean", clean))
                sheets.append(grid(shown_rows, title=kind))
            stacked(sheets).save(to / "recovery.png")
            if curves:
                drawn(curves, to / "alternations.png", against="alternations")
                drawn(curves, to / "loss.png", against="loss")
            facts = {
                "prior": prior.name,
                "images": self.images,
                "count": len(clean),
                "seed": self.seed,
                "settings": {
                    "mimic": asdict(self.mimic),
                    "pgd": asdict(self.pgd),
                    "match": asdict(self.match),
                },
                "rows": rows,
                "curves": [asdict(curve) for curve in curves],
                **surroundings(),
            }
            (to / "figures.json").write_text(json_text(facts, indent=1) + "\n", encoding="utf-8")
        screen.say(f"figures in {self.out}")
        screen.result({"command": "figures", "out": self.out, "rows": rows})


def _row(kind: str, method: str, images: Tensor, clean: Tensor) -> dict[str, Any]:
    return {"damage": kind, "method": method, "psnr": float(psnr(images, clean).mean())}
