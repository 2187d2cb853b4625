"""MimicGAN: blind image restoration by mimicking the damage."""

from mimicgan.corruptions import corrupt
from mimicgan.pretrained import load_prior
from mimicgan.prior import Prior
from mimicgan.purify import Cleaner, Purified
from mimicgan.restore import Restoration, Settings, restore

__version__ = "0.1.0"

__all__ = [
    "Cleaner",
    "Prior",
    "Purified",
    "Restoration",
    "Settings",
    "__version__",
    "corrupt",
    "load_prior",
    "restore",
]
