"""Figures 1b and 5: how near the images come while Algorithm 1 alternates."""

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from mimicgan.errors import needed
from mimicgan.images import to_user
from mimicgan.metrics import psnr
from mimicgan.mimic import Step
from mimicgan.prior import Prior
from mimicgan.restore import Restoration, Settings, restore


@dataclass
class Curve:
    """What one run went through; a number for each alternation."""

    name: str
    losses: list[float] = field(default_factory=list)
    """Mimicking loss, a mean over pixels and images."""
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


def drawn(curves: list[Curve], path: Path, *, against: str) -> None:
    """Write a .png of PSNR ``against`` alternations (figure 1b) or against the loss (figure 5)."""
    figure_module = needed("matplotlib.figure", "plot")
    figure = figure_module.Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for curve in curves:
        across = curve.losses if against == "loss" else range(1, len(curve.psnrs) + 1)
        axes.plot(across, curve.psnrs, marker=".", label=curve.name)
    axes.set_xlabel("mimicking loss" if against == "loss" else "alternations")
    axes.set_ylabel("PSNR of the restored images, dB")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, format="png", dpi=120)
