"""Settings of Algorithm 1 as data: Table 1, PGD, and the one setting for every corruption."""

from dataclasses import dataclass, replace
from typing import Literal


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
    surrogate: Literal["conv", "identity"] = "conv"
    """Table 5's network, or none: projected gradient descent."""
    last: Literal["relu", "tanh", "none"] = "relu"
    """Activation before the mask."""
    skip: float = 1.0
    """Start of W in Table 5: 1 is near the identity, 0 a random network."""
    scale: float = 1.0
    """Scale of the last convolution at the start."""


MIMICGAN = MimicSettings()
PGD = replace(MIMICGAN, surrogate="identity", surrogate_steps=0, identity=0.0)

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
start: theirs is N(0, 1/128), ours the prior's own box."""

COWBOY = replace(DEFENSE_GAN, adversarial=1e-3)
"""Cowboy (Santhanam and Grnarova 2018): Defense-GAN with the discriminator's word."""
