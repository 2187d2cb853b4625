"""``mimicgan train gan``: a prior from a folder of clean images."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro

from mimicgan.commands.flags import TrainFlags
from mimicgan.commands.screen import Advance, Screen
from mimicgan.commands.sources import CELEBA, FASHION, DataFlags
from mimicgan.data import celeba
from mimicgan.errors import UserError
from mimicgan.files import written_whole
from mimicgan.images import to_user
from mimicgan.overview import grid
from mimicgan.pretrained import Card, save_prior, word_for
from mimicgan.training.gan import GanProgress, GanSettings, GanTraining
from mimicgan.training.ranks import Ranks, joined_ranks

LICENCES = {FASHION: "MIT", CELEBA: celeba.LICENCE}
ROWS, COLUMNS = 4, 10


@dataclass(frozen=True, kw_only=True)
class TrainGan(TrainFlags, DataFlags):
    """Train a GAN on clean images; the result is a prior for `mimicgan restore --prior`.

    OUT gets a checkpoint (a run that was cut short goes on from it when started again), a grid of
    samples after every epoch, and at the end prior.safetensors and prior.json.

    Examples:
      mimicgan train gan --data fashion-mnist --out runs/gan
      mimicgan train gan --data celeba --data-dir ~/data --architecture dcgan --flip
      mimicgan train gan --data my-photos --architecture dcgan --out runs/mine --steps 20000
      torchrun --nproc-per-node 4 -m mimicgan train gan --data fashion-mnist --out runs/gan
    """

    out: Path = Path("runs/gan")
    """Folder for checkpoint, samples and the finished prior."""
    name: str = ""
    """Name on the card; the data's unless given."""
    licence: str = ""
    """Terms on the card; those of the data set for fashion-mnist and celeba."""
    settings: Annotated[GanSettings, tyro.conf.arg(name="")] = field(default_factory=GanSettings)

    def run(self) -> None:
        self.prepare()
        with joined_ranks() as ranks:
            self._train(ranks)

    def _train(self, ranks: Ranks) -> None:
        screen = self.screen() if ranks.first else Screen(quiet=True, json=False)
        settings = self.settings
        shape = settings.networks().generator().image_shape
        images = self.clean(shape)
        if not 2 <= settings.batch <= len(images):
            raise UserError(
                f"--batch {settings.batch} does not go with {len(images)} images; "
                "give 2 or more, and at most as many as there are images"
            )
        if settings.batch % ranks.size:
            raise UserError(
                f"--batch {settings.batch} cannot be split over {ranks.size} processes; give a "
                f"multiple of {ranks.size}"
            )
        training = GanTraining(settings, ranks)
        epoch = len(images) // settings.batch
        with screen.progress("training the GAN", settings.steps) as advance:
            generator = training.run(
                images,
                self.out / "checkpoint.pt",
                callback=self._observer(training, epoch, advance) if ranks.first else None,
            )
        if generator is None:
            return
        self._sample(training, "final")
        discriminator = training.discriminator.eval()
        save_prior(self.out, self._card(len(images)), generator, discriminator)
        screen.say(f"prior in {self.out}; use it with --prior {shlex.quote(word_for(self.out))}")
        screen.result({"command": "train gan", "prior": str(self.out), "steps": settings.steps})

    def _observer(
        self, training: GanTraining, epoch: int, advance: Advance
    ) -> Callable[[GanProgress], None]:
        def see(progress: GanProgress) -> None:
            advance(
                progress.step,
                f"D {progress.discriminator_loss:.3f} G {progress.generator_loss:.3f} "
                f"rec {progress.reconstruction_loss:.4f} kl {progress.divergence:.1f}",
            )
            if progress.step % epoch == 0:
                self._sample(training, f"step-{progress.step:06d}")

        return see

    @torch.no_grad()
    def _sample(self, training: GanTraining, name: str) -> None:
        """A grid of what the averaged generator makes of the same latents every time."""
        average = training.average.eval()
        draws = torch.Generator().manual_seed(0)
        latents = torch.rand(ROWS * COLUMNS, average.latent_size, generator=draws) * 2 - 1
        rows = [("", part) for part in torch.split(to_user(average(latents)), COLUMNS)]
        with written_whole(self.out / "samples" / f"{name}.png") as partial:
            grid(rows, columns=COLUMNS).save(partial, "PNG")

    def _card(self, count: int) -> Card:
        return Card(
            name=self.name or Path(self.data).name or "custom",
            architecture=self.settings.architecture,
            data=self._source(count),
            licence=self.licence or LICENCES.get(self.data, "not stated"),
            command=shlex.join(["mimicgan", *sys.argv[1:]]),
            seed=self.settings.seed,
            settings=asdict(self.settings),
        )

    def _source(self, count: int) -> str:
        if self.data == FASHION:
            return f"Fashion-MNIST (Zalando SE), the first {count} training images"
        if self.data == CELEBA:
            return f"CelebA (Liu et al. 2015), {count} aligned images of its training split"
        return f"{count} images of {Path(self.data).name}"
