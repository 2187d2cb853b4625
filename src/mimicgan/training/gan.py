"""The prior: a GAN whose generator can also reach every training image.

The architectures are the paper's (Tables 3 and 4); the recipe is ours, a VAE-GAN. An encoder gives
each real image a Gaussian u ~ N(mu, sigma) and z = 2 Phi(u) - 1, so that the prior N(0, 1) of u is
exactly the uniform box that the paper draws latents from. G first learns to decode (reconstruction
and KL), then the discriminator joins and makes the draws from the box sharp. What counts later is
how well a clean image can be inverted and that no kind of image is missing; the reconstruction term
sees to both. The encoder is thrown away at the end.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mimicgan.errors import UserError, at_least, within
from mimicgan.models import Architecture, architecture
from mimicgan.training import checkpoint
from mimicgan.training.ranks import Ranks


@dataclass(frozen=True)
class GanSettings:
    """Settings of one GAN training run."""

    architecture: str = "fashion"
    """Name of the generator and discriminator pair: fashion (28x28 grey), dcgan (64x64 colour)."""
    width: int | None = None
    """Channels before the last layer, where the architecture leaves the choice (dcgan)."""
    steps: int = 5000
    """Updates of the generator."""
    warmup: int = 3000
    """First steps, without the discriminator."""
    batch: int = 64
    """Real images per step; as many latents are drawn once the discriminator has joined."""
    warmup_rate: float = 1e-3
    """Adam's learning rate before the discriminator joins (beta1 0.5)."""
    learning_rate: float = 2e-4
    """Adam's learning rate after it; it falls to a tenth over the last third of the steps."""
    reconstruction: float = 20.0
    """Weight of the mean l1 distance of x and G(E(x)); 0 (with warmup 0) trains a plain GAN."""
    kl: float = 0.01
    """Weight of the divergence (nats an image) of the encoder's codes from the prior."""
    ema: float = 0.999
    """Decay of the moving average of the generator's weights, which is what ships."""
    flip: bool = False
    """Mirror half of the real images, as faces allow."""
    seed: int = 0

    def __post_init__(self) -> None:
        checkpoint.check(self)
        at_least(0, warmup=self.warmup)
        if self.width is not None:
            at_least(1, width=self.width)
        within(
            0,
            math.inf,
            warmup_rate=self.warmup_rate,
            learning_rate=self.learning_rate,
            reconstruction=self.reconstruction,
            kl=self.kl,
        )
        within(0, 1, ema=self.ema)
        if self.warmup and not self.reconstruction:
            raise ValueError("without a reconstruction loss a warmup learns nothing; give warmup 0")

    def networks(self) -> Architecture:
        """The factories of the architecture, at the width asked for.

        UserError for an architecture that there is not, or a width that it does not leave open.
        """
        parts = architecture(self.architecture)
        if self.width is None:
            return parts
        if not parts.widths:
            raise UserError(f"{self.architecture} has no choice of width; leave it out")
        return Architecture(
            partial(parts.generator, width=self.width),
            partial(parts.discriminator, width=self.width),
            partial(parts.encoder, width=self.width),
        )


@dataclass(frozen=True)
class GanProgress:
    """What a training step reports."""

    step: int
    discriminator_loss: float
    generator_loss: float
    reconstruction_loss: float
    divergence: float


