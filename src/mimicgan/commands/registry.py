"""All commands by name, and how the words of a command line become one of them."""

from collections.abc import Sequence
from dataclasses import make_dataclass
from inspect import cleandoc
from typing import Annotated, Any, Union, cast

import tyro

from mimicgan.commands.bench import Bench
from mimicgan.commands.corrupt import Corrupt
from mimicgan.commands.data import Data
from mimicgan.commands.demo import Demo
from mimicgan.commands.evaluate import Evaluate
from mimicgan.commands.figures import Figures
from mimicgan.commands.flags import Command
from mimicgan.commands.reproduce import Reproduce
from mimicgan.commands.restore import Restore
from mimicgan.commands.serve import Serve
from mimicgan.commands.train_bank import TrainBank
from mimicgan.commands.train_classifier import TrainClassifier
from mimicgan.commands.train_gan import TrainGan
from mimicgan.commands.train_restorer import TrainRestorer
from mimicgan.commands.train_supervised import TrainSupervised

COMMANDS: dict[str, type[Any]] = {
    "demo": Demo,
    "restore": Restore,
    "corrupt": Corrupt,
    "serve": Serve,
    "data": Data,
    "train gan": TrainGan,
    "train classifier": TrainClassifier,
    "train restorer": TrainRestorer,
    "train bank": TrainBank,
    "train supervised": TrainSupervised,
    "evaluate": Evaluate,
    "reproduce": Reproduce,
    "figures": Figures,
    "bench": Bench,
}
"""One or two words -> a dataclass with the flags as fields; the help is its docstring."""
GROUPS = {"train": "Train the networks that a restoration stands on."}
"""First words that need a second one."""
STYLE = (tyro.conf.FlagCreatePairsOff,)


def parse(arguments: Sequence[str], description: str) -> Command:
    """The command that ``arguments`` ask for; help and wrong flags end the program."""
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            kind = COMMANDS[name]
            # As it stands: tyro would join the lines of the examples.
            return cast(
                Command,
                tyro.cli(
                    kind,
                    prog=f"mimicgan {name}",
                    description=cleandoc(kind.__doc__ or ""),
                    args=list(arguments[words:]),
                    config=STYLE,
                ),
            )
    if arguments and arguments[0] in GROUPS:
        group = arguments[0]
        return _choose(
            f"mimicgan {group}",
            GROUPS[group],
            {n.removeprefix(f"{group} "): k for n, k in COMMANDS.items() if n.split()[0] == group},
            arguments[1:],
        )
    single = {n: k for n, k in COMMANDS.items() if n.split()[0] not in GROUPS}
    return _choose("mimicgan", description, {**single, **GROUPS}, arguments)


def _choose(
    prog: str, description: str, choices: dict[str, Any], arguments: Sequence[str]
) -> Command:
    """Let tyro list ``choices`` (a command, or a group's description), or say what is wrong."""
    parts = []
    for name, choice in choices.items():
        text = choice if isinstance(choice, str) else (choice.__doc__ or "").partition("\n")[0]
        empty = make_dataclass(name, ())
        parts.append(Annotated[empty, tyro.conf.subcommand(name, description=text)])
    tyro.cli(
        cast(Any, Union[tuple(parts)]),  # noqa: UP007
        prog=prog,
        description=description,
        args=list(arguments),
        config=STYLE,
    )
    raise AssertionError("the words were no command")
