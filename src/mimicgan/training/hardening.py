"""A restorer for one classifier: it learns to undo what misleads this very classifier.

The attacks are made on the way, on generated images or on clean ones of the user's own, and the
classifier's own answer to the clean image stands for a label.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mimicgan.errors import at_least, within
from mimicgan.images import check_images, rounded, to_internal
from mimicgan.learnt import Damage, warm_restorer
from mimicgan.prior import Prior
from mimicgan.random_corruption import Dice
from mimicgan.training import checkpoint
from mimicgan.training.restorer import Pairs, fit_restorer, random_pairs

Classify = Callable[[Tensor], Tensor]
"""Images (n, c, h, w) in [-1, 1] -> logits (n, classes)."""


@dataclass(frozen=True)
class HardenSettings:
    """Numbers of the hardening of a restorer for one classifier."""

    steps: int = 2000
    """Updates of the restorer."""
    batch: int = 64
    bank: int = 4096
    """Generated images to draw from, where no clean images are given."""
    share: float = 0.5
    """Share of the images that are attacked, in groups of 8; the others get random damages, so
    that the restorer stays a restorer."""
    strongest: float = 0.7
    """Largest change of a pixel, of the range [-1, 1]; the strengths are spread evenly below."""
    agreement: float = 0.03
    """Weight of the classifier's cross entropy on restored images, beside the l1 distance."""
    rate: float = 3e-3
    """Adam's learning rate, falling on one cosine."""
    seed: int = 0

    def __post_init__(self) -> None:
        checkpoint.check(self)
        at_least(1, bank=self.bank)
        within(0, 1, share=self.share)
        within(0, math.inf, strongest=self.strongest, agreement=self.agreement, rate=self.rate)


def harden(
    classify: Classify,
    prior: Prior,
    settings: HardenSettings | None = None,
    callback: Callable[[int, float], None] | None = None,
    images: Tensor | None = None,
) -> Damage:
    """The prior's restorer, trained further on attacks on ``classify``; for ``Cleaner.damage``.

    ``images`` (n, c, h, w) in [0, 1] are clean ones, as those that the classifier was trained on:
    they serve better than generated images, which take their place where there are none. Some
    minutes on two cores. ``callback`` gets step and loss. The same seed gives the same result on
    one machine. ValueError for images of another kind than the prior's.
    """
    settings = settings or HardenSettings()
    if images is not None:
        check_images(images, prior.image_shape)
    generator = torch.Generator().manual_seed(settings.seed)

    def loss(restored: Tensor, clean: Tensor) -> Tensor:
        with torch.no_grad():
            answer = classify(clean).softmax(dim=1)
        agreement = functional.cross_entropy(classify(restored), answer)
        return (restored - clean).abs().mean() + settings.agreement * agreement

    with torch.inference_mode(False), torch.enable_grad():
        if images is None:
            bank = rounded(prior.typical(settings.bank, generator))
        else:
            # A tone curve of what rounding left beside the range is no number.
            bank = to_internal(images).clamp(-1, 1)
        restorer = fit_restorer(
            warm_restorer(prior, settings.seed),
            attacked_pairs(classify, bank, settings),
            settings.steps,
            settings.rate,
            settings.seed,
            callback,
            loss=loss,
        )
    return Damage(nn.Identity(), restorer)


def attacked_pairs(classify: Classify, bank: Tensor, settings: HardenSettings) -> Pairs:
    """Pairs of attacked and clean images, and of images under random damages."""
    attacked = round(settings.share * settings.batch)
    others = random_pairs(bank, settings.batch - attacked)

    def pairs(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        targets = bank[torch.randint(len(bank), (attacked,), generator=generator)]
        dice = Dice(generator)
        parts = torch.split(targets, 8)
        misled = torch.cat([misleading(classify, part, settings.strongest, dice) for part in parts])
        if attacked == settings.batch:
            return misled, targets
        damaged, clean = others(step, generator)
        return torch.cat([misled, damaged]), torch.cat([targets, clean])

    return pairs


def misleading(classify: Classify, x: Tensor, strongest: float, dice: Dice) -> Tensor:
    """Images x (n, c, h, w) in [-1, 1], changed so that ``classify`` leaves its answer.

    One step along the sign of the gradient (FGSM), or up to eight (BIM), half of these from a
    random start (PGD); the strength is drawn up to ``strongest``.
    """
    eps = dice.uniform(0.02, strongest)
    steps = 1 if dice.chance(0.4) else dice.integer(2, 8)
    stride = eps if steps == 1 else eps * dice.uniform(1, 2) / steps
    with torch.no_grad():
        answer = classify(x).argmax(dim=1)
    out = x
    if steps > 1 and dice.chance(0.5):
        out = x + (dice.tensor(*x.shape) * 2 - 1) * eps
    for _ in range(steps):
        at = out.detach().requires_grad_(True)
        loss = functional.cross_entropy(classify(at), answer, reduction="sum")
        (slope,) = torch.autograd.grad(loss, at)
        out = x + (out.detach() + stride * slope.sign() - x).clamp(-eps, eps)
        out = out.clamp(-1, 1)
    return out.detach()
