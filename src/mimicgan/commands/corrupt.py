"""``mimicgan corrupt``: damage images, to try a restoration where the truth is known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.table import Table
from torch import Tensor

from mimicgan.commands.flags import INTEGER, SHAPE, OutputFlags
from mimicgan.commands.sources import SAMPLE_SHAPE, files_of, images_of, inputs_of, is_sample
from mimicgan.corruptions import CORRUPTIONS, FACE_CORRUPTIONS
from mimicgan.corruptions import corrupt as apply_corruption
from mimicgan.errors import UserError, check_seed
from mimicgan.files import output_folder
from mimicgan.image_files import counted, write_like
from mimicgan.pretrained import prior_shape
from mimicgan.user_program import is_user_generator

UNSEEN_PREFIX = "unseen"


@dataclass(frozen=True, kw_only=True)
class Corrupt(OutputFlags):
    """Damage images; the results have the same names.

    Examples:
      mimicgan corrupt --list
      mimicgan corrupt sample damaged --kind dropped
      mimicgan corrupt 'photos/*.png' damaged --kind unseen:motion_blur:middle --seed 3
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IN")] = ""
    """A folder of images, a pattern in quotes, a .npy, .npz or IDX file, or the word sample."""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")] = ""
    """A new folder for the damaged images."""
    kind: str = ""
    """Name of the damage; see --list."""
    list: bool = False
    """List the damages and do nothing else."""
    seed: int = 0
    """Seed of the damage's random parts."""
    count: Annotated[int | None, INTEGER] = None
    """Only the first so many images."""
    prior: str = "fashion-mnist"
    """The prior that will restore them: the images are made to fit its size."""
    image_shape: Annotated[tuple[int, int, int] | None, SHAPE] = None
    """Channels, height and width to fit instead, as for a generator of your own."""
    overwrite: bool = False
    """Replace OUT if it exists."""

    def run(self) -> None:
        screen = self.screen()
        check_seed(self.seed)
        if self.list or self.kind == "list":
            kinds = listed_kinds()
            screen.show(_table(kinds))
            screen.result({"kinds": kinds})
            return
        if not (self.source and self.out and self.kind):
            raise UserError("name IN, OUT and --kind; `mimicgan corrupt --list` shows the kinds")
        shape = self._shape()
        inputs = [*inputs_of(self.source), *files_of(self.prior)]
        with output_folder(self.out, overwrite=self.overwrite, inputs=inputs) as to:
            found = images_of(self.source, shape, self.count)
            generator = torch.Generator().manual_seed(self.seed)
            write_like(to, found, damaged(self.kind, found.images, generator))
        for note in found.notes:
            screen.say(note)
        screen.say(f"{counted(len(found.images))} damaged ({self.kind}) in {Path(self.out)}")
        screen.result(
            {
                "command": "corrupt",
                "out": self.out,
                "kind": self.kind,
                "seed": self.seed,
                "count": len(found.images),
                "notes": found.notes,
            }
        )

    def _shape(self) -> tuple[int, int, int]:
        if self.image_shape is not None:
            if min(self.image_shape) < 1:
                raise UserError("--image-shape is channels, height and width; give 1 or more each")
            return self.image_shape
        if is_sample(self.source):
            return SAMPLE_SHAPE
        if is_user_generator(Path(self.prior)):
            raise UserError(f"{self.prior} does not say what it makes; give --image-shape as well")
        return prior_shape(self.prior)


def damaged(kind: str, images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (n, c, h, w) in [0, 1] under the damage called ``kind``. Raises UserError."""
    prefix, _, rest = kind.partition(":")
    try:
        if prefix == UNSEEN_PREFIX:
            # Another group's list: only loaded when asked for.
            from mimicgan.experiments.unseen_corruptions import corrupt_unseen

            name, _, strength = rest.partition(":")
            return corrupt_unseen(name, strength or "middle", images, generator)
        return apply_corruption(kind, images, generator)
    except KeyError as error:
        raise UserError(f"{error.args[0]}; `mimicgan corrupt --list` shows all") from error


def listed_kinds() -> dict[str, str]:
    """Every kind of damage, with a description."""
    from mimicgan.experiments.unseen_corruptions import STRENGTHS, UNSEEN

    named = CORRUPTIONS | FACE_CORRUPTIONS
    kinds = {name: corruption.description for name, corruption in named.items()}
    strengths = "|".join(STRENGTHS)
    for name, unseen in UNSEEN.items():
        kinds[f"{UNSEEN_PREFIX}:{name}:{strengths}"] = unseen.description
    return kinds


def _table(kinds: dict[str, str]) -> Table:
    table = Table(box=None)
    # A name that was cut could not be given to --kind.
    table.add_column("kind", no_wrap=True)
    table.add_column("what it does")
    for name, description in kinds.items():
        table.add_row(name, description)
    return table
