"""``mimicgan data``: fetch a data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mimicgan.commands.flags import PATH, OutputFlags
from mimicgan.data import fashion_mnist


@dataclass(frozen=True, kw_only=True)
class Data(OutputFlags):
    """Fetch a data set: checked by hash, resumed after a cut, in place only when whole.

    Examples:
      mimicgan data fashion-mnist
      mimicgan data fashion-mnist --to ~/data/fashion-mnist --mirror https://example.org/fashion/
    """

    name: Annotated[Literal["fashion-mnist"], tyro.conf.Positional]
    """The data set."""
    to: Annotated[Path | None, PATH] = None
    """Where to put it; the user's cache unless given."""
    mirror: str = fashion_mnist.UPSTREAM
    """Address of a folder that holds the four .gz files."""

    @property
    def after_interrupt(self) -> str:
        return "run the same again, and it goes on where it was"

    def run(self) -> None:
        screen = self.screen()
        with screen.progress("bytes", total=None) as advance:
            target = fashion_mnist.download(
                self.to,
                self.mirror,
                lambda name, held, total: advance(held, f"of {total} {name}" if total else name),
            )
        screen.say(f"Fashion-MNIST is whole in {target}")
        screen.result({"command": "data", "folder": str(target)})
