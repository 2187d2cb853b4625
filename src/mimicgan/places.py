"""Variations of where a damage shows things: turned, mirrored, moved and scaled."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mimicgan.damage import ComposedDamage


@torch.no_grad()
def turned(damage: ComposedDamage, generator: torch.Generator) -> Iterator[ComposedDamage]:
    """Copies that mirror the images or turn them first, by right angles where they are square, and
    by two angles drawn at random: no gradient leads so far."""
    _, height, width = damage.shape
    angles = torch.rand(2, generator=generator) * 2 * torch.pi
    cos, sin = angles.cos(), angles.sin()
    turns = [torch.diag(torch.tensor(signs)) for signs in ((1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0))]
    if height == width:
        turns += [turn.flip(0) for turn in (torch.eye(2), *turns)]
    turns += [torch.tensor([[c, -s], [s, c]]) for c, s in zip(cos, sin, strict=True)]
    for turn in turns:
        other = damage.copied()
        other.affine.copy_(turn @ (torch.eye(2, 3) + damage.affine) - torch.eye(2, 3))
        yield other


@torch.no_grad()
def same_place(damage: ComposedDamage, x: Tensor, y: Tensor) -> ComposedDamage:
    """A copy that moves and stretches images, so that what differs among them lies where it does
    in y; beyond the edge is what most pixels of y's edges show."""
    other = damage.copied()
    (at, size), (wanted_at, wanted_size) = _whereabouts(other(x)), _whereabouts(y)
    # The damage shows at u what was at (affine u); u is first taken to its place in x.
    stretch = torch.diag(size / wanted_size.clamp(min=1e-3))
    move = torch.cat([stretch, (at - stretch @ wanted_at).unsqueeze(1)], dim=1)
    before = torch.eye(2, 3) + other.affine
    after = before[:, :2] @ move
    after[:, 2] += before[:, 2]
    other.affine.copy_(after - torch.eye(2, 3))
    edges = [y[:, :, 0], y[:, :, -1], y[..., 0], y[..., -1]]
    other.outside.fill_(1.0)
    other.fill.copy_(torch.cat([edge.flatten() for edge in edges]).median())
    return other


def _whereabouts(images: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and spread (2,), in [-1, 1] across and down, of what differs among images."""
    spread = images.std(dim=0).mean(dim=0)
    weight = (spread - spread.flatten().quantile(0.1)).clamp(min=1e-6)
    found = []
    for share in (weight.sum(dim=0), weight.sum(dim=1)):
        at, share = (torch.arange(len(share)) * 2 + 1) / len(share) - 1, share / share.sum()
        middle = (share * at).sum()
        found.append((middle, (share * (at - middle).square()).sum().sqrt()))
    centres, spreads = zip(*found, strict=True)
    return torch.stack(centres), torch.stack(spreads)
