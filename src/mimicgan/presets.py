"""Settings of Algorithm 1 as data: Table 1, PGD, and the one setting for every corruption."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from mimicgan.errors import at_least, within


@dataclass(frozen=True)
class MimicSettings:
    """Every number of Algorithm 1."""

    iterations: int = 30
    """T: alternations."""
    surrogate_steps: int = 10
    """T1: surrogate updates in an alternation."""
    latent_steps: int = 10
    """T2: latent updates in an alternation."""
    surrogate_rate: float = 5e-3
    """gamma_s: learning rate of the surrogate."""
    latent_rate: float = 0.05
    """gamma_g: learning rate of the latents."""
    adversarial: float = 1e-4
    """lambda_adv of equation 3."""
    identity: float = 0.0
    """lambda_I of equation 3."""
    optimizer: Literal["rmsprop", "tf-rmsprop", "adam", "sgd"] = "adam"
    """RMSProp as torch has it, as TensorFlow 1 had it, Adam, or SGD with momentum 0.7."""
    norm: Literal["l1", "l2"] = "l1"
    """Of the mimicking loss: equation 3's l1, or the mean square of Defense-GAN."""
    start: Literal["mean", "random"] = "mean"
    """Latents begin at the mean of section 3.1, or each at a draw of its own."""
    restarts: int = 1
    """Latents tried for every image at once; the one with the lowest mimicking loss is kept."""
    drop: float = 1.0
    """Share of the alternations after which the latents' rate falls to a tenth."""
    surrogate: Literal["conv", "faces", "faces-gray", "identity"] = "conv"
    """Table 5's network; Table 2's, with as many channels as the image or one; or none: projected
    gradient descent."""
    last: Literal["relu", "tanh", "none"] = "relu"
    """Activation before the mask."""
    skip: float = 1.0
    """Start of W in Table 5: 1 is near the identity, 0 a random network."""
    scale: float = 1.0
    """Scale of the last convolution at the start."""

    def __post_init__(self) -> None:
        at_least(
            0,
            iterations=self.iterations,
            surrogate_steps=self.surrogate_steps,
            latent_steps=self.latent_steps,
        )
        at_least(1, restarts=self.restarts)
        within(
            0,
            math.inf,
            surrogate_rate=self.surrogate_rate,
            latent_rate=self.latent_rate,
            adversarial=self.adversarial,
            identity=self.identity,
            scale=self.scale,
        )
        within(0, 1, drop=self.drop, skip=self.skip)


MIMICGAN = MimicSettings(latent_rate=0.1, norm="l2", scale=0.01)
"""One setting for every corruption, chosen by `reproduce sweep`. Squares, where equation 3 has
l1: where most pixels are replaced by one value, the l1 surrogate that does best is a constant."""
PGD = MimicSettings(surrogate="identity", surrogate_steps=0)

REALISM = replace(PGD, iterations=50, latent_steps=1, adversarial=0.0)
"""From the nearest known latent to one whose image explains an observation under a learnt damage.
"""

DEFENSE_GAN = replace(
    PGD,
    iterations=200,
    latent_steps=1,
    latent_rate=10.0,
    adversarial=0.0,
    optimizer="sgd",
    norm="l2",
    start="random",
    restarts=10,
    drop=0.8,
)
"""Defense-GAN (Samangouei et al. 2018) with its authors' numbers, L = 200 and R = 10, but for the
latents: theirs start at N(0, 1/128) and are free, ours start in the prior's own box and stay there.
"""

COWBOY = replace(DEFENSE_GAN, adversarial=1e-3)
"""Cowboy (Santhanam and Grnarova 2018): Defense-GAN with the discriminator's word, which is
equation 3's log(1 - D) and not their -log D."""


def _face(
    identity: float,
    adversarial: float,
    surrogate_rate: float,
    latent_rate: float,
    last: Literal["relu", "tanh"] = "relu",
    surrogate: Literal["faces", "faces-gray"] = "faces",
) -> MimicSettings:
    return MimicSettings(
        identity=identity,
        adversarial=adversarial,
        surrogate_rate=surrogate_rate,
        latent_rate=latent_rate,
        optimizer="rmsprop",
        surrogate=surrogate,
        last=last,
    )


TABLE_1 = {
    "gray-blur": _face(0, 0, 2e-4, 1e-3, surrogate="faces-gray"),
    "stylize": _face(0, 0, 8e-5, 4e-4),
    "negative": _face(0, 1e-4, 1e-3, 1e-3),
    "stuck-pixels": _face(0.1, 1e-4, 4e-3, 3e-3),
    "occlusion": _face(0.1, 1e-4, 4e-3, 3e-3, "tanh"),
    "inpainting": _face(0.1, 1e-4, 4e-3, 3e-3, "tanh"),
}
"""Table 1: the paper's numbers for each task on faces; torch's RMSProp, because the paper's rates
hardly move anything with TensorFlow's."""
