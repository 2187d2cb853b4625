"""The clean images that a restorer is trained on: more various than a narrow generator's own."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mimicgan.images import rounded
from mimicgan.misfit import SLIGHT, prior_mismatch
from mimicgan.prior import Prior

DETAIL = 0.3
"""Root mean square of the detail that is added, at most; images are in [-1, 1]."""
COLOURED = 0.3
"""Share of that detail that is drawn for each channel anew."""
COMPARED = 100
"""Images that tell whether mirror images are as likely."""


@dataclass(frozen=True)
class Source:
    """Generated images (m, c, h, w) in [-1, 1] for a restorer, which would learn them by heart.

    A narrow generator has fewer of the smallest details than any picture; a restorer that saw no
    others takes those of real ones away.
    """

    images: Tensor
    detail: float = 0.0
    """Largest root mean square of the random detail that is laid over an image."""
    mirrored: bool = False
    """Whether every second image is mirrored."""

    @classmethod
    def of(cls, prior: Prior, made: Tensor, bank: Tensor) -> "Source":
        """``bank`` as it is, unless its images had to be retouched: then ``made``, varied.

        A restorer does better with what the generator made than with what was made of that.
        """
        if prior.retouch is None:
            return cls(bank)
        return cls(rounded(made), DETAIL, mirrors_are_alike(bank))

    @property
    def plain(self) -> "Source":
        """The images as they are."""
        return Source(self.images)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` of the images, varied."""
        clean = self.images[torch.randint(len(self.images), (count,), generator=generator)]
        if self.mirrored:
            turned = torch.rand((count, 1, 1, 1), generator=generator) < 0.5
            clean = torch.where(turned, clean.flip(3), clean)
        if self.detail:
            size = self.detail * torch.rand((count, 1, 1, 1), generator=generator)
            clean = (clean + size * natural_noise(clean.shape, generator)).clamp(-1, 1)
        return clean


def natural_noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Noise (n, c, h, w) of root mean square 1 in each image, mostly grey.

    Its amplitude falls with one over the frequency, as that of natural images does (Field 1987).
    """
    count, _, height, width = shape
    own = torch.randn(shape, generator=generator)
    grey = torch.randn((count, 1, height, width), generator=generator)
    white = (1 - COLOURED) * grey + COLOURED * own
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    frequency = (down.square() + across.square()).sqrt().clamp(min=1 / max(height, width))
    noise = torch.fft.irfft2(torch.fft.rfft2(white) / frequency, s=(height, width))
    size = noise.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    out: Tensor = noise / size.clamp(min=1e-6)
    return out


def mirrors_are_alike(bank: Tensor) -> bool:
    """Whether mirror images of ``bank`` (m, c, h, w) are as near to the rest of it as they are."""
    some, rest = bank[:COMPARED], bank[COMPARED : 6 * COMPARED]
    if len(rest) < 2:
        return False
    plain, mirrored = (
        prior_mismatch(images, rest, torch.Generator().manual_seed(0))
        for images in (some, some.flip(3))
    )
    return mirrored - plain < SLIGHT / 2
