"""What stands beside restored images: an overview, the learnt damage as a picture, the report."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from mimicgan.commands.report import report, write_report
from mimicgan.damage import ComposedDamage
from mimicgan.damage_picture import damage_picture
from mimicgan.image_files import DRAWN, ImageSet
from mimicgan.overview import COLUMNS, grid
from mimicgan.prior import Prior
from mimicgan.restore import Restoration

REPORT, OVERVIEW, DAMAGE = "report.json", "overview.png", "damage.png"


def write_summary(
    to: Path,
    found: ImageSet,
    result: Restoration,
    prior: Prior,
    inputs: dict[str, Any],
    *,
    given: Path | None = None,
) -> dict[str, Any]:
    """Write the three into ``to`` (damage.png where there is a learnt damage, and no picture of
    images that have neither 1 nor 3 channels); the report's facts.

    ``inputs``: what was asked for; ``given``: the damage's file, where it was not learnt from these
    images.
    """
    if prior.image_shape[0] in DRAWN:
        rows = [("observed", found.images), ("restored", result.images)]
        if has_damage(result):
            rows.insert(1, ("simulated", result.simulated))
        grid(rows, title=_span(found.names[:COLUMNS])).save(to / OVERVIEW)
        picture = learnt_picture(result, prior)
        if picture is not None:
            picture.save(to / DAMAGE)
    facts = report(result, prior, inputs, found, given=given)
    write_report(to / REPORT, facts)
    return facts


def has_damage(result: Restoration) -> bool:
    """Whether there is a learnt damage to simulate with: not of the universal restorer, nor PGD."""
    return not isinstance(result.surrogate, nn.Identity)


def _span(names: list[str]) -> str:
    """From which file to which."""
    # Names may hold line breaks, and bytes that are no text.
    first, last = (
        "".join(c if c.isprintable() else "?" for c in name) for name in (names[0], names[-1])
    )
    return first if len(names) == 1 else f"{first} to {last}"


def learnt_picture(result: Restoration, prior: Prior) -> Image.Image | None:
    """The learnt damage to look at; None where the method learns none of that kind."""
    if not isinstance(result.surrogate, ComposedDamage):
        return None
    generator = torch.Generator().manual_seed(result.settings.seed)
    return damage_picture(result.surrogate, prior.typical(3, generator), generator)
