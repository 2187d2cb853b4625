"""Errors that are shown to a user without a traceback."""

from importlib import import_module
from typing import Any


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


def check_numbers(settings: object) -> None:
    """ValueError that names the first field of a dataclass that is below zero, or no number."""
    for name, value in vars(settings).items():
        if not value >= 0:
            raise ValueError(f"{name} {value} is out of range; give a number from 0 on")


def check_seed(seed: int) -> None:
    """ValueError for a seed that no generator takes."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed {seed} is out of range; give 0 to 2**63 - 1")


def needed(module: str, extra: str) -> Any:
    """The optional ``module``, imported; UserError names the ``extra`` that brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"this needs {module}; install it with: pip install 'mimicgan[{extra}]'"
        ) from error
