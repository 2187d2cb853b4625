"""The fit of a damage: search at random, vary the best, refine by gradients on a set distance."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mimicgan.damage import ComposedDamage
from mimicgan.first_guess import FirstGuesses, Restore
from mimicgan.mimic import Step
from mimicgan.misfit import SLIGHT, set_misfit, some
from mimicgan.pattern import pixelwise
from mimicgan.places import turned
from mimicgan.pruning import FEW, pruned, scarcity
from mimicgan.random_damage import random_damage
from mimicgan.refine import FitSettings, refine, sampling_noise, simulated_by, value_of
from mimicgan.set_distance import SetDistance, random_corners
from mimicgan.variations import edged, lumps, matched, saturated

ALIKE = 2
"""Damages of the same parts that are varied in each round: more would be copies of one."""


@dataclass(frozen=True)
class Fit:
    """A fitted damage, and how well it explains the observations."""

    damage: ComposedDamage
    misfit: float
    """Set distance to the observations beyond sampling noise, in units of a slight one (or of what
    the prior itself leaves): about 1 at most where the damage is the right one."""
    undamaged: bool
    """Whether the observations look like clean images, so that the damage is the identity."""


def fit_damage(
    y: Tensor,
    bank: Tensor,
    settings: FitSettings,
    generator: torch.Generator,
    callback: Callable[[Step], None] | None = None,
    mismatch: float = 0.02,
    restore: Restore | None = None,
) -> Fit:
    """The damage under which generated images ``bank`` (m, c, h, w) look like y (n, c, h, w).

    All images are in [-1, 1]. ``mismatch`` is the set distance of real clean images to the bank,
    ``restore`` gives first guesses of the clean images, knowing no damage.
    """
    shape = (y.shape[1], y.shape[2], y.shape[3])
    y = some(y, 2 * settings.sample, generator)
    distance = SetDistance(y, random_corners(shape, generator))
    large = bank[: 4 * settings.sample]
    guesses = None if restore is None else FirstGuesses(y, restore, settings.paired)
    few = len(y) < FEW
    # What so many numbers must bring, beyond what follows the chance in few images.
    dear = 0.0
    if few:
        clean = bank[: 2 * len(y) + 200]
        noise = float(sampling_noise(clean, distance, generator).std())
        dear = settings.spare * noise * scarcity(len(y))

    def value(damage: ComposedDamage, x: Tensor) -> float:
        apart = value_of(damage, x, distance, generator, guesses)
        return apart + dear if few and pixelwise(damage) else apart

    tried = itertools.count()

    def trial(damage: ComposedDamage, x: Tensor) -> float:
        apart = value(damage, x)
        if callback is not None:
            callback(Step(next(tried), "search", apart, apart))
        return apart

    def stepped(
        damage: ComposedDamage, steps: int, gone: frozenset[str] = frozenset()
    ) -> tuple[float, ComposedDamage]:
        # Where pixels are replaced at random, gradients are rough, and may lead away.
        before = damage.copied()
        if few and not pixelwise(damage):
            gone = gone | {"gain", "offset"}
        refine(damage, bank, distance, settings, steps, generator, callback, gone)
        return min(((value(each, large), each) for each in (before, damage)), key=_first)

    starts = _search(shape, bank[: settings.sample], y, guesses, trial, settings, generator)
    best = min((stepped(start, settings.short_steps) for start in starts), key=_first)[1]
    best = stepped(best, settings.long_steps)[1]
    best, gone = pruned(best, bank, distance, settings, generator, callback, guesses)
    apart, best = stepped(best, settings.long_steps, gone)
    if "curve" in best.parts():
        exact = saturated(best, y)
        best = exact if value(exact, large) < apart + SLIGHT / 4 else best
    plain = ComposedDamage(shape).requires_grad_(False).eval()
    gain = value(plain, large) - value(best, large)
    if undamaged := gain < settings.margin:
        best = plain
    simulated = simulated_by(best, bank, distance, generator)
    return Fit(best, set_misfit(distance, simulated, mismatch, generator), undamaged)


def _first(pair: tuple[float, ComposedDamage]) -> float:
    return pair[0]


def _search(
    shape: tuple[int, int, int],
    x: Tensor,
    y: Tensor,
    guesses: FirstGuesses | None,
    value: Callable[[ComposedDamage, Tensor], float],
    settings: FitSettings,
    generator: torch.Generator,
) -> list[ComposedDamage]:
    """The nearest damages, without gradients: random ones, then variations of the nearest."""

    plain = ComposedDamage(shape).requires_grad_(False)

    def ranked(
        damages: Iterator[ComposedDamage], x: Tensor = x
    ) -> list[tuple[float, ComposedDamage]]:
        return [(value(damage, x), damage) for damage in damages]

    def variations(parents: list[ComposedDamage]) -> Iterator[ComposedDamage]:
        for index in range(settings.children):
            yield random_damage(shape, generator, parents[index % len(parents)])
        for parent in (plain, parents[0]):
            yield from turned(parent, generator)
        nearest = (plain, *parents[: settings.parents // 2])
        for parent in nearest:
            yield from matched(parent, x, y, guesses)
        for parent in nearest:
            yield from lumps(parent, x, y)
            if len(y) < FEW:
                yield from edged(parent, x, y)

    # A third of the images is enough to tell which draws deserve a closer look.
    drawn = (random_damage(shape, generator) for _ in range(settings.draws))
    rough = sorted(ranked(drawn, x[: max(1, len(x) // 3)]), key=_first)[: 4 * settings.parents]
    found = ranked(iter([plain, *(damage for _, damage in rough)]))
    for _ in range(settings.rounds):
        found = _various(found, settings.parents, ALIKE)
        found += ranked(variations([damage for _, damage in found]))
    return [damage for _, damage in _various(found, settings.starts, 1)]


def _various(
    found: list[tuple[float, ComposedDamage]], count: int, alike: int
) -> list[tuple[float, ComposedDamage]]:
    """The nearest ``count``, at most ``alike`` of them with the same parts where others are left;
    nearest first."""
    found = sorted(found, key=_first)
    seen: dict[frozenset[str], int] = {}
    ranks = []
    for index, (_, damage) in enumerate(found):
        kind = damage.parts()
        seen[kind] = seen.get(kind, 0) + 1
        ranks.append((seen[kind] > alike, index))
    return [found[index] for _, index in sorted(sorted(ranks)[:count], key=lambda rank: rank[1])]
