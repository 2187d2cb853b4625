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
    optimizer: Literal["rmsprop", "tf-rmsprop", "adam"] = "adam"
    """RMSProp as torch has it, as TensorFlow 1 had it, or Adam."""
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
