"""Damages drawn at random: what a universal restorer is trained on, and where a fit starts."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from mimicgan.damage import PARTS, POOLS, ComposedDamage, knots, plain_values


@torch.no_grad()
def random_damage(
    shape: tuple[int, int, int], generator: torch.Generator, base: ComposedDamage | None = None
) -> ComposedDamage:
    """A damage drawn at random: a few parts, each with a strength from slight to heavy.

    With ``base``, a copy of it in which one part is drawn anew or taken away.
    """
    damage = ComposedDamage(shape).requires_grad_(False)
    plain = plain_values(shape, damage.size)
    damage.generator = generator
    if base is not None:
        damage.load_state_dict(base.state_dict())

    def uniform(low: float, high: float) -> float:
        return float(torch.rand((), generator=generator)) * (high - low) + low

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    def geometry() -> None:
        if uniform(0, 1) < 0.5:
            damage.affine.copy_(normal(2, 3) * uniform(0, 0.15))
        if uniform(0, 1) < 0.4:
            damage.field.copy_(normal(1, 2, 7, 7) * uniform(0, 0.12))
        if uniform(0, 1) < 0.3:
            damage.jitter.fill_(uniform(0.02, 0.3))
        if uniform(0, 1) < 0.5:
            damage.outside.fill_(1.0)
            damage.fill.fill_((-1.0, 0.0, 1.0)[int(uniform(0, 3))])

    def resampling() -> None:
        damage.pooling[int(uniform(0, len(POOLS)))] = uniform(0.5, 1)

    def blur() -> None:
        first, second = (1 / math.exp(uniform(-0.7, 1.8)) for _ in range(2))
        turn = uniform(-1, 1) * min(first, second)
        damage.sharpness.copy_(torch.tensor([first, turn, second]))
        if uniform(0, 1) < 0.5:
            damage.flatness.fill_(uniform(0, 1.5))
        else:
            damage.kernel.copy_(normal(damage.size, damage.size) * uniform(0, 1))

    def edges() -> None:
        damage.edges[int(uniform(0, 2))] = math.exp(uniform(-1, 1.2))

    def tone() -> None:
        line = (knots() + 1) / 2
        kind = uniform(0, 1)
        if kind < 0.3:
            out = line ** math.exp(uniform(-2, 2))
        elif kind < 0.6:
            out = ((line - uniform(0, 1)) * math.exp(uniform(0, 4)) + 0.5).clamp(0, 1)
        else:
            steps = normal(len(line) - 1) * (16 * line.diff()).sqrt()
            walk = torch.cat([torch.zeros(1), steps.cumsum(0)])
            out = (walk * uniform(0, 0.15) + line).clamp(0, 1)
        low, high = uniform(0, 0.5), uniform(0.5, 1)
        if uniform(0, 1) < 0.4:
            low, high = high, low
        if uniform(0, 1) < 0.6:
            low, high = round(low), round(high)
        damage.curve.copy_((low + (high - low) * out) * 2 - 1)
        if uniform(0, 1) < 0.3:
            damage.level.fill_(min(1.0, uniform(0, 2)))
        if shape[0] > 1 and uniform(0, 1) < 0.5:
            colour()

    def colour() -> None:
        grey = torch.full_like(damage.colour, 1 / shape[0])
        mixed = damage.colour + normal(*damage.colour.shape) * uniform(0, 0.4)
        target = grey if uniform(0, 1) < 0.5 else mixed / mixed.sum(dim=1, keepdim=True).clamp(0.5)
        damage.colour.lerp_(target, 1.0 if uniform(0, 1) < 0.5 else uniform(0, 1))

    def fixed_pattern() -> None:
        for part, scale in ((damage.gain, 0.7), (damage.offset, 0.7)):
            cells = int(uniform(2, 9))
            kind = uniform(0, 1)
            if kind < 0.4:
                smooth = normal(1, shape[0], cells, cells) * uniform(0, scale)
                part.copy_(functional.interpolate(smooth, shape[1:], mode="bicubic")[0])
            elif kind < 0.6:
                part.copy_(normal(*shape) * uniform(0, scale))
            elif kind < 0.8:
                holes = torch.rand(shape, generator=generator) < uniform(0, 0.5)
                part.copy_(torch.where(holes, normal(*shape), 0.0))

    def noise() -> None:
        damage.noise[int(uniform(0, 3))] = math.exp(uniform(-3, 0.3))

    def replacement() -> None:
        k = int(uniform(0, 5))
        for each in (k, (k + 1) % 2) if k < 2 and uniform(0, 1) < 0.5 else (k,):
            share = uniform(0.03, 0.85) if each < 4 else 0.99
            damage.chance[each] = math.log(share / (1 - share))
            damage.value[each] = (-1.0, 0.0, 1.0, uniform(-1, 1))[int(uniform(0, 4))]
            damage.spread[each] = uniform(0, 0.7) if uniform(0, 1) < 0.3 else 0.0
        if k < 2 and uniform(0, 1) < 0.3:
            # Bits that flip on the way make white of black and black of white.
            share = uniform(0.02, 0.4)
            damage.chance[:2] = math.log(share / (1 - share))
            damage.value[:2].copy_(torch.tensor([-1.0, 1.0]))
            damage.spread[:2] = 0.0
        damage.square.fill_(math.log(uniform(0.2, 0.7) * shape[1]))

    order = torch.randperm(len(PARTS), generator=generator).tolist()
    draw = (geometry, resampling, blur, edges, tone, fixed_pattern, noise, replacement)
    for index in order[: (1, 1, 1, 2, 2, 3)[int(uniform(0, 6))] if base is None else 1]:
        for name in PARTS[index]:
            damage.get_parameter(name).copy_(plain[name])
        if base is None or uniform(0, 1) < 0.75:
            draw[index]()
    return damage.eval()
