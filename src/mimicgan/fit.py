"""The fit of a damage: search at random, vary the best, refine by gradients on a set distance."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mimicgan.damage import ComposedDamage, knots
from mimicgan.first_guess import FirstGuesses, Restore
from mimicgan.mimic import Step
from mimicgan.random_damage import random_damage
from mimicgan.set_distance import SetDistance, random_corners
from mimicgan.variations import matched, turned

RATES = {
    "affine": 0.005,
    "field": 0.005,
    "jitter": 0.01,
    "outside": 0.01,
    "pooling": 0.04,
    "sharpness": 0.05,
    "kernel": 0.05,
    "chance": 0.1,
    "value": 0.03,
    "square": 0.03,
}
"""Adam's learning rates of the parts of a damage; 0.02 for those not named."""

SLIGHT = 0.02
"""A set distance that does a restorer no harm."""


def _absent(_own: Tensor, plain: Tensor) -> Tensor:
    return plain


def _straight(own: Tensor, _plain: Tensor) -> Tensor:
    ends = own[[0, -1]].clamp(-1, 1).round().tolist()
    return torch.lerp(torch.tensor(ends[0]), torch.tensor(ends[1]), (knots() + 1) / 2)


def _rounded(own: Tensor, _plain: Tensor) -> Tensor:
    return own.clamp(-1, 1).round()


SIMPLER: tuple[tuple[tuple[str, ...], Callable[[Tensor, Tensor], Tensor]], ...] = (
    (("field",), _absent),
    (("columns", "rows"), _absent),
    (("gain", "offset"), _absent),
    (("kernel",), _absent),
    (("jitter",), _absent),
    (("affine",), _absent),
    (("outside", "fill"), _absent),
    (("outside", "fill"), _rounded),
    (("pooling",), _absent),
    (("colour",), _absent),
    (("level",), _absent),
    (("noise",), _absent),
    (("spread",), _absent),
    (("chance", "value", "spread", "square"), _absent),
    (("value",), _rounded),
    (("sharpness", "kernel"), _absent),
    (("curve",), _straight),
    (("curve", "level"), _absent),
)
"""What a fit tries, the parts with the most parameters first: to do without a part, or to give it
round numbers, as a negative and lost pixels have them."""


@dataclass(frozen=True)
class FitSettings:
    """Numbers of the fit of a damage."""

    bank: int = 4096
    """Generated images that stand for the prior."""
    draws: int = 200
    """Random damages tried first."""
    rounds: int = 4
    """Rounds in which the nearest damages are varied."""
    parents: int = 8
    """Nearest damages that are varied in each round."""
    children: int = 32
    """Variations by a part drawn anew, in each round; some by moments come on top."""
    sample: int = 128
    """Generated images compared with the observations at a time."""
    starts: int = 3
    """Nearest damages that are refined by gradient steps."""
    short_steps: int = 40
    """Gradient steps of each of them."""
    long_steps: int = 100
    """Further gradient steps of the best one."""
    paired: float = 0.1
    """Weight, where damages are compared, of how far they take each first guess of a clean image
    from its observation: sets alone cannot always tell a damage from its mirror image."""
    penalty: float = 0.005
    """Weight of the damage's distance from the identity."""
    pruning_steps: int = 15
    """Gradient steps after a part is taken away, before it is decided whether it was needed."""
    spare: float = 2.0
    """A part is taken away unless the set distance rises by more than this many times the noise
    that it has from the choice of the observations."""
    hopeless: float = 0.2
    """Rise of the set distance that no steps after it will make good."""
    margin: float = 0.03
    """Images count as undamaged unless a damage brings the set distance down by this much."""
    misfit_limit: float = 2.0
    """Misfit above which the damage counts as not understood."""


@dataclass(frozen=True)
class Fit:
    """A fitted damage, and how well it explains the observations."""

    damage: ComposedDamage
    misfit: float
    """Set distance to the observations beyond sampling noise, in units of a slight one (or of what
    the prior itself leaves): about 1 at most where the damage was understood."""
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
    y = _some(y, 2 * settings.sample, generator)
    distance = SetDistance(y, random_corners(shape, generator))
    large = bank[: 4 * settings.sample]
    guesses = None if restore is None else FirstGuesses(y, restore, settings.paired)

    def value(damage: ComposedDamage, x: Tensor) -> float:
        return _value(damage, x, distance, generator, guesses)

    tried = itertools.count()

    def trial(damage: ComposedDamage, x: Tensor) -> float:
        apart = value(damage, x)
        if callback is not None:
            callback(Step(next(tried), "search", apart, apart))
        return apart

    refined = []
    for start in _search(shape, bank[: settings.sample], y, trial, settings, generator):
        _refine(start, bank, distance, settings, settings.short_steps, generator, callback)
        refined.append((value(start, large), start))
    best = min(refined, key=_first)[1]
    _refine(best, bank, distance, settings, settings.long_steps, generator, callback)
    best, gone = _pruned(best, bank, distance, settings, generator, callback, guesses)
    _refine(best, bank, distance, settings, settings.long_steps, generator, callback, gone)
    plain = ComposedDamage(shape).requires_grad_(False).eval()
    gain = value(plain, large) - value(best, large)
    if undamaged := gain < settings.margin:
        best = plain
    simulated = _simulated(best, bank, distance, generator)
    return Fit(best, set_misfit(distance, simulated, mismatch, generator), undamaged)


