"""Errors that are shown to a user without a traceback."""

import math
from importlib import import_module
from typing import Any

MOST_THREADS = 1024


class UserError(Exception):
    """A mistake or mishap that the user can mend: one printable line that ends in the remedy."""

    def __init__(self, message: str) -> None:
        # File names may hold line breaks, escape sequences or undecodable bytes.
        super().__init__("".join(c if c.isprintable() else "?" for c in message))


def at_least(least: int, **numbers: int) -> None:
    """ValueError that names the first of ``numbers`` below ``least``."""
    for name, value in numbers.items():
        if value < least:
            raise ValueError(f"{name} {value} is too small; give {least} or more")


def within(low: float, high: float, **numbers: float) -> None:
    """ValueError that names the first of ``numbers`` that is not finite, or not in [low, high]."""
    asked = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
    for name, value in numbers.items():
        # Not "value < low or value > high": a NaN must not pass.
        if not (low <= value <= high and value < math.inf):
            raise ValueError(f"{name} {value:g} makes no sense; give {asked}")


def check_seed(seed: int) -> None:
    """ValueError for a seed that no generator takes."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed {seed} is out of range; give 0 to 2**63 - 1")


def check_threads(count: int) -> None:
    """ValueError for so many threads that the system has no room for them, or none."""
    if not 1 <= count <= MOST_THREADS:
        raise ValueError(f"threads {count} makes no sense; give 1 to {MOST_THREADS}")


def needed(module: str, extra: str) -> Any:
    """The optional ``module``, imported; UserError names the ``extra`` that brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"this needs {module}; install it with: pip install 'mimicgan[{extra}]'"
        ) from error
