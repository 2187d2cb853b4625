"""Gradient steps on a damage, and what they are judged by."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mimicgan.damage import PARTS, ComposedDamage, knots
from mimicgan.errors import at_least, within
from mimicgan.first_guess import FirstGuesses
from mimicgan.mimic import Step
from mimicgan.set_distance import SetDistance

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
    # So many numbers follow the chance in few observations; their start is a good one.
    "gain": 0.002,
    "offset": 0.002,
}
"""Adam's learning rates of the parts of a damage; 0.02 for those not named."""


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
    that it has from the choice of the observations; one of a blur, that the rise has from it."""
    hopeless: float = 0.2
    """Rise of the set distance that no steps after it will make good."""
    margin: float = 0.03
    """Images count as undamaged unless a damage brings what damages are compared by (the set
    distance, and ``paired`` of the first guesses) down by this much."""
    misfit_limit: float = 2.0
    """Misfit above which the damage counts as not understood, and the universal restorer restores
    (method auto)."""

    def __post_init__(self) -> None:
        numbers = dict(vars(self))
        # No misfit at all may be too high for a user.
        del numbers["misfit_limit"]
        within(0, math.inf, **numbers)
        at_least(2, bank=self.bank)
        at_least(1, parents=self.parents, sample=self.sample, starts=self.starts)


@torch.no_grad()
def simulated_by(
    damage: ComposedDamage, bank: Tensor, distance: SetDistance, generator: torch.Generator
) -> Tensor:
    """What ``damage`` makes of some 200 images more than twice as many as are observed."""
    damage.generator = generator
    out: Tensor = damage(bank[: 2 * len(distance.y) + 200])
    return out


@torch.no_grad()
def sampling_noise(
    simulated: Tensor, distance: SetDistance, generator: torch.Generator, repeats: int = 12
) -> Tensor:
    """Distances to as many simulated observations as there are real ones: sampling noise alone.

    To half of them where there are too few for that.
    """
    count = min(len(distance.y), len(simulated) // 2)
    null = []
    for _ in range(repeats):
        order = torch.randperm(len(simulated), generator=generator)
        null.append(distance.to(simulated[order[:count]])(simulated[order[count:]]))
    return torch.stack(null)


@torch.no_grad()
def value_of(
    damage: ComposedDamage,
    x: Tensor,
    distance: SetDistance,
    generator: torch.Generator,
    guesses: FirstGuesses | None = None,
) -> float:
    """What damages are compared by: the set distance, and that of the first guesses if any."""
    damage.requires_grad_(False).generator = generator
    value = distance(damage(x)).item()
    return value if guesses is None else value + guesses.apart(damage, distance)


def refine(
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
    named = {n: damage.get_parameter(n) for n in live(damage) if n not in fixed}
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
        loss = apart + settings.penalty * complexity(damage)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if callback is not None:
            callback(Step(step, "surrogate", loss.item(), apart.item()))
    damage.requires_grad_(False).eval()


def live(damage: ComposedDamage) -> list[str]:
    """The parameters that a fit should move: of the parts that are on, or need no turning on.

    Geometry, resampling, edges, noise and replaced pixels stay off where they are off: they
    cost time and blur the gradient, and drawing at random finds them; so does lost pixels' own
    noise, which could make white of some and black of others. Columns and rows that
    show others have no gradient, and the grain of each pixel is best as it was found.
    """
    on = damage.parts() | {"sharpness", "curve", "gain"}
    names = [name for part in PARTS if part[0] in on for name in part]
    still = {"grain"} if len(damage.colour) > 1 else {"grain", "colour"}
    if not damage.spread.any():
        still.add("spread")
    return [name for name in names if name not in still]


def complexity(damage: ComposedDamage) -> Tensor:
    """How far from the identity: a sum of absolute deviations, each part on its own scale.

    The curve counts by its bends, each knot's distance from the line through its neighbours:
    where few pixels fall, it goes straight on. Images that are
    mirrored, or turned by a right angle, are as simple as those that are not.
    """
    at = knots()
    part = (at[1:-1] - at[:-2]) / (at[2:] - at[:-2])
    bends = damage.curve[1:-1] - damage.curve[:-2].lerp(damage.curve[2:], part)
    place = torch.eye(2, 3) + damage.affine
    parts = [
        20 * (place - place.detach().round()).abs().mean(),
        20 * damage.field.abs().mean(),
        damage.jitter.abs(),
        0.1 * damage.outside.abs(),
        damage.pooling.abs().sum(),
        0.2 * damage.edges.abs().sum(),
        bends.abs().sum(),
        damage.level.abs(),
        (damage.colour - torch.eye(len(damage.colour))).abs().mean(),
        20 * damage.gain.abs().mean(),
        20 * damage.offset.abs().mean(),
        0.2 * damage.noise.abs().sum(),
        0.1 * damage.chance.sigmoid().sum(),
        0.1 * damage.flatness.abs(),
        0.1 * damage.kernel.abs().mean(),
    ]
    return torch.stack(parts).sum()
