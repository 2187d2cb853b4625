"""``mimicgan train restorer``: the universal restorer that a prior ships with."""

import shlex
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from mimicgan.commands.flags import PATH, TrainFlags
from mimicgan.commands.sources import FASHION, data_set
from mimicgan.errors import UserError
from mimicgan.images import rounded, to_internal
from mimicgan.misfit import prior_mismatch
from mimicgan.pretrained import load_card, load_prior, save_prior, word_for
from mimicgan.training.herding import herded
from mimicgan.training.restorer import RestorerSettings, train_universal

FEWEST = 20
"""Images that a restorer is trained on, at least; a fifth of so few is kept to judge the bank."""


@dataclass(frozen=True, kw_only=True)
class TrainRestorer(TrainFlags):
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
    data: str = FASHION
    """fashion-mnist, celeba, a folder of clean images, or `samples`: the prior's own."""
    data_dir: Annotated[Path | None, PATH] = None
    """Where the data set is, if not in one of its usual places."""
    settings: Annotated[RestorerSettings, tyro.conf.arg(name="")] = field(
        default_factory=RestorerSettings
    )

    def run(self) -> None:
        screen = self.screen()
        self.prepare()
        prior, card = load_prior(self.prior), load_card(self.prior)
        if self.data == "samples":
            images = prior.sample(20000, torch.Generator().manual_seed(self.settings.seed))
        else:
            clean = data_set(self.data, self.data_dir, prior.image_shape)
            images = to_internal(clean.float() / 255)
        if len(images) < FEWEST:
            raise UserError(f"{len(images)} images make no restorer; give {FEWEST} or more")
        with screen.progress("training the restorer", self.settings.steps) as advance:
            restorer = train_universal(
                images,
                self.settings,
                self.out / "restorer.pt",
                callback=lambda step, loss: advance(step, f"l1 {loss:.4f}"),
            )
        generator = torch.Generator().manual_seed(self.settings.seed)
        order = torch.randperm(len(images), generator=generator)
        # The bank must not be measured against the images that it was chosen by.
        cut = min(1000, len(images) // 5)
        held, chosen = images[order[:cut]], images[order[cut : cut + 6000]]
        screen.say("choosing typical images")
        bank = herded(prior, chosen, generator)
        typical = rounded(
            prior.images_of(bank[torch.randperm(len(bank), generator=generator)[:512]])
        )
        mismatch = prior_mismatch(held, typical, generator)
        command = shlex.join(["mimicgan", *sys.argv[1:]])
        card = replace(
            card,
            command=f"{card.command}; {command}",
            metrics={**card.metrics, "mismatch": round(mismatch, 4)},
            settings={**card.settings, "restorer": asdict(self.settings)},
        )
        save_prior(self.out, card, prior.generator, prior.discriminator, restorer, prior.box, bank)
        word = shlex.quote(word_for(self.out))
        screen.say(f"prior with its restorer in {self.out}; use it with --prior {word}")
        screen.result({"command": "train restorer", "prior": str(self.out)})
