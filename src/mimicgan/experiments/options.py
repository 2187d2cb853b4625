"""What an experiment is told, and what it tells while it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mimicgan.errors import UserError, check_seed, check_threads

# What tyro would show as {None}|{[STR [STR ...]]}.
SEVERAL = tyro.conf.arg(metavar="STR [STR ...]")


@dataclass(frozen=True)
class ExperimentOptions:
    """All settings of a run of an experiment; the same fields are the command line's flags."""

    out: Path = Path("results")
    """Folder of the result files."""
    runs: Path = Path("runs")
    """Folder of what is measured and trained on the way; a killed run goes on from it."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each draws its own images, damage and random numbers."""
    images: int = 500
    """Images of each seed."""
    batch: int = 100
    """Images that are damaged and restored together."""
    methods: Annotated[tuple[str, ...] | None, SEVERAL] = None
    """Only these methods; all of the experiment's unless given."""
    tasks: Annotated[tuple[str, ...] | None, SEVERAL] = None
    """Only these tasks, variants, or task/variant; all of the experiment's unless given."""
    split: Literal["test", "validation"] = "test"
    """validation: the last 5,000 training images, to choose settings on; writes another file."""
    shard: str = "1/1"
    """i/n: do the i-th of n shares of the work, for n processes; 0/n does none of it."""
    partial: bool = False
    """Write the result from what is there, even if work is missing."""
    threads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Threads of torch; as they are unless given."""
    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Folder of the data set; see ``mimicgan.data.fashion_mnist.load``."""
    trust_old_code: bool = False
    """Keep what was measured before the code of a method changed."""
    extend: bool = False
    """Add to the result file that is there: its measurements count as done, and rows of more images
    than this run has stay."""

    def __post_init__(self) -> None:
        self.share()
        if self.images < 1 or self.batch < 1 or not self.seeds:
            raise UserError("images, batch and seeds must be at least one; raise them")
        if self.threads is not None:
            check_threads(self.threads)
        # A seed that came twice would count its images twice.
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError("a seed is given twice; give each once")
        for seed in self.seeds:
            check_seed(seed)

    def share(self) -> tuple[int, int]:
        """(i, n) of ``shard``; UserError when it is not 0 <= i <= n with n >= 1."""
        parts = self.shard.split("/")
        if len(parts) == 2 and all(part.isdecimal() for part in parts):
            index, count = int(parts[0]), int(parts[1])
            if 0 <= index <= count and count >= 1:
                return index, count
        raise UserError(f"no shard {self.shard!r}; write i/n, such as 1/2 and 2/2")


@dataclass(frozen=True)
class Progress:
    """How far a run is, told after every unit of work."""

    done: int
    """Units of this share that are finished, those of earlier runs included."""
    total: int
    label: str
    """What was finished last."""
    seconds_left: float | None
    """From the mean time of each method so far; None before there is one."""


Callback = Callable[[Progress], None]
