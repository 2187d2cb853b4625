"""How the tests call the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from mimicgan.cli import main

QUICK = ("--method", "mimicgan", "--mimic.iterations", "1", "--mimic.latent-steps", "1")


def process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``mimicgan ARGUMENTS`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mimicgan", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def call(*arguments: str | Path) -> int:
    return main([str(a) for a in arguments])


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that a user's mistake is answered with."""
    capsys.readouterr()
    assert call(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[-1].startswith("mimicgan: error: ")
    assert sum("error" in line for line in lines) == 1
    return lines[-1]


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
