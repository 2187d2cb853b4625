"""The flags that all commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

import torch
import tyro

from mimicgan.commands.screen import Screen
from mimicgan.errors import UserError, check_threads
from mimicgan.files import check_writable
from mimicgan.pretrained import load_prior
from mimicgan.prior import Prior

# What tyro would show as {None}|INT and so on.
INTEGER = tyro.conf.arg(metavar="INT")
PATH = tyro.conf.arg(metavar="PATH")
SHAPE = tyro.conf.arg(metavar="INT INT INT")


class Command(Protocol):
    """A parsed command."""

    @property
    def after_interrupt(self) -> str:
        """What a user should know when the command was cut short."""

    def run(self) -> None:
        """Do it. Raises UserError or ValueError for a user's mistake."""


@dataclass(frozen=True, kw_only=True)
class OutputFlags:
    """How a command talks."""

    quiet: bool = False
    """Show nothing but results, warnings and errors."""
    json: bool = False
    """Print the result as one JSON object on standard output, everything else on standard error."""

    @property
    def after_interrupt(self) -> str:
        return "nothing was written"

    def screen(self) -> Screen:
        return Screen(quiet=self.quiet, json=self.json)


@dataclass(frozen=True, kw_only=True)
class ComputeFlags(OutputFlags):
    """How a command talks, and what it computes on: the processor."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute: auto and cpu are the processor. No command uses a GPU yet."""
    threads: Annotated[int | None, INTEGER] = None
    """Threads of the processor; as many as torch likes unless given."""

    def prepare(self) -> None:
        """Set the number of threads. Raises UserError."""
        if self.threads is not None:
            check_threads(self.threads)
            torch.set_num_threads(self.threads)
        if self.device == "cuda":
            raise UserError(
                "no command uses a GPU: all draw their random numbers on the processor, for the "
                "same seed to give the same result; leave --device out"
            )


def check_result(out: Path | None) -> None:
    """UserError where a result file cannot be written, before anything is measured."""
    if out is None:
        return
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file, as {out}/result.json")
    check_writable(out, f"--out {out}", make=True)


def check_folder(out: Path) -> None:
    """UserError where the folder of a training cannot be written, before it begins."""
    check_writable(out / "checkpoint.pt", f"--out {out}", make=True)


@dataclass(frozen=True, kw_only=True)
class TrainFlags(ComputeFlags):
    """The same for a training, which goes on from checkpoints."""

    out: Path = Path("runs")

    def prepare(self) -> None:
        super().prepare()
        check_folder(self.out)

    @property
    def after_interrupt(self) -> str:
        return "run the same again, and it goes on from the last checkpoint"


@dataclass(frozen=True, kw_only=True)
class PriorFlags(ComputeFlags):
    """Which prior a command takes."""

    prior: str = "fashion-mnist"
    """A shipped name, a folder made by `mimicgan train gan`, hf-hub:ORG/NAME, or your own
    generator: a .pt2 (torch.export) or TorchScript .pt file."""
    latent_size: Annotated[int | None, INTEGER] = None
    """Length of a latent, for your own generator alone."""
    image_shape: Annotated[tuple[int, int, int] | None, SHAPE] = None
    """Channels, height and width of its images, for your own generator alone."""
    box: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="FLOAT FLOAT")] = None
    """Range of its latents, -1 1 unless given, for your own generator alone."""

    def load(self) -> Prior:
        """The prior. Raises UserError."""
        return load_prior(
            self.prior, latent_size=self.latent_size, image_shape=self.image_shape, box=self.box
        )
