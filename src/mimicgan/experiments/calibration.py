"""Does the misfit tell success from failure? Damages and images that no fit can explain."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mimicgan.corruptions import CORRUPTIONS, negative_blur
from mimicgan.errors import UserError
from mimicgan.experiments.bench import Bench
from mimicgan.experiments.cases import Case, Damaging
from mimicgan.experiments.options import Callback, ExperimentOptions
from mimicgan.experiments.robust_classification import undamaged
from mimicgan.experiments.runner import Experiment, run
from mimicgan.images import to_internal, to_user
from mimicgan.random_corruption import random_corruption

NAME = "calibration"
METHODS = ("observed", "universal", "default")
EXPRESSED = ("negative-blur", "dropped-black", "dropped-shared", "binary-global")
"""Damages that the surrogate can express, or nearly."""


def scrambled(images: Tensor, generator: torch.Generator, *, each: bool = False) -> Tensor:
    """The pixels in another order, the same for all images or (``each``) another for each."""
    size = images[0, 0].numel()
    order = torch.rand(len(images) if each else 1, size, generator=generator).argsort(dim=1)
    order = order.view(-1, 1, size).expand(len(images), images.shape[1], size)
    return images.flatten(2).gather(2, order).view_as(images)


def rolled(images: Tensor, _generator: torch.Generator) -> Tensor:
    """Half an image aside; what leaves on the right comes in on the left."""
    return images.roll(images.shape[3] // 2, dims=3)


def swirled(images: Tensor, _generator: torch.Generator) -> Tensor:
    """Turned by 180 degrees in the middle, less and less towards the edge."""
    n, _, height, width = images.shape
    across = torch.linspace(-1, 1, width).expand(height, width)
    down = torch.linspace(-1, 1, height).unsqueeze(1).expand(height, width)
    angle = math.pi * (1 - torch.hypot(across, down)).clamp(min=0)
    cos, sin = angle.cos(), angle.sin()
    grid = torch.stack([cos * across - sin * down, sin * across + cos * down], dim=2)
    return functional.grid_sample(images, grid.expand(n, -1, -1, -1), align_corners=True)


def halves(images: Tensor, generator: torch.Generator) -> Tensor:
    """Every second image a blurred negative, the others with 70 % of their pixels black."""
    out = CORRUPTIONS["dropped-black"].function(images, generator)
    out[::2] = negative_blur(images[::2])
    return out


def mixed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image damaged in another way."""
    parts = [random_corruption(generator)(to_internal(image)) for image in torch.split(images, 1)]
    return to_user(torch.cat(parts).clamp(-1, 1))


def noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Nothing is left of the images."""
    return torch.rand(images.shape, generator=generator)


DAMAGES: dict[str, Damaging] = {
    "undamaged": undamaged,
    **{name: CORRUPTIONS[name].function for name in EXPRESSED},
    "rolled": rolled,
    "swirled": swirled,
    "halves": halves,
    "mixed": mixed,
    "scrambled": scrambled,
    "scrambled-each": lambda x, generator: scrambled(x, generator, each=True),
    "noise": noise,
}


def faces(count: int, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Generated faces in the shape of the clothes, grey where these are: strangers to the prior."""
    from mimicgan.pretrained import load_prior

    made = to_user(load_prior("faces").sample(count, generator))
    small = functional.interpolate(made, shape[1:], mode="area")
    return small.mean(dim=1, keepdim=True).expand(-1, shape[0], -1, -1).contiguous()


def gratings(count: int, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Waves of a random direction, length and phase: strangers to every prior of things."""
    angle, length, phase = torch.rand(3, count, 1, 1, 1, generator=generator)
    across, down = torch.linspace(-1, 1, shape[2]), torch.linspace(-1, 1, shape[1]).unsqueeze(1)
    angle = math.pi * angle
    place = angle.cos() * across + angle.sin() * down
    waves: Tensor = 0.5 + 0.5 * (2 * math.pi * (place * (1 + 4 * length) + phase)).sin()
    return waves.expand(-1, *shape).contiguous()


STRANGERS: dict[str, Callable[[int, tuple[int, int, int], torch.Generator], Tensor]] = {
    "faces": faces,
    "gratings": gratings,
}


def cases() -> tuple[Case, ...]:
    """Clothes under every damage; strangers undamaged and as blurred negatives."""
    known = (Case("clothes", name, damage, METHODS) for name, damage in DAMAGES.items())
    others = (
        Case(what, name, DAMAGES[name], METHODS, strangers=make)
        for what, make in STRANGERS.items()
        for name in ("undamaged", "negative-blur")
    )
    return (*known, *others)


def calibration(
    options: ExperimentOptions, callback: Callback | None = None, bench: Bench | None = None
) -> Path | None:
    """Run the experiment; the result file's path, or None while other shards are at work.

    UserError on test images: the limit of the misfit is chosen on these.
    """
    if options.split == "test":
        raise UserError("the calibration chooses a limit; run it with --split validation")
    return run(Experiment(NAME, cases()), options, callback, bench)
