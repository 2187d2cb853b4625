"""Mimicry by matching distributions: fit f so that f(G(z)) looks like the observations, as a set.

Algorithm 1 pairs a wrong guess of every image with its observation. Here nothing is paired: random
damages are tried, the nearest are refined by gradient steps on a set distance, and the best one
makes unlimited pairs (f(G(z)), G(z)) on which the prior's restorer is fine-tuned.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mimicgan.damage import ComposedDamage
from mimicgan.learnt import Damage, warm_restorer
from mimicgan.losses import distances, energy_distance
from mimicgan.mimic import Step
from mimicgan.prior import Prior
from mimicgan.random_damage import random_damage
from mimicgan.training.restorer import fit_restorer, random_pairs


@dataclass(frozen=True)
class MatchSettings:
    """Numbers of the default method."""

    bank: int = 2048
    """Generated images that stand for the prior."""
    draws: int = 200
    """Random damages tried first."""
    sample: int = 128
    """Generated images compared with the observations at a time."""
    starts: int = 3
    """Nearest damages that are refined."""
    short_steps: int = 40
    """Gradient steps of each of them."""
    long_steps: int = 160
    """Further gradient steps of the best one."""
    penalty: float = 0.005
    """Weight of the damage's distance from the identity."""
    margin: float = 0.03
    """Images count as undamaged unless a damage brings the set distance down by this much."""
    restorer_steps: int = 200
    """Updates of the restorer on pairs (f(G(z)), G(z))."""
    restorer_batch: int = 64
    restorer_rate: float = 5e-4
    random_share: float = 0.25
    """Share of those pairs that get a random damage instead: insurance against a wrong fit."""
    fewest: int = 4
    """With fewer observations nothing is fitted and the universal restorer is used."""
    misfit_limit: float = 6.0
    """Misfit above which the damage counts as not understood."""


RATES = {
    "affine": 0.005,
    "field": 0.005,
    "jitter": 0.01,
    "pooling": 0.04,
    "sharpness": 0.05,
    "kernel": 0.05,
    "chance": 0.1,
    "value": 0.03,
    "square": 0.03,
}
"""Adam's learning rates of the parts of a damage; 0.02 for those not named."""


