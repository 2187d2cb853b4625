"""``mimicgan train restorer``: the universal restorer that a prior ships with."""

import shlex
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from mimicgan.card import Card
from mimicgan.commands.flags import TrainFlags
from mimicgan.commands.screen import Screen
from mimicgan.commands.sources import FASHION, DataFlags
from mimicgan.errors import UserError
from mimicgan.images import to_internal
from mimicgan.pretrained import load_card, load_prior, save_prior, word_for
from mimicgan.prior import Prior
from mimicgan.training.herding import with_typical
from mimicgan.training.restorer import RestorerSettings, train_universal

FEWEST = 20
"""Images that a restorer is trained on, at least; a fifth of so few is kept to judge the bank."""


@dataclass(frozen=True, kw_only=True)
class CleanFlags(DataFlags):
    """Which clean images a prior is completed by."""

    data: str = FASHION
    """fashion-mnist, celeba, a folder of clean images, or `samples`: the prior's own."""

    def completing(self, prior: Prior, seed: int) -> Tensor:
        """The images (n, c, h, w) in [-1, 1]. UserError for too few."""
        if self.data == "samples":
            images = prior.sample(20000, torch.Generator().manual_seed(seed))
        else:
            images = to_internal(self.clean(prior.image_shape).float() / 255)
        if len(images) < FEWEST:
            raise UserError(f"{len(images)} images are too few; give {FEWEST} or more")
        return images


@dataclass(frozen=True, kw_only=True)
class TrainRestorer(TrainFlags, CleanFlags):
    """Train a restorer on clean images under random damages, and add it to a prior.

    The default method starts from it and needs far less time for each new damage.

    Examples:
      mimicgan train restorer --prior runs/gan --out runs/prior
      mimicgan train restorer --prior runs/mine --data my-photos --out runs/mine-with-restorer
    """

    prior: Path
    """Folder of the prior, as `mimicgan train gan` leaves it."""
    out: Path = Path("runs/prior")
    """Folder for the checkpoint and the prior with its restorer."""
    settings: Annotated[RestorerSettings, tyro.conf.arg(name="")] = field(
        default_factory=RestorerSettings
    )

    def run(self) -> None:
        screen = self.screen()
        self.prepare()
        prior, card = load_prior(self.prior), load_card(self.prior)
        images = self.completing(prior, self.settings.seed)
        with screen.progress("training the restorer", self.settings.steps) as advance:
            restorer = train_universal(
                images,
                self.settings,
                self.out / "restorer.pt",
                callback=lambda step, loss: advance(step, f"l1 {loss:.4f}"),
            )
        card = replace(card, settings={**card.settings, "restorer": asdict(self.settings)})
        prior = replace(prior, restorer=restorer)
        save_with_typical(screen, self.out, card, prior, images, self.settings.seed)
        screen.result({"command": "train restorer", "prior": str(self.out)})


def save_with_typical(
    screen: Screen, out: Path, card: Card, prior: Prior, images: Tensor, seed: int
) -> None:
    """Write the prior with typical images, chosen by real ``images`` (n, c, h, w) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    # Without a terminal there is no bar.
    screen.say("choosing typical images")
    with screen.progress("choosing typical images", 100) as advance:
        prior = with_typical(prior, images, generator, lambda share: advance(round(100 * share)))
    command = shlex.join(["mimicgan", *sys.argv[1:]])
    card = replace(
        card,
        command=f"{card.command}; {command}",
        metrics={**card.metrics, "mismatch": round(prior.mismatch, 4)},
    )
    save_prior(
        out,
        card,
        prior.generator,
        prior.discriminator,
        prior.restorer,
        prior.box,
        prior.bank,
        prior.retouch,
    )
    screen.say(f"prior in {out}; use it with --prior {shlex.quote(word_for(out))}")
