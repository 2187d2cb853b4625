"""How far a learnt damage is from explaining the observations, beyond chance."""

import torch
from torch import Tensor

from mimicgan.images import rounded
from mimicgan.learnt import Damage
from mimicgan.prior import Prior
from mimicgan.refine import sampling_noise
from mimicgan.set_distance import SetDistance, random_corners

SLIGHT = 0.02
"""A set distance that does a restorer no harm."""
JUDGES = 256
"""Generated images on which the restorer's error is measured."""


def some(y: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most ``count`` of y, from anywhere: files in order may be of one kind after another."""
    return y if len(y) <= count else y[torch.randperm(len(y), generator=generator)[:count]]


@torch.no_grad()
def set_misfit(
    distance: SetDistance, simulated: Tensor, mismatch: float, generator: torch.Generator
) -> float:
    """Set distance of ``simulated`` (m, c, h, w) beyond sampling noise, in units of a slight one.

    A slight distance does a restorer no harm, nor one that clean images have from the bank:
    ``mismatch``.
    """
    noise = sampling_noise(simulated, distance, generator)
    unit = max(mismatch, SLIGHT) + 2 * float(noise.std())
    return (distance(simulated).item() - float(noise.mean())) / unit


@torch.no_grad()
def prior_mismatch(images: Tensor, bank: Tensor, generator: torch.Generator) -> float:
    """Mean set distance of real clean images to generated ones; both (n, c, h, w) in [-1, 1]."""
    shape = (images.shape[1], images.shape[2], images.shape[3])
    apart = [
        SetDistance(part, random_corners(shape, generator))(bank)
        for part in torch.split(images, 100)
        if len(part) > 1
    ]
    return float(torch.stack(apart).mean())


@torch.no_grad()
def misfit_of(damage: Damage, y: Tensor, prior: Prior, generator: torch.Generator) -> float:
    """Misfit, as ``match`` has it, of a damage that was learnt elsewhere to y (n, c, h, w)."""
    y = some(y, 2 * JUDGES, generator)
    bank = rounded(prior.typical(2 * len(y) + 200, generator))
    return max(
        simulated_misfit(damage, y, bank, prior.mismatch, generator),
        restored_misfit(damage, y, bank, prior.mismatch, generator),
    )


@torch.no_grad()
def simulated_misfit(
    damage: Damage, y: Tensor, bank: Tensor, mismatch: float, generator: torch.Generator
) -> float:
    """Misfit of f(G(z)) to the observations y (n, c, h, w), as in ``fit_damage``."""
    y = some(y, 2 * JUDGES, generator)
    shape = (y.shape[1], y.shape[2], y.shape[3])
    simulated = damage.simulate(bank[: 2 * len(y) + 200], generator)
    distance = SetDistance(y, random_corners(shape, generator))
    return set_misfit(distance, simulated, mismatch, generator)


@torch.no_grad()
def restored_misfit(
    damage: Damage, y: Tensor, bank: Tensor, mismatch: float, generator: torch.Generator
) -> float:
    """Misfit, as in ``fit_damage``, of what is restored of y (n, c, h, w) and of f(G(z)).

    A restorer that was trained on the wrong damage shows it: it makes of the observations what it
    makes of no simulated one.
    """
    y = some(y, 2 * JUDGES, generator)
    shape = (y.shape[1], y.shape[2], y.shape[3])
    restored = SetDistance(damage.guess(y), random_corners(shape, generator))
    again = damage.guess(damage.simulate(bank[: 2 * len(y) + 200], generator))
    return set_misfit(restored, again, mismatch, generator)
