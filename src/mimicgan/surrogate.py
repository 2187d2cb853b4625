"""Surrogates of the unknown damage: Tables 2 and 5, and the identity.

A surrogate is any nn.Module that maps clean images (n, c, h, w) in [-1, 1] to damaged ones of the
same shape; the solver trains its parameters. A user's own module takes the place of these.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

LASTS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "none": lambda x: x,
}
"""Activations of the last convolution."""


@torch.no_grad()
def _start(conv: Any, generator: torch.Generator | None) -> None:
    fan_in = conv.in_channels * 25
    conv.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
    conv.bias.zero_()


class FaceSurrogate(nn.Module):
    """Table 2: tanh(mask * conv(x)), three 5x5 convolutions with ReLU and a mask of image shape.

    ``dims`` channels come out (1 for a grey observation, repeated to as many as went in); ``last``
    is the third convolution's activation: relu, or tanh for occlusion and inpainting.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        dims: int,
        last: str = "relu",
        width: int = 16,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = (shape[0], width, width, dims)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 5, padding=2) for before, after in pairwise(sizes)
        )
        for conv in self.convs:
            _start(conv, generator)
        self.last = LASTS[last]
        self.mask = nn.Parameter(torch.ones(dims, *shape[1:]))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for conv in self.convs[:-1]:
            out = torch.relu(conv(out))
        out = torch.tanh(self.last(self.convs[-1](out)) * self.mask)
        return out.expand_as(x)


class ConvSurrogate(nn.Module):
    """Table 5: two 5x5 convolutions, a mask, and W * input.

    f(x) = mask * conv(x) + W * x, with mask and W of image shape and shared by the batch. At the
    start mask is one, W is ``skip`` and the last convolution is scaled by ``scale``, so that f can
    begin near the identity (skip 1, scale small) or as a random network (skip 0, scale 1).
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        width: int = 16,
        last: str = "relu",
        skip: float = 1.0,
        scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        channels = shape[0]
        self.first = nn.Conv2d(channels, width, 5, padding=2)
        self.second = nn.Conv2d(width, channels, 5, padding=2)
        self.last = LASTS[last]
        for conv in (self.first, self.second):
            _start(conv, generator)
        with torch.no_grad():
            self.second.weight.mul_(scale)
        self.mask = nn.Parameter(torch.ones(shape))
        self.skip = nn.Parameter(torch.full(shape, skip))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.second(torch.relu(self.first(x)))) * self.mask + self.skip * x
        return out
