"""The card of weights: what they are and how they were made, in JSON beside them."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mimicgan.errors import UserError


@dataclass(frozen=True)
class Card:
    """What everybody should know about weights; travels beside them as JSON."""

    name: str
    architecture: str
    data: str = ""
    """What it was trained on."""
    licence: str = ""
    """Terms of the weights, those of the data included."""
    command: str = ""
    """The command that makes it again."""
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    """Every setting of the training."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """What was measured, and on which images."""


def read_card(folder: Path, kind: str) -> tuple[Card, dict[str, Any]]:
    """The card of a "prior" or "classifier" in ``folder``, and what else the file holds.

    UserError when it cannot be read.
    """
    path = folder / f"{kind}.json"
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name: held[f.name] for f in fields(Card)}
        for name, empty in asdict(Card("", "")).items():
            if not isinstance(known[name], type(empty)):
                raise TypeError(f"{name} is no {type(empty).__name__}")
        return Card(**known), {key: held[key] for key in held if key not in known}
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise misfit(folder, kind) from error


def unreadable(path: Path, error: OSError) -> UserError:
    """What to raise for a file that the system cannot read."""
    return UserError(
        f"cannot read {path}: {error.strerror or error}; copy or make it again, or reinstall "
        "mimicgan if it came with it"
    )


def misfit(folder: Path, kind: str) -> UserError:
    """What to raise for a folder whose files do not go together."""
    return UserError(
        f"{folder} holds no {kind} that this version can read; use the version of mimicgan that "
        "wrote it, or make it again"
    )
