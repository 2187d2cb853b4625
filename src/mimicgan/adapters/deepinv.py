"""deepinv: blind restoration as a reconstructor, and the learnt damage as its physics."""

from typing import Any

import torch
from torch import Tensor

from mimicgan.damage import ComposedDamage
from mimicgan.errors import needed
from mimicgan.images import to_internal, to_user
from mimicgan.learnt import Damage
from mimicgan.prior import Prior
from mimicgan.purify import Cleaner, Gradient
from mimicgan.restore import Method, Settings

Reconstructor = needed("deepinv.models", "deepinv").Reconstructor
Physics = needed("deepinv.physics", "deepinv").Physics


class MimicReconstructor(Reconstructor):  # type: ignore[misc, valid-type]
    """Measurements (n, c, h, w) in [0, 1] -> restored images; the physics is not looked at.

    The arguments are Cleaner's. Method auto learns the damage of each batch; ``learn`` fixes one,
    and gives it as physics.
    """

    def __init__(
        self,
        prior: Prior,
        settings: Settings | Method = "auto",
        *,
        damage: Damage | None = None,
        gradient: Gradient = "none",
    ) -> None:
        super().__init__(device="cpu")
        self.cleaner = Cleaner(prior, settings, damage=damage, gradient=gradient)

    def forward(self, y: Tensor, physics: Any = None, **_: Any) -> Tensor:  # noqa: ARG002
        """Restored images in [0, 1]."""
        return self.cleaner.cleaned(y)

    def learn(self, y: Tensor) -> "LearntPhysics":
        """Learn the damage of ``y`` once, for all later calls; its physics."""
        damage = self.cleaner.learn(y).damage
        if damage is None:
            raise AssertionError("learn sets it")
        return LearntPhysics(damage)


class LearntPhysics(Physics):  # type: ignore[misc, valid-type]
    """A learnt damage of images in [0, 1]: ``physics(x)`` is all of it, drawn anew at each call.

    Images must be on the processor, and of the size that it was learnt on. It has no adjoint:
    deepinv's solvers need an ``init``, such as the measurements.

    ``A``, which data fidelities and their gradients use, is the part of it that is not random:
    without row jitter, noise and replaced pixels.
    """

    def __init__(self, damage: Damage, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.rng = rng or torch.Generator().manual_seed(0)
        self.damage = damage
        whole = damage.surrogate
        self.still = whole.still() if isinstance(whole, ComposedDamage) else whole

    def A(self, x: Tensor, **_: Any) -> Tensor:  # noqa: N802
        """Images (n, c, h, w) in [0, 1] under what is not random; differentiable."""
        # The damage saturates by itself, with a gradient that a clamp would take away.
        damaged: Tensor = (self.still(to_internal(x)) + 1) / 2
        return damaged

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        """Images (n, c, h, w) in [0, 1] under the whole damage."""
        return to_user(self.damage.simulate(to_internal(x), self.rng))
