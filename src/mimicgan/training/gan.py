"""The prior: a GAN whose generator can also reach every training image.

The architectures are the paper's (Tables 3 and 4); the recipe is ours. Beside the non-saturating
GAN loss an encoder E maps real images into the latent box, G(E(x)) is asked to reproduce x, and the
codes E(x) are asked to fill the box (sliced Wasserstein). What counts later is how well a clean image
can be inverted, and that is what the reconstruction term trains. E is thrown away at the end.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mimicgan.models import Architecture, architecture
from mimicgan.training import checkpoint


@dataclass(frozen=True)
class GanSettings:
    """Settings of one GAN training run."""

    architecture: str = "fashion"
    """Name of the generator and discriminator pair."""
    steps: int = 12000
    """Updates of the generator (each with one update of the discriminator)."""
    batch: int = 64
    """Real images per step."""
    learning_rate: float = 2e-4
    """Adam's learning rate for all networks, beta1 0.5; it falls to a tenth over the last third."""
    reconstruction: float = 20.0
    """Weight of the mean l1 distance between x and G(E(x)); 0 trains a plain GAN."""
    code_match: float = 1.0
    """Weight of the sliced Wasserstein distance between the codes E(x) and the uniform latent box."""
    ema: float = 0.999
    """Decay of the moving average of the generator's weights, which is what ships."""
    seed: int = 0


@dataclass(frozen=True)
class GanProgress:
    """What a training step reports."""

    step: int
    discriminator_loss: float
    generator_loss: float
    reconstruction_loss: float


class GanTraining:
    """A run of GAN training that can stop and go on at any step."""

    def __init__(self, settings: GanSettings) -> None:
        self.settings = settings
        self.step = 0
        torch.manual_seed(settings.seed)
        parts: Architecture = architecture(settings.architecture)
        self.generator = parts.generator()
        self.discriminator = parts.discriminator()
        self.encoder = parts.encoder()
        self.average = parts.generator()
        self.average.load_state_dict(self.generator.state_dict())
        self.average.requires_grad_(False)
        adam = {"lr": settings.learning_rate, "betas": (0.5, 0.999)}
        self.generator_optimizer = torch.optim.Adam(
            [*self.generator.parameters(), *self.encoder.parameters()], **adam
        )
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), **adam)

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
        checkpoint.save(path, {**state, "settings": asdict(self.settings), "step": self.step})

    def resume(self, path: Path) -> bool:
        """Go on from the checkpoint at ``path``; False when there is none."""
        state = checkpoint.load(path, asdict(self.settings))
        if state is None:
            return False
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step = state["step"]
        return True

    def _learning_rate(self) -> float:
        progress = self.step / self.settings.steps
        return self.settings.learning_rate * min(1.0, 0.1 + 0.9 * 3 * (1 - progress))

    def update(self, images: Tensor) -> GanProgress:
        """One update of D, then of G and E, on the step's own batch of ``images`` (n, c, h, w) uint8."""
        settings, generator = self.settings, checkpoint.step_generator(self.settings.seed, self.step)
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            optimizer.param_groups[0]["lr"] = self._learning_rate()
        index = checkpoint.batch_indices(len(images), settings.batch, self.step, settings.seed)
        real = images[index].float() / 127.5 - 1
        latent = torch.rand(len(real), self.average.latent_size, generator=generator) * 2 - 1

        if settings.reconstruction > 0:
            codes = self.encoder(real)
            fake, again = self.generator(torch.cat([latent, codes])).split(len(real))
            reconstruction = (again - real).abs().mean()
            extra = settings.reconstruction * reconstruction
            extra = extra + settings.code_match * sliced_wasserstein(codes, latent, generator)
        else:
            fake = self.generator(latent)
            reconstruction = extra = real.new_zeros(())

        self.discriminator_optimizer.zero_grad(set_to_none=True)
        # Real and generated images are normalised in one batch: Table 4 ends in BN, which
        # would otherwise hide the difference of their means from the last layer.
        real_logit, fake_logit = self.discriminator(torch.cat([real, fake.detach()])).split(len(real))
        discriminator_loss = (
            functional.softplus(-real_logit).mean() + functional.softplus(fake_logit).mean()
        )
        discriminator_loss.backward()
        self.discriminator_optimizer.step()

        self.discriminator.requires_grad_(False)
        _, fake_logit = self.discriminator(torch.cat([real, fake])).split(len(real))
        generator_loss = functional.softplus(-fake_logit).mean()
        self.generator_optimizer.zero_grad(set_to_none=True)
        (generator_loss + extra).backward()
        self.generator_optimizer.step()
        self.discriminator.requires_grad_(True)

        self.step += 1
        # The average forgets its random start early on.
        decay = min(settings.ema, self.step / (self.step + 10))
        _blend(self.average, self.generator, decay)
        return GanProgress(
            self.step, float(discriminator_loss), float(generator_loss), float(reconstruction)
        )

    def run(
        self,
        images: Tensor,
        path: Path,
        every: int = 200,
        callback: Callable[[GanProgress], None] | None = None,
    ) -> nn.Module:
        """Train to the last step on ``images`` (n, c, h, w) uint8; checkpoints go to ``path``.

        Returns the averaged generator, its batch norms set to the statistics of its own activations.
        """
        self.resume(path)
        while self.step < self.settings.steps:
            progress = self.update(images)
            if self.step % every == 0 or self.step == self.settings.steps:
                self.save(path)
            if callback is not None:
                callback(progress)
        return self.finished_generator()

    def finished_generator(self) -> nn.Module:
        """The averaged generator in eval mode with freshly measured batch-norm statistics."""
        generator = architecture(self.settings.architecture).generator()
        generator.load_state_dict(self.average.state_dict())
        norms = [m for m in generator.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        draws = torch.Generator().manual_seed(self.settings.seed)
        with torch.no_grad():
            for _ in range(40):
                generator(torch.rand(250, generator.latent_size, generator=draws) * 2 - 1)
        return generator.eval().requires_grad_(False)


@torch.no_grad()
def _blend(average: nn.Module, current: nn.Module, decay: float) -> None:
    pairs = zip(average.state_dict().values(), current.state_dict().values(), strict=True)
    for old, new in pairs:
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)


def sliced_wasserstein(codes: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """Squared sliced Wasserstein distance of two equal-sized sets (n, k), along axes and random directions."""
    directions = torch.randn(codes.shape[1], 2 * codes.shape[1], generator=generator)
    directions = torch.cat([torch.eye(codes.shape[1]), directions / directions.norm(dim=0)], dim=1)
    ours = (codes @ directions).sort(dim=0).values
    theirs = (target @ directions).sort(dim=0).values
    return (ours - theirs).square().mean()