class GanTraining:
    """A run of GAN training that can stop and go on at any step."""

    def __init__(self, settings: GanSettings, ranks: Ranks | None = None) -> None:
        self.settings = settings
        self.ranks = ranks or Ranks()
        self.step = 0
        self.data = ""
        """Digest of the images; empty before they are known."""
        parts = settings.networks()
        with checkpoint.seeded(settings.seed):
            self.generator = parts.generator()
            self.discriminator = parts.discriminator()
            self.encoder = parts.encoder()
            self.average = parts.generator()
        self.average.load_state_dict(self.generator.state_dict())
        self.average.requires_grad_(False)
        for network in (self.generator, self.discriminator, self.encoder):
            self.ranks.join(network)
        self.generator_optimizer = _adam(self.generator, self.encoder)
        self.discriminator_optimizer = _adam(self.discriminator)

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "encoder": self.encoder,
            "average": self.average,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def save(self, path: Path) -> None:
        state = {name: part.state_dict() for name, part in self._parts().items()}
        facts = {"settings": asdict(self.settings), "step": self.step, "data": self.data}
        checkpoint.save(path, {**state, **facts})

    def resume(self, path: Path) -> bool:
        """Go on from the checkpoint at ``path``; False when there is none.

        Raises UserError when it is damaged or of other images, ValueError for other settings.
        """
        state = checkpoint.load(path, asdict(self.settings))
        if state is None:
            return False
        # Checkpoints of older versions do not tell.
        held = state.get("data", "")
        if self.data and held and held != self.data:
            raise checkpoint.other_images(path)
        self.data = self.data or held
        checkpoint.fill(path, state, self._parts())
        self.step = state["step"]
        return True

    def _learning_rate(self) -> float:
        settings = self.settings
        if self.step < settings.warmup:
            return settings.warmup_rate
        return settings.learning_rate * min(1.0, 0.1 + 2.7 * (1 - self.step / settings.steps))

    def update(self, images: Tensor) -> GanProgress:
        """One update of D, G and E on the step's own batch of ``images`` (n, c, h, w) uint8."""
        settings, part = self.settings, self.ranks.part
        generator = checkpoint.step_generator(settings.seed, self.step)
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            optimizer.param_groups[0]["lr"] = self._learning_rate()
        index = checkpoint.batch_indices(len(images), settings.batch, self.step, settings.seed)
        real = images[index].float() / 127.5 - 1
        if settings.flip:
            mirrored = torch.rand(len(real), 1, 1, 1, generator=generator) < 0.5
            real = torch.where(mirrored, real.flip(3), real)
        latent = torch.rand(len(real), self.average.latent_size, generator=generator) * 2 - 1
        real, latent = part(real), part(latent)
        adversarial = self.step >= settings.warmup

        latents, drawn = (latent, len(real)) if adversarial else (latent[:0], 0)
        divergence = reconstruction = real.new_zeros(())
        if settings.reconstruction > 0:
            mean, log_deviation = self.encoder(real).chunk(2, dim=1)
            noise = part(torch.randn(settings.batch, mean.shape[1], generator=generator))
            codes = torch.erf((mean + log_deviation.exp() * noise) / 2**0.5)
            latents = torch.cat([latents, codes])
            variance = (2 * log_deviation).exp()
            divergence = (mean.square() + variance - 1 - 2 * log_deviation).sum(1).mean() / 2
        # Drawn latents and codes share a batch, so that they share its batch-norm statistics.
        made = self.generator(latents)
        fake = made[:drawn]
        if settings.reconstruction > 0:
            reconstruction = (made[drawn:] - real).abs().mean()
        loss = settings.reconstruction * reconstruction + settings.kl * divergence
        discriminator_loss = generator_loss = real.new_zeros(())
        if adversarial:
            discriminator_loss = self._discriminator_update(real, fake.detach())
            self.discriminator.requires_grad_(False)
            generator_loss = functional.softplus(-self._logits(real, fake)[1]).mean()
            self.discriminator.requires_grad_(True)
        self.generator_optimizer.zero_grad(set_to_none=True)
        (loss + generator_loss).backward()  # type: ignore[no-untyped-call]
        self._take_step(self.generator_optimizer)

        self.step += 1
        # The average forgets its random start early on.
        _blend(self.average, self.generator, min(settings.ema, self.step / (self.step + 10)))
        losses = torch.stack([discriminator_loss, generator_loss, reconstruction, divergence])
        return GanProgress(self.step, *self.ranks.average(losses.detach()).tolist())

    def _take_step(self, optimizer: torch.optim.Adam) -> None:
        self.ranks.average_gradients(optimizer.param_groups[0]["params"])
        optimizer.step()

    def _logits(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        # Real and generated images are normalised in one batch: Table 4 ends in BN, which
        # would otherwise hide the difference of their means from the last layer.
        real_logit, fake_logit = self.discriminator(torch.cat([real, fake])).split(len(real))
        return real_logit, fake_logit

    def _discriminator_update(self, real: Tensor, fake: Tensor) -> Tensor:
        real_logit, fake_logit = self._logits(real, fake)
        loss = functional.softplus(-real_logit).mean() + functional.softplus(fake_logit).mean()
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._take_step(self.discriminator_optimizer)
        return loss.detach()

    def run(
        self,
        images: Tensor,
        path: Path,
        every: int = 200,
        callback: Callable[[GanProgress], None] | None = None,
    ) -> nn.Module | None:
        """Train to the last step on ``images`` (n, c, h, w) uint8; checkpoints go to ``path``.

        Returns the averaged generator, its batch norms set to the statistics of its activations.
        Of several processes the first one writes and gets it, the others get None.
        """
        self.data = checkpoint.digest_of(images)
        self.resume(path)
        while self.step < self.settings.steps:
            progress = self.update(images)
            due = self.step % every == 0 or self.step == self.settings.steps
            if due and self.ranks.first:
                self.save(path)
            if callback is not None:
                callback(progress)
        return self.finished_generator() if self.ranks.first else None

    def finished_generator(self) -> nn.Module:
        """The averaged generator in eval mode with freshly measured batch-norm statistics."""
        generator: nn.Module = copy.deepcopy(self.average).train()
        norms = [m for m in generator.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        draws = torch.Generator().manual_seed(self.settings.seed)
        with torch.no_grad():
            for _ in range(40):
                generator(torch.rand(250, self.average.latent_size, generator=draws) * 2 - 1)
        return generator.eval().requires_grad_(False)


def _adam(*modules: nn.Module) -> torch.optim.Adam:
    # The learning rate is set before every step.
    return torch.optim.Adam([p for m in modules for p in m.parameters()], betas=(0.5, 0.999))


@torch.no_grad()
def _blend(average: nn.Module, current: nn.Module, decay: float) -> None:
    pairs = zip(average.state_dict().values(), current.state_dict().values(), strict=True)
    for old, new in pairs:
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)
