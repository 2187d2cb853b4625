"""The prior: a frozen generator, its discriminator, and the box its latents live in."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mimicgan.errors import UserError
from mimicgan.tensor_files import fingerprint


@dataclass(frozen=True)
class Prior:
    """A GAN trained on clean images, frozen and in eval mode.

    ``generator`` maps latents (n, latent_size) in ``box`` to images (n, c, h, w) in [-1, 1];
    ``discriminator`` (optional) maps images to logits (n,).
    """

    generator: nn.Module
    latent_size: int
    image_shape: tuple[int, int, int]
    discriminator: nn.Module | None = None
    box: tuple[float, float] = (-1.0, 1.0)
    name: str = "custom"
    restorer: nn.Module | None = field(default=None, repr=False)
    mismatch: float = 0.02
    """Set distance of real clean images to typical ones, which a fit cannot fall below."""
    bank: Tensor | None = field(default=None, repr=False)
    """Latents (m, latent_size) whose images, as a set, look like the training images."""
    retouch: nn.Module | None = field(default=None, repr=False)
    """Generated images (n, c, h, w) in [-1, 1] -> images nearer to the training images as a set."""

    def __post_init__(self) -> None:
        for module in (self.generator, self.discriminator, self.restorer, self.retouch):
            if module is not None:
                _make_ordinary(module)
                module.eval().requires_grad_(False)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` latents (count, latent_size), uniform in the box."""
        low, high = self.box
        return torch.rand(count, self.latent_size, generator=generator) * (high - low) + low

    def mean_latent(self, generator: torch.Generator, draws: int = 1000) -> Tensor:
        """Initialisation of section 3.1: the average (latent_size,) of 1000 uniform latents."""
        return self.draw(draws, generator).mean(dim=0)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` generated images (count, c, h, w) in [-1, 1] from the whole box."""
        return self.images_of(self.draw(count, generator))

    def typical(self, count: int, generator: torch.Generator) -> Tensor:
        """At most ``count`` generated images that stand for the training images, as a set.

        Those of ``bank``, in a random order, retouched; any from the box where the prior has no
        bank.
        """
        return self.retouched(self.images_of(self.typical_latents(count, generator)))

    def typical_latents(self, count: int, generator: torch.Generator) -> Tensor:
        """The latents (m, latent_size) of such images."""
        if self.bank is None:
            return self.draw(count, generator)
        order = torch.randperm(len(self.bank), generator=generator)[:count]
        return self.bank[order]

    @torch.no_grad()
    def retouched(self, images: Tensor, batch: int = 250) -> Tensor:
        """Generated images (n, c, h, w) in [-1, 1], retouched where the prior knows how."""
        if self.retouch is None:
            return images
        return torch.cat([self.retouch(part) for part in torch.split(images, batch)])

    @torch.no_grad()
    def images_of(self, latents: Tensor, batch: int = 250) -> Tensor:
        """G(z) in [-1, 1] for any number of latents (n, latent_size)."""
        return torch.cat([self.generator(part) for part in torch.split(latents, batch)])

    def sha256(self) -> str:
        """SHA-256 of all that a restoration by it depends on: two priors may have one name."""
        modules = {
            "generator": self.generator,
            "restorer": self.restorer,
            "retouch": self.retouch,
        }
        tensors = {
            f"{part}.{key}": value
            for part, module in modules.items()
            if module is not None
            for key, value in module.state_dict().items()
        }
        tensors["numbers"] = torch.tensor([*self.box, self.mismatch], dtype=torch.float64)
        return fingerprint(tensors if self.bank is None else {**tensors, "bank": self.bank})

    @contextmanager
    def counted(self) -> Iterator["Passes"]:
        """Count the images that pass forward through the generator inside the block."""
        passes = Passes()

        def add(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            passes.images += len(output)

        handle = self.generator.register_forward_hook(add)
        try:
            yield passes
        finally:
            handle.remove()


def check_prior(prior: object) -> None:
    """UserError for what is no prior, as the name of one."""
    if not isinstance(prior, Prior):
        raise UserError(
            f"{prior!r:.40} is no prior; load one by its name with load_prior, or make a Prior of "
            "a generator"
        )


@torch.inference_mode(False)
def _make_ordinary(module: nn.Module) -> None:
    """Replace tensors made under inference_mode, which can take no part in a fit, by copies."""
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            if value.is_inference():
                setattr(part, name, nn.Parameter(value.clone(), requires_grad=False))
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_inference():
                setattr(part, name, buffer.clone())


@dataclass
class Passes:
    """Forward passes through a generator, one for each image."""

    images: int = 0
