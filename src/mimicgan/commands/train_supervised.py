"""``mimicgan train supervised``: a restorer for one damage that is known, the paper's baseline."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor, nn

from mimicgan.commands.corrupt import damaged
from mimicgan.commands.flags import TrainFlags
from mimicgan.commands.sources import DataFlags
from mimicgan.errors import check_seed
from mimicgan.images import to_internal, to_user
from mimicgan.learnt import Damage
from mimicgan.metrics import psnr
from mimicgan.pretrained import load_prior
from mimicgan.tensor_files import fingerprint
from mimicgan.training import checkpoint
from mimicgan.training.supervised import SupervisedSettings, train_supervised

HELD_OUT = 500
"""Validation images on which the finished network is measured."""


@dataclass(frozen=True, kw_only=True)
class TrainSupervised(TrainFlags, DataFlags):
    """Train a restorer for one known damage on pairs of real images: damaged, clean.

    This is what the blind methods are compared with. OUT/TASK.safetensors goes to
    `mimicgan restore --damage`.

    Examples:
      mimicgan train supervised --task negative-blur
      mimicgan train supervised --task stuck-pixels --once --prior faces --data celeba
      mimicgan train supervised --task unseen:motion_blur:high --out runs/motion
    """

    task: str
    """Name of the damage; `mimicgan corrupt --list` shows all."""
    once: bool = False
    """Draw the damage once, by --draw, as for a broken sensor: not anew for every batch."""
    draw: int = 0
    """Seed of that draw: `mimicgan corrupt --seed` with the same number damages alike."""
    prior: str = "fashion-mnist"
    """The prior whose restorer and image size it starts from."""
    out: Path = Path("runs/supervised")
    """Folder for the checkpoint and the finished network."""
    settings: Annotated[SupervisedSettings, tyro.conf.arg(name="")] = field(
        default_factory=SupervisedSettings
    )

    def run(self) -> None:
        screen = self.screen()
        self.prepare()
        check_seed(self.draw)
        prior = load_prior(self.prior)
        # A wrong name should not wait for the data.
        self._damage(torch.rand(2, *prior.image_shape), torch.Generator())
        images = self.clean(prior.image_shape)
        held = self.clean(prior.image_shape, "validation")[:HELD_OUT]
        judge = prior.discriminator
        origin: dict[str, object] = {
            "prior": prior.sha256(),
            "discriminator": None if judge is None else fingerprint(judge.state_dict()),
            "images": checkpoint.digest_of(images),
            "draw": self.draw if self.once else None,
        }
        name = self.task.replace(":", "-")
        with screen.progress(f"training for {self.task}", self.settings.steps) as advance:
            network = train_supervised(
                self._damage,
                images,
                prior,
                self.settings,
                self.out / f"{name}.pt",
                self._drawn if self.once else None,
                lambda step, loss: advance(step, f"loss {loss:.4f}"),
                origin,
            )
        target = self.out / f"{name}.safetensors"
        Damage(nn.Identity(), network).save(target)
        before, after, count = self._measured(held, network)
        screen.say(
            f"{before:.2f} dB damaged, {after:.2f} dB restored ({count} validation images); "
            f"use it with `mimicgan restore IN OUT --damage {target}`"
        )
        told = {"task": self.task, "damage": str(target), "n_images": count}
        screen.result(
            {"command": "train supervised", **told, "psnr_observed": before, "psnr": after}
        )

    def _damage(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return damaged(self.task, images, generator)

    def _drawn(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.draw)

    @torch.no_grad()
    def _measured(self, images: Tensor, network: nn.Module) -> tuple[float, float, int]:
        """Mean PSNR of damaged and of restored images (n, c, h, w) uint8, in dB; their number."""
        clean = images.float() / 255
        observed = self._damage(clean, self._drawn())
        restored = to_user(Damage(nn.Identity(), network).restore(to_internal(observed)))
        before, after = (psnr(each, clean).mean().item() for each in (observed, restored))
        return before, after, len(images)
