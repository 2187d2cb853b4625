"""Algorithm 1: alternate between the damage and the images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimicgan.losses import adversarial_loss, identity_loss, mimicking_loss
from mimicgan.optimizers import optimizer
from mimicgan.presets import MimicSettings
from mimicgan.prior import Prior
from mimicgan.surrogate import ConvSurrogate, FaceSurrogate


@dataclass(frozen=True)
class Step:
    """What the solver reports after each update: whose it was, and the terms of equation 3."""

    iteration: int
    kind: str
    loss: float
    mimicking: float
    estimate: Callable[[], Tensor] | None = None
    """Gives the restored images so far, (n, c, h, w) in [-1, 1], of the images now at work; None
    where there are none yet. Only good until the next update."""
    first: int = 0
    """Number of the first image now at work."""


def mimic(
    y: Tensor,
    prior: Prior,
    settings: MimicSettings,
    generator: torch.Generator,
    surrogate: nn.Module | None = None,
    callback: Callable[[Step], None] | None = None,
    *,
    start: Tensor | None = None,
) -> tuple[Tensor, nn.Module]:
    """Algorithm 1: observations y (n, c, h, w) in [-1, 1] -> latents z (n, k), fitted surrogate.

    ``surrogate`` takes the place of Table 5's or Table 2's network (or of the identity) when given.
    ``start``, latents (n, k), takes the place of ``settings.start``.
    Restored images are ``prior.generator(z)``. The same ``generator`` state gives the same result
    on one machine.
    """
    G, D = prior.generator, prior.discriminator
    if surrogate is None:
        surrogate = nn.Identity()
        if settings.surrogate == "conv":
            surrogate = ConvSurrogate(
                prior.image_shape,
                last=settings.last,
                skip=settings.skip,
                scale=settings.scale,
                generator=generator,
            )
        elif settings.surrogate != "identity":
            surrogate = FaceSurrogate(
                prior.image_shape,
                dims=1 if settings.surrogate == "faces-gray" else prior.image_shape[0],
                last=settings.last,
                generator=generator,
            )
    f = surrogate
    # What a user froze stays frozen.
    theta = [p for p in f.parameters() if p.requires_grad]
    images, tries = len(y), settings.restarts
    y = y.repeat_interleave(tries, dim=0)
    z = prior.mean_latent(generator).expand(len(y), -1).clone().requires_grad_(True)
    if settings.start == "random":
        z = prior.draw(len(y), generator).requires_grad_(True)
    if start is not None:
        z = start.repeat_interleave(tries, dim=0).requires_grad_(True)
    update_z = optimizer(settings.optimizer, [z], settings.latent_rate)
    update_theta = optimizer(settings.optimizer, theta, settings.surrogate_rate) if theta else None

    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        y_est = f(x)
        observed = mimicking_loss(y, y_est, settings.norm)
        total = observed
        if settings.adversarial > 0 and D is not None and x.requires_grad:
            total = total + settings.adversarial * adversarial_loss(D(x))
        if settings.identity > 0:
            total = total + settings.identity * identity_loss(y, x, y_est)
        return total, observed

    @torch.no_grad()
    def estimate() -> Tensor:
        # One try of each image is enough to look at.
        images: Tensor = G(z.detach()[::tries])
        return images

    for t in range(settings.iterations):
        if t == round(settings.drop * settings.iterations):
            update_z.param_groups[0]["lr"] *= 0.1
        if update_theta is not None and settings.surrogate_steps:
            x = G(z).detach()
            for _ in range(settings.surrogate_steps):
                total, observed = loss(x)
                update_theta.zero_grad(set_to_none=True)
                total.backward()  # type: ignore[no-untyped-call]
                update_theta.step()
                _report(callback, t, "surrogate", total, observed, estimate)
        f.requires_grad_(False)
        for _ in range(settings.latent_steps):
            total, observed = loss(G(z))
            (z.grad,) = torch.autograd.grad(total, z)
            # Per image, not per batch: the mean over n would shrink each image's gradient.
            z.grad.mul_(len(y))
            update_z.step()
            with torch.no_grad():
                z.clamp_(*prior.box)
            _report(callback, t, "latent", total, observed, estimate)
        for p in theta:
            p.requires_grad_(True)
    f.eval().requires_grad_(False)
    if tries > 1:
        with torch.no_grad():
            apart = (f(G(z)) - y).abs() if settings.norm == "l1" else (f(G(z)) - y).square()
        best = apart.flatten(1).mean(dim=1).view(images, tries).argmin(dim=1)
        z = z.view(images, tries, -1)[torch.arange(images), best]
    return z.detach(), f


def _report(
    callback: Callable[[Step], None] | None,
    t: int,
    kind: str,
    total: Tensor,
    observed: Tensor,
    estimate: Callable[[], Tensor],
) -> None:
    if callback is not None:
        callback(Step(t, kind, total.item(), observed.item(), estimate))
