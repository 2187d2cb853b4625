"""The report beside every restoration: what was done, with what, and how it went."""

import hashlib
import math
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mimicgan
from mimicgan.commands.screen import json_text
from mimicgan.image_files import ImageSet
from mimicgan.prior import Prior
from mimicgan.restore import Restoration, Settings


def report(
    result: Restoration,
    prior: Prior,
    inputs: dict[str, Any],
    found: ImageSet,
    *,
    given: Path | None = None,
) -> dict[str, Any]:
    """Everything that a user may want to know later, ready for JSON.

    ``inputs``: what was asked for; ``given``: the damage's file, where it was not learnt from these
    images.
    """
    damage = None
    if given is not None:
        damage = {"file": str(given), "sha256": hashlib.sha256(given.read_bytes()).hexdigest()}
    return {
        "inputs": {**inputs, "names": found.names},
        "count": len(found.images),
        "notes": found.notes,
        **conditions(prior, result.settings),
        "damage": damage,
        "output": "fidelity" if result.latents is None else "realism",
        "understood": result.understood,
        "restorer": result.restorer,
        "misfit": _finite(result.misfit),
        "message": message(result, given=given is not None),
        "losses": last_losses(result),
        "seconds": round(result.seconds, 3),
        "generator_passes": result.generator_passes,
        **surroundings(),
    }


def conditions(prior: Prior, settings: Settings) -> dict[str, Any]:
    """With what images were restored, as it stands in every report."""
    return {
        "prior": prior.name,
        "prior_sha256": prior.sha256(),
        "method": settings.method,
        "seed": settings.seed,
        "settings": asdict(settings),
    }


def surroundings() -> dict[str, Any]:
    """Versions and machine, as they stand in every file of results."""
    return {
        "versions": {
            "mimicgan": mimicgan.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "machine": {
            "platform": platform.platform(),
            "cpu_count": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
        },
    }


def nothing_learnt(result: Restoration) -> bool:
    """Whether a method that learns had too few images to, where no damage was given."""
    settings = result.settings
    return settings.method == "auto" and len(result.images) < settings.match.fewest


def message(result: Restoration, *, given: bool = False) -> str:
    """What the misfit says, in a sentence; ``given``: of a damage that was learnt before."""
    if not given and nothing_learnt(result):
        return (
            f"nothing is learnt from fewer than {result.settings.match.fewest} images: the "
            "universal restorer was used"
        )
    if given and result.damage is not None and not result.damage.describes:
        return (
            "the given file is a restorer for a damage that it does not describe: whether it is "
            "that of these images cannot be told"
        )
    if given and result.misfit is None:
        told = "too few images to tell whether the given damage is theirs"
        return told if result.restorer == "own" else f"{told}; the universal restorer was used"
    if result.understood is None or result.misfit is None:
        return "this method cannot tell whether it understood the damage"
    limit = result.settings.match.misfit_limit
    if result.damage is not None and result.damage.undamaged and result.understood:
        return "the images look undamaged and come back as they are"
    which = "given" if given else "learnt"
    if result.understood:
        return f"the {which} damage explains the observations (misfit {result.misfit:.2f})"
    if given and result.restorer == "universal":
        return (
            "the universal restorer was used: the given damage was not understood when it was "
            f"learnt, or is not that of these images (misfit {result.misfit:.2f})"
        )
    if result.misfit <= limit:
        return (
            "the universal restorer was used: one made for the learnt damage was not trusted "
            f"(misfit {result.misfit:.2f})"
        )
    if given:
        return (
            f"misfit {result.misfit:.2f} where at most {limit:g} is usual; these images are "
            "damaged otherwise: leave --damage out to learn theirs"
        )
    return (
        f"misfit {result.misfit:.2f} where at most {limit:g} is usual; the images may be "
        "damaged in different ways, or show what the prior does not know"
        + ("; the universal restorer was used" if result.restorer == "universal" else "")
    )


def last_losses(result: Restoration) -> dict[str, dict[str, float | None]]:
    """Last losses of each kind of update."""
    kinds = {step.kind: step for step in result.history}
    return {
        kind: {"loss": _finite(step.loss), "mimicking": _finite(step.mimicking)}
        for kind, step in kinds.items()
    }


def write_report(path: Path, facts: dict[str, Any]) -> None:
    """Write ``facts`` as JSON for people."""
    text = json_text(facts, indent=2, ensure_ascii=False)
    # Names of files may hold bytes that are no text.
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