class SetDistance:
    """Distance of simulated damage to fixed observations (n, c, h, w) in [-1, 1].

    A mean of energy distances over views of the images: whole, pooled, differenced, their grey
    values and roughness sorted, and small patches; each divided by the spread of the observations
    in that view.
    """

    def __init__(self, y: Tensor, generator: torch.Generator) -> None:
        height, width = y.shape[2:]
        self.corners = [
            (
                int(torch.randint(height - 4, (), generator=generator)),
                int(torch.randint(width - 4, (), generator=generator)),
            )
            for _ in range(6)
        ]
        self.observed = self.views(y)
        self.scales = [
            distances(v, v).mean().clamp(min=0.05 * v.shape[1] ** 0.5) for v in self.observed
        ]

    def views(self, x: Tensor) -> list[Tensor]:
        """The views of x (n, c, h, w), each (m, k)."""
        across, along = x.diff(dim=3), x.diff(dim=2)
        edges = torch.cat([across.flatten(1), along.flatten(1)], dim=1)
        size = x.shape[2] * x.shape[3]
        every = torch.linspace(0, size - 1, 64).long()
        grey = x.flatten(2).sort(dim=2).values[:, :, every].flatten(1)
        rough = edges.abs().sort(dim=1).values[:, :: max(1, edges.shape[1] // 64)]
        patches = torch.cat([x[:, :, i : i + 4, j : j + 4].flatten(1) for i, j in self.corners])
        pooled = functional.avg_pool2d(x, 4, ceil_mode=True).flatten(1)
        return [x.flatten(1), pooled, edges, grey, rough, patches]

    def __call__(self, simulated: Tensor) -> Tensor:
        """The distance of simulated observations (m, c, h, w); about zero when they match."""
        terms = [
            energy_distance(ours, theirs) / scale
            for ours, theirs, scale in zip(
                self.views(simulated), self.observed, self.scales, strict=True
            )
        ]
        return torch.stack(terms).mean()


def match(
    y: Tensor,
    prior: Prior,
    settings: MatchSettings,
    generator: torch.Generator,
    callback: Callable[[Step], None] | None = None,
) -> Damage:
    """Fit the damage of observations y (n, c, h, w) in [-1, 1], then a restorer for it."""
    if len(y) < settings.fewest:
        return Damage.universal(prior)
    bank = as_pictures(prior.sample(settings.bank, generator))
    surrogate, misfit = fit_damage(y, bank, settings, generator, callback)
    seed = int(torch.randint(2**31, (), generator=generator))
    restorer = fit_restorer(
        warm_restorer(prior),
        simulated_pairs(surrogate, bank, settings),
        settings.restorer_steps,
        settings.restorer_rate,
        seed,
        (lambda step, loss: callback(Step(step, "restorer", loss, loss))) if callback else None,
    )
    return Damage(surrogate, restorer, misfit)


def as_pictures(x: Tensor) -> Tensor:
    """Images in [-1, 1] rounded to 256 levels: tanh never quite reaches a real image's black."""
    return ((x + 1) * 127.5).round() / 127.5 - 1


def fit_damage(
    y: Tensor,
    bank: Tensor,
    settings: MatchSettings,
    generator: torch.Generator,
    callback: Callable[[Step], None] | None = None,
) -> tuple[ComposedDamage, float]:
    """The damage under which generated images ``bank`` (m, c, h, w) look like y, and its misfit."""
    distance = SetDistance(y[: 2 * settings.sample], generator)
    shape = (y.shape[1], y.shape[2], y.shape[3])
    trial = bank[: settings.sample]
    undamaged = ComposedDamage(shape)
    plain = _value(undamaged, trial, distance, generator)
    candidates: list[tuple[float, ComposedDamage]] = [(plain, copy.deepcopy(undamaged))]
    for _ in range(settings.draws):
        candidate = random_damage(shape, generator)
        candidates.append((_value(candidate, trial, distance, generator), candidate))
    refined = []
    for _, candidate in sorted(candidates, key=lambda pair: pair[0])[: settings.starts]:
        _refine(candidate, bank, distance, settings, settings.short_steps, generator, callback)
        refined.append((_value(candidate, trial, distance, generator), candidate))
    best = min(refined, key=lambda pair: pair[0])[1]
    _refine(best, bank, distance, settings, settings.long_steps, generator, callback)
    if plain - _value(best, trial, distance, generator) < settings.margin:
        best = undamaged
    return best, _misfit(best, y, bank, distance, generator)


@torch.no_grad()
def _value(
    damage: ComposedDamage, x: Tensor, distance: SetDistance, generator: torch.Generator
) -> float:
    damage.requires_grad_(False).generator = generator
    return distance(damage(x)).item()


def _refine(
    damage: ComposedDamage,
    bank: Tensor,
    distance: SetDistance,
    settings: MatchSettings,
    steps: int,
    generator: torch.Generator,
    callback: Callable[[Step], None] | None,
) -> None:
    damage.requires_grad_(True).generator = generator
    groups = [{"params": [p], "lr": RATES.get(name, 0.02)} for name, p in damage.named_parameters()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - 0.9 * step / steps)
        x = bank[torch.randint(len(bank), (settings.sample,), generator=generator)]
        apart = distance(damage(x))
        loss = apart + settings.penalty * damage.complexity()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if callback is not None:
            callback(Step(step, "surrogate", loss.item(), apart.item()))
    damage.requires_grad_(False).eval()


@torch.no_grad()
def _misfit(
    damage: ComposedDamage,
    y: Tensor,
    bank: Tensor,
    distance: SetDistance,
    generator: torch.Generator,
    repeats: int = 12,
) -> float:
    """How many standard deviations of sampling noise the observations lie from simulated ones."""
    count = min(len(y), len(distance.observed[0]))
    damage.generator = generator
    simulated = damage(bank[: 4 * len(distance.observed[0]) + 256])
    actual = distance(simulated).item()
    null = []
    for _ in range(repeats):
        order = torch.randperm(len(simulated), generator=generator)
        apart = SetDistance.__new__(SetDistance)
        apart.corners, apart.scales = distance.corners, distance.scales
        apart.observed = distance.views(simulated[order[:count]])
        null.append(apart(simulated[order[count:]]))
    noise = torch.stack(null)
    return float((actual - noise.mean()) / noise.std().clamp(min=1e-6))


def simulated_pairs(
    surrogate: ComposedDamage, bank: Tensor, settings: MatchSettings
) -> Callable[[int, torch.Generator], tuple[Tensor, Tensor]]:
    """Pairs for the restorer: most under the learnt damage, some under random ones."""
    random_count = round(settings.random_share * settings.restorer_batch)
    random = random_pairs(bank, random_count)

    def pairs(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        index = torch.randint(
            len(bank), (settings.restorer_batch - random_count,), generator=generator
        )
        clean = bank[index]
        with torch.no_grad():
            surrogate.generator = generator
            damaged = surrogate(clean)
        if not random_count:
            return damaged, clean
        others, sources = random(step, generator)
        return torch.cat([damaged, others]), torch.cat([clean, sources])

    return pairs
