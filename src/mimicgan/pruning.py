"""A fitted damage without the parts that it can do without."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mimicgan.blurs import as_wide
from mimicgan.damage import ComposedDamage, knots, plain_values
from mimicgan.first_guess import FirstGuesses
from mimicgan.mimic import Step
from mimicgan.refine import FitSettings, refine, sampling_noise, simulated_by, value_of
from mimicgan.set_distance import SetDistance
from mimicgan.variations import same_greys


def _absent(_own: Tensor, plain: Tensor) -> Tensor:
    return plain


def _straight(own: Tensor, _plain: Tensor) -> Tensor:
    ends = own[[0, -1]].clamp(-1, 1).round().tolist()
    return torch.lerp(torch.tensor(ends[0]), torch.tensor(ends[1]), (knots() + 1) / 2)


def _rounded(own: Tensor, _plain: Tensor) -> Tensor:
    return own.clamp(-1, 1).round()


def _isotropic(own: Tensor, _plain: Tensor) -> Tensor:
    # As wide as the blur that it takes the place of, in area.
    round_one = (own[0] * own[2]).abs().sqrt()
    return torch.stack([round_one, torch.zeros(()), round_one])


SIMPLER: tuple[tuple[tuple[str, ...], Callable[[Tensor, Tensor], Tensor]], ...] = (
    (("field",), _absent),
    (("columns", "rows"), _absent),
    (("gain", "offset"), _absent),
    (("grain",), _absent),
    (("kernel",), _absent),
    (("flatness",), _absent),
    (("sharpness",), _isotropic),
    (("jitter",), _absent),
    (("affine",), _absent),
    (("outside", "fill"), _absent),
    (("outside", "fill"), _rounded),
    (("pooling",), _absent),
    (("edges",), _absent),
    (("colour",), _absent),
    (("level",), _absent),
    (("level",), _rounded),
    (("noise",), _absent),
    (("spread",), _absent),
    (("chance", "value", "spread", "square"), _absent),
    (("value",), _rounded),
    (("sharpness", "flatness", "kernel"), _absent),
    (("curve",), _straight),
    (("curve", "level"), _absent),
)
"""What a fit tries, the parts with the most parameters first: to do without a part, or to give it
round numbers, as a negative and lost pixels have them."""
BLUR = {"sharpness", "flatness", "kernel"}
"""Parts that no others make up for, and that few observations tell well: a wrong kernel looks like
the right one, and restores badly."""
WIDER = (("kernel",), ("flatness",), ("sharpness",), ("affine",), ("curve",))
WIDTHS = (0.8, 0.87, 0.93, 1.07, 1.15, 1.25)
"""Factors of the sharpness of a blur where one of ``WIDER`` is made simpler, tried one after
another, each on the best so far."""
MANY = 2.5
"""Factor of what a kernel must bring: its hundreds of numbers follow the chance in few images."""
FEW = 64
"""Observations below which the same is true of what has as many numbers: ``FREE``."""
FREE = {"gain", "curve"}
"""A gain and an offset for each pixel, and a curve for each grey."""


def scarcity(count: int) -> float:
    """How many times more than with ``FEW`` observations the parts ``FREE`` must bring with
    ``count``; 1 with more."""
    return max(1.0, FEW / count)


def pruned(
    damage: ComposedDamage,
    bank: Tensor,
    distance: SetDistance,
    settings: FitSettings,
    generator: torch.Generator,
    callback: Callable[[Step], None] | None,
    guesses: FirstGuesses | None,
) -> tuple[ComposedDamage, frozenset[str]]:
    """The damage without the parts that it can do without, and the names of what was taken away."""
    large = bank[: 3 * settings.sample]
    seed = int(torch.randint(2**31, (), generator=generator))

    # The same random numbers for all, so that small differences count.
    def value(damage: ComposedDamage) -> float:
        return value_of(damage, large, distance, torch.Generator().manual_seed(seed), guesses)

    def shares(damage: ComposedDamage) -> Tensor:
        damage.generator = torch.Generator().manual_seed(seed)
        return distance.shares(damage(large))

    simulated = simulated_by(damage, bank, distance, generator)
    noise = float(sampling_noise(simulated, distance, generator).std())
    gone: frozenset[str] = frozenset()
    lowest, nearest = value(damage), shares(damage)

    def dear(part: tuple[str, ...]) -> float:
        return scarcity(len(distance.y)) if FREE & set(part) else 1.0

    def spare(other: ComposedDamage, part: tuple[str, ...]) -> float:
        # How sharp clean images are, the prior may not know so well.
        if not BLUR & set(part) or set(part) >= BLUR:
            return settings.spare * noise * dear(part)
        # Two blurs are told from each other by the same observations, whichever these are.
        apart = float((shares(other) - nearest).std() / math.sqrt(len(distance.y)))
        return settings.spare * min(noise, apart) * (MANY if part == ("kernel",) else 1)

    plain = plain_values(damage.shape, damage.size)
    for part, simpler in SIMPLER:
        without = gone | set(part)
        now = {name: damage.get_parameter(name) for name in part}
        then = {name: simpler(own, plain[name]) for name, own in now.items()}
        if part == ("gain", "offset"):
            # What hides a picture is no pattern of it.
            then = {n: torch.where(damage.grain == 0, then[n], own) for n, own in now.items()}
        if all(torch.equal(now[name], then[name]) for name in part):
            gone = without
            continue
        other = damage.copied()
        with torch.no_grad():
            for name, wanted in then.items():
                other.get_parameter(name).copy_(wanted)
        apart = value(other)
        for each in _instead(part, damage, other, large, distance.y):
            if (nearer := value(each)) < apart:
                other, apart = each, nearer
        if part in WIDER and "sharpness" in other.parts():
            # Another shape or tone has another width, and a round blur is not refined again.
            for factor in WIDTHS:
                wider = other.copied()
                wider.sharpness.mul_(factor)
                if (nearer := value(wider)) < apart:
                    other, apart = wider, nearer
        limit = lowest + spare(other, part)
        if limit < apart < lowest + settings.hopeless:
            steps = settings.pruning_steps
            refine(other, bank, distance, settings, steps, generator, callback, without)
            apart = value(other)
            limit = lowest + spare(other, part)
        if apart < limit:
            damage, gone = other, without
            # What was near by chance alone says nothing of what comes next.
            if apart < lowest or dear(part) > 1:
                lowest, nearest = apart, shares(other)
    return damage, gone


def _instead(
    part: tuple[str, ...], damage: ComposedDamage, other: ComposedDamage, x: Tensor, y: Tensor
) -> Iterator[ComposedDamage]:
    """What may do better than ``other``, which is ``damage`` without ``part`` and no more."""
    if part == ("kernel",):
        # What was under it need not be as wide as the blur was with it.
        yield from as_wide(damage, damage.blur_kernel())
    if part in (("gain", "offset"), ("level",)):
        # The curve went with them; with others the greys ask for another curve.
        for falling in (False, True):
            yield same_greys(other, x, y, falling=falling)
    if part == ("curve",):
        # Straight as well, but for what was too dark or too bright for the observations.
        low, high = float(y.min()), float(y.max())
        for line in (knots(), -knots()):
            clipped = other.copied()
            clipped.curve.copy_(line.clamp(low, high))
            yield clipped