def _some(y: Tensor, count: int, generator: torch.Generator) -> Tensor:
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
    noise = _noise(simulated, distance, generator)
    unit = max(mismatch, SLIGHT) + 2 * float(noise.std())
    return (distance(simulated).item() - float(noise.mean())) / unit


def _pruned(
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

    def value(damage: ComposedDamage) -> float:
        # The same random numbers for all, so that small differences count.
        return _value(damage, large, distance, torch.Generator().manual_seed(seed), guesses)

    simulated = _simulated(damage, bank, distance, generator)
    spare = settings.spare * float(_noise(simulated, distance, generator).std())
    gone: frozenset[str] = frozenset()
    lowest = value(damage)
    plain = ComposedDamage(damage.shape)
    for part, simpler in SIMPLER:
        without = gone | set(part)
        now = {name: damage.get_parameter(name) for name in part}
        then = {name: simpler(own, plain.get_parameter(name)) for name, own in now.items()}
        if all(torch.equal(now[name], then[name]) for name in part):
            gone = without
            continue
        other = damage.copied()
        with torch.no_grad():
            for name, wanted in then.items():
                other.get_parameter(name).copy_(wanted)
        apart = value(other)
        if lowest + spare < apart < lowest + settings.hopeless:
            steps = settings.pruning_steps
            _refine(other, bank, distance, settings, steps, generator, callback, without)
            apart = value(other)
        if apart < lowest + spare:
            damage, gone, lowest = other, without, min(lowest, apart)
    return damage, gone


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


def _first(pair: tuple[float, ComposedDamage]) -> float:
    return pair[0]


def _search(
    shape: tuple[int, int, int],
    x: Tensor,
    y: Tensor,
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
        for parent in (plain, *parents[: settings.parents // 2]):
            yield from matched(parent, x, y)

    # A third of the images is enough to tell which draws deserve a closer look.
    drawn = (random_damage(shape, generator) for _ in range(settings.draws))
    rough = sorted(ranked(drawn, x[: max(1, len(x) // 3)]), key=_first)[: 4 * settings.parents]
    found = ranked(iter([plain, *(damage for _, damage in rough)]))
    for _ in range(settings.rounds):
        found = sorted(found, key=_first)[: settings.parents]
        found += ranked(variations([damage for _, damage in found]))
    return [damage for _, damage in sorted(found, key=_first)[: settings.starts]]


@torch.no_grad()
def _simulated(
    damage: ComposedDamage, bank: Tensor, distance: SetDistance, generator: torch.Generator
) -> Tensor:
    damage.generator = generator
    out: Tensor = damage(bank[: 2 * len(distance.y) + 200])
    return out


@torch.no_grad()
def _noise(
    simulated: Tensor, distance: SetDistance, generator: torch.Generator, repeats: int = 12
) -> Tensor:
    """Distances to as many simulated observations as there are real ones: sampling noise alone."""
    count = len(distance.y)
    null = []
    for _ in range(repeats):
        order = torch.randperm(len(simulated), generator=generator)
        null.append(distance.to(simulated[order[:count]])(simulated[order[count:]]))
    return torch.stack(null)


@torch.no_grad()
def _value(
    damage: ComposedDamage,
    x: Tensor,
    distance: SetDistance,
    generator: torch.Generator,
    guesses: FirstGuesses | None = None,
) -> float:
    damage.requires_grad_(False).generator = generator
    value = distance(damage(x)).item()
    return value if guesses is None else value + guesses.apart(damage, distance)


def _refine(
    damage: ComposedDamage,
    bank: Tensor,
    distance: SetDistance,
    settings: FitSettings,
    steps: int,
    generator: torch.Generator,
    callback: Callable[[Step], None] | None,
    fixed: frozenset[str] = frozenset(),
) -> None:
    """Gradient steps on the live parameters but those in ``fixed``."""
    damage.requires_grad_(False).generator = generator
    named = {n: damage.get_parameter(n) for n in damage.live() if n not in fixed}
    if not named:
        return
    groups = [{"params": [p], "lr": RATES.get(name, 0.02)} for name, p in named.items()]
    for p in named.values():
        p.requires_grad_(True)
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
