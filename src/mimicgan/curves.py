"""Figures 1b and 5: how near images come while Algorithm 1 alternates, or by how many there are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mimicgan.errors import needed
from mimicgan.images import to_user
from mimicgan.metrics import psnr
from mimicgan.mimic import Step
from mimicgan.prior import Prior
from mimicgan.restore import Restoration, Settings, restore

BATCHES = 3
"""Batches of each number of observations, where there are images for so many."""


@dataclass
class Curve:
    """What one run went through, a number for each alternation, or how runs of several numbers of
    observations ended."""

    name: str
    losses: list[float] = field(default_factory=list)
    """Mimicking loss, a mean over pixels and images."""
    observations: list[int] = field(default_factory=list)
    """How many images shared a damage."""
    psnrs: list[float] = field(default_factory=list)
    """Mean PSNR in dB against the clean images, which the solver does not see."""


def traced(
    name: str, observed: Tensor, clean: Tensor, prior: Prior, settings: Settings
) -> tuple[Curve, Restoration]:
    """Restore images (n, c, h, w) in [0, 1] by Algorithm 1 or PGD, and follow how it goes.

    All images are one batch. ``clean`` only measures.
    """
    own = settings.pgd if settings.method == "pgd" else settings.mimic
    curve, updates = Curve(name), 0

    def note(step: Step) -> None:
        nonlocal updates
        if step.kind != "latent" or step.estimate is None:
            return
        updates += 1
        if updates % own.latent_steps == 0:
            curve.losses.append(step.mimicking)
            curve.psnrs.append(float(psnr(to_user(step.estimate()), clean).mean()))

    return curve, restore(observed, prior, settings, callback=note)


def by_number(
    name: str,
    observed: Tensor,
    clean: Tensor,
    prior: Prior,
    settings: Settings,
    numbers: Sequence[int],
    at_once: Tensor,
    callback: Callable[[int, Step], None],
) -> Curve:
    """Restore the first of the images (n, c, h, w) in [0, 1] in batches of each of ``numbers``.

    A number has up to ``BATCHES`` batches, as many as n images fill; ``at_once`` is what these
    settings restored of all n as one batch. ``clean`` only measures. The callback also gets the
    number at work.
    """
    curve = Curve(name, observations=list(numbers))
    for number in numbers:
        batches = min(BATCHES, len(observed) // number)
        parts = torch.split(observed[: batches * number], number)
        see = partial(callback, number)
        if number == len(observed):
            found = [at_once]
        else:
            found = [restore(part, prior, settings, callback=see).images for part in parts]
        curve.psnrs.append(float(psnr(torch.cat(found), clean[: batches * number]).mean()))
    return curve


def drawn(
    curves: list[Curve], path: Path, *, against: Literal["alternations", "loss", "observations"]
) -> None:
    """Write a .png of PSNR ``against`` alternations (figure 1b), against the loss (figure 5) or
    against the number of observations."""
    figure_module = needed("matplotlib.figure", "plot")
    figure = figure_module.Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for curve in curves:
        across: Sequence[float] = range(1, len(curve.psnrs) + 1)
        if against != "alternations":
            across = curve.losses if against == "loss" else curve.observations
        axes.plot(across, curve.psnrs, marker=".", label=curve.name)
    axes.set_xlabel("mimicking loss" if against == "loss" else against)
    if against == "observations":
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(sorted({n for curve in curves for n in curve.observations}))
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("PSNR of the restored images, dB")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, format="png", dpi=120)
