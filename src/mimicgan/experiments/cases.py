"""A damage under test: what is done to the images, in which portions, by which methods."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mimicgan.experiments.bench import Bench

Damaging = Callable[[Tensor, torch.Generator], Tensor]
"""Images (n, c, h, w) in [0, 1] and a generator -> damaged images of the same shape and range."""
Adversary = Callable[["Bench", Tensor, Tensor, int], Tensor]
"""Bench, images (n, c, h, w) in [0, 1], labels (n,) and a seed -> adversarial images."""


@dataclass(frozen=True)
class Case:
    """One damage: the rows of a result that share a task and a variant."""

    task: str
    variant: str
    damage: Damaging
    methods: tuple[str, ...]
    code: tuple[str, ...] = ()
    """Modules that define the damage."""
    batch: int | None = None
    """Images of a portion; as the options say unless given."""
    batches: int | None = None
    """At most so many portions of each seed."""
    judged: int | None = None
    """Only the first so many images of a portion are measured; all unless given."""
    shuffled: bool = False
    """Whether the images of a portion come in another order than in the other cases."""
    drawn_once: bool = False
    """Whether the damage is itself drawn at random, once for a whole portion."""
    relaxed: Damaging | None = None
    """The damage with useful gradients, where its own have none."""
    adversary: Adversary | None = None
    """An attack that takes the place of ``damage``: it may see labels and the classifier."""
    strangers: Callable[[int, tuple[int, int, int], torch.Generator], Tensor] | None = None
    """(n, shape, generator) -> images (n, c, h, w) in [0, 1] of another kind than the prior's, in
    the place of the bench's; they have no labels."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings that decide the damage."""
    defended: bool = False
    """Whether the images may be attacked: what looks undamaged is then cleaned too."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further keys of its rows."""


@dataclass(frozen=True)
class Sample:
    """A portion of images under one damage, as a method gets it."""

    case: Case
    observed: Tensor
    """(n, c, h, w) in [0, 1]."""
    truth: Tensor
    """The clean images, for upper bounds alone."""
    seed: int
    """Seed of the method's own random numbers."""
    draw: Callable[[], torch.Generator]
    """The generator in the state in which it damaged this portion, for upper bounds alone."""
