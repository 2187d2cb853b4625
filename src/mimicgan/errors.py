"""The one kind of error that is shown to a user without a traceback."""

from importlib import import_module
from typing import Any


class UserError(Exception):
    """A mistake or mishap that the user can mend: one printable line that ends in the remedy."""

    def __init__(self, message: str) -> None:
        # File names may hold line breaks, escape sequences or undecodable bytes.
        super().__init__("".join(c if c.isprintable() else "?" for c in message))


def needed(module: str, extra: str) -> Any:
    """The optional ``module``, imported; UserError names the ``extra`` that brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"this needs {module}; install it with: pip install 'mimicgan[{extra}]'"
        ) from error
