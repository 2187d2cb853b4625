"""MimicGAN: blind image restoration by mimicking the damage."""

__version__ = "0.1.0"
