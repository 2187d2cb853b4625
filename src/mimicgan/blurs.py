"""Blurs that are read off, by the power that observations lack or as wide as another one, and blurs
that are near one."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mimicgan.damage import RIMS, ComposedDamage, offsets, plain_values
from mimicgan.set_distance import faded

FAR_OUT = 0.1
"""Share of a kernel's largest weight that may be chance."""
FLAT = 1.2
"""Flatness of a line or a disk of nearly even weight."""
WIDTH = 0.2
"""Standard deviation of the logarithm of how wide blurs are that are near one."""


@torch.no_grad()
def same_power(damage: ComposedDamage, x: Tensor, y: Tensor) -> Iterator[ComposedDamage]:
    """Copies whose blur takes from x the power that y lacks: a Gaussian one as wide and as long, a
    flat one (motion, defocus), and the symmetric kernel itself; none where ``damage`` leaves none.
    """
    sharp = damage.copied()
    plain = plain_values(damage.shape, damage.size)
    for name in ("sharpness", "flatness", "kernel"):
        sharp.get_parameter(name).copy_(plain[name])
    kernel = _missing(_power(sharp(x)), _power(y), damage.size)
    if not kernel.isfinite().all():
        return
    gaussian, flat = as_wide(sharp, kernel)
    yield from (gaussian, flat)
    other = gaussian.copied()
    rest = (kernel / kernel.max()).clamp(min=1e-3).log() - other.blur_kernel().log()
    other.kernel.copy_((rest - rest.flatten()[kernel.argmax()]).clamp(-6, 6))
    yield other


@torch.no_grad()
def as_wide(damage: ComposedDamage, kernel: Tensor) -> Iterator[ComposedDamage]:
    """Two copies whose blur is as wide and as long as ``kernel`` (size, size): a Gaussian one, and
    a flat one (motion, defocus)."""
    # Far out there is little but chance, which counts most in moments.
    near = (kernel - FAR_OUT * kernel.max()).clamp(min=0)
    near = near / near.sum()
    rows, columns = offsets(damage.size)
    down, across, both = ((near * a).sum() for a in (rows**2, columns**2, rows * columns))
    # Narrower than a third of a pixel is no blur at all.
    spread = torch.stack([torch.stack([down, both]), torch.stack([both, across])])
    spread = spread + 0.05 * torch.eye(2)
    # (a rows + b columns)^2 + (c columns)^2 is the quadratic form of the inverse.
    (a, _), (b, c) = torch.linalg.cholesky(spread.inverse()).tolist()
    for flatness in (0.0, FLAT):
        other = damage.copied()
        other.kernel.zero_()
        other.sharpness.copy_(torch.tensor([a, b, c]) / _wider(flatness))
        other.flatness.fill_(flatness)
        yield other


def _wider(flatness: float) -> float:
    """How many times wider than a Gaussian a blur is drawn that reaches as far."""
    return 1 + 0.5 * flatness


def shaped(damage: ComposedDamage) -> bool:
    """Whether there is a blur with a shape: a direction, or an even weight.

    Sets of images tell how wide a round one is, and much less well what shape another one has; what
    a free kernel has followed, a restorer is to learn as it is.
    """
    a, b, c = damage.sharpness.tolist()
    blurred = "sharpness" in damage.parts() and not damage.kernel.any()
    return blurred and (a != c or b != 0 or bool(damage.flatness != 0))


@torch.no_grad()
def near(damage: ComposedDamage, generator: torch.Generator) -> ComposedDamage:
    """A copy whose blur is one that is hard to tell from that of ``damage``: as wide and as long
    more or less, flat or not, and with any rim."""
    other = damage.copied()
    flatness = FLAT * float(torch.rand((), generator=generator))
    width = float((WIDTH * torch.randn((), generator=generator)).exp())
    wider = width * _wider(flatness) / _wider(float(damage.flatness))
    other.sharpness.div_(wider)
    other.flatness.fill_(flatness)
    other.rim = RIMS[int(torch.randint(len(RIMS), (), generator=generator))]
    return other


def _power(images: Tensor) -> Tensor:
    """Mean power (h, w) of what differs among images, by frequency, their borders faded out."""
    apart = faded(images - images.mean(dim=0))
    power: Tensor = torch.fft.fft2(apart).abs().square().mean(dim=(0, 1))
    return power


def _missing(power: Tensor, left: Tensor, size: int) -> Tensor:
    """The symmetric kernel (size, size), not negative, sum one, that leaves ``left`` of ``power``,
    whatever the contrast."""
    height, width = power.shape
    down, across = torch.fft.fftfreq(height) * height, torch.fft.fftfreq(width) * width
    low = torch.hypot(down[:, None], across[None]) < 1.6
    low[0, 0] = False
    share = left / (power + 1e-4 * power.mean())
    amplitude = (share / (left[low].sum() / power[low].sum()).clamp(min=1e-6)).clamp(0, 1).sqrt()
    amplitude[0, 0] = 1.0
    shift = (size // 2, size // 2)
    kernel: Tensor = torch.fft.ifft2(amplitude).real.clamp(min=0)
    kernel = kernel.roll(shift, (0, 1))[:size, :size]
    return kernel / kernel.sum().clamp(min=1e-6)
