"""``mimicgan reproduce``: run an experiment of the paper, or one of ours."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from mimicgan.commands.flags import OutputFlags
from mimicgan.errors import UserError
from mimicgan.experiments.options import ExperimentOptions, Progress


@dataclass(frozen=True, kw_only=True)
class Reproduce(OutputFlags):
    """Run an experiment and write results/NAME.json; without NAME, list the experiments.

    Examples:
      mimicgan reproduce
      mimicgan reproduce robust-classification
      mimicgan reproduce robust-classification --methods observed pgd --seeds 0 --images 100
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ""
    """The experiment."""
    options: Annotated[ExperimentOptions, tyro.conf.arg(name="")] = field(
        default_factory=ExperimentOptions
    )

    @property
    def after_interrupt(self) -> str:
        return "run the same again, and it goes on where it was"

    def run(self) -> None:
        # All experiments load much; no other command needs them.
        from mimicgan.experiments.registry import EXPERIMENTS

        screen = self.screen()
        if not self.name:
            screen.show("\n".join(EXPERIMENTS))
            screen.result({"experiments": list(EXPERIMENTS)})
            return
        if self.name not in EXPERIMENTS:
            raise UserError(f"no experiment {self.name!r}; there are: {', '.join(EXPERIMENTS)}")
        with screen.progress(self.name, total=None) as advance:

            def show(progress: Progress) -> None:
                left = (
                    "" if progress.seconds_left is None else f"{progress.seconds_left:.0f} s left"
                )
                advance(progress.done, f"{progress.done}/{progress.total} {left} {progress.label}")

            path = EXPERIMENTS[self.name](self.options, show)
        if path is None:
            screen.say("this share is done; the result is written when the others are")
        else:
            screen.say(f"result in {path}")
        screen.result({"command": "reproduce", "result": None if path is None else str(path)})
