"""What a command shows: progress and notes on standard error, results on standard output."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Advance(Protocol):
    """Moves a bar."""

    def __call__(self, done: int, note: str = "", phase: str = "") -> None:
        """``done`` so far, what to say beside the bar, and what is being done: each ``phase`` is
        told once, in a line, where there is no terminal."""


def json_text(values: Any, **layout: Any) -> str:
    """JSON, laid out as for ``json.dumps``; a number that is not finite, which JSON does not know,
    becomes a word."""
    return json.dumps(json.loads(json.dumps(values), parse_constant=str), **layout)


class Screen:
    """A terminal, or whatever takes its place."""

    def __init__(self, *, quiet: bool, json: bool) -> None:
        self.quiet, self.json = quiet, json
        self._errors = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """A note, which --quiet hides."""
        if not self.quiet:
            self._write(text)

    def warn(self, text: str) -> None:
        """A line that is always shown."""
        self._write(text)

    def show(self, result: RenderableType) -> None:
        """A result for people; not shown with --json."""
        if not self.json:
            Console(highlight=False).print(result)

    def result(self, values: dict[str, Any]) -> None:
        """A result for programs, shown only with --json."""
        if self.json:
            sys.stdout.write(json_text(values) + "\n")
            # A page goes on after it, and a reader who left is told of here.
            sys.stdout.flush()

    @contextmanager
    def progress(self, label: str, total: int | None) -> Iterator[Advance]:
        """A bar with the time left (a moving one without ``total``); yields its ``Advance``.

        Without a terminal there is no bar, but a line for each phase.
        """
        # Text is never markup here: file names and numbers may hold brackets.
        columns = (
            TextColumn("{task.fields[label]}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}") if total else TextColumn(""),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        shown = not self.quiet and self._errors.is_terminal
        with Progress(
            *columns, console=self._errors, transient=True, disable=not shown, refresh_per_second=4
        ) as bar:
            task = bar.add_task("", total=total, label=label, note="")

            told = {""}

            def advance(done: int, note: str = "", phase: str = "") -> None:
                bar.update(task, completed=done, note=note)
                if not self._errors.is_terminal and phase not in told:
                    told.add(phase)
                    self.say(f"{label}: {phase}")

            yield advance

    def _write(self, text: str) -> None:
        self._errors.print(text, markup=False, soft_wrap=True)
