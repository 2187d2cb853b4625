"""Fills in what the code knows: the help of every command, and the measured tables."""

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

from mimicgan.commands.registry import COMMANDS, parse
from mimicgan.experiments.report import filled

HELP = "<!-- commands -->"
UNBUILT = re.compile(r"^> Filled in by `make docs`.*\n\n", re.MULTILINE)
"""What only readers of the source need."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls this with the text of each page."""
    markdown = UNBUILT.sub("", markdown)
    if HELP in markdown:
        markdown = markdown.replace(HELP, "\n\n".join(map(_help, COMMANDS)))
    return filled(markdown, Path(__file__).parent.parent / "results")


def _help(name: str) -> str:
    told = io.StringIO()
    # Help as wide as a page, without colours.
    os.environ.update(COLUMNS="96", NO_COLOR="1", TERM="dumb")
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
        parse([*name.split(), "--help"], "")
    text = re.sub(r"\x1b\[[0-9;]*m", "", told.getvalue())
    return f"## mimicgan {name}\n\n```text\n{text.strip()}\n```"
