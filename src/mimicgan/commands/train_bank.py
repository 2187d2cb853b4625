"""``mimicgan train bank``: typical images of a prior, chosen anew."""

from dataclasses import dataclass
from pathlib import Path

from mimicgan.commands.flags import ComputeFlags, check_folder
from mimicgan.commands.train_restorer import CleanFlags, save_with_typical
from mimicgan.pretrained import load_card, load_prior


@dataclass(frozen=True, kw_only=True)
class TrainBank(ComputeFlags, CleanFlags):
    """Choose anew which of a prior's images stand for the clean ones, and what retouches them.

    `train restorer` does this at its end; here the networks stay as they are. The default method
    compares observations with these images: what sets them apart from clean ones, it takes for a
    damage.

    Examples:
      mimicgan train bank --prior faces --data celeba --out runs/faces
      mimicgan train bank --prior runs/mine --data my-photos --out runs/mine-again
    """

    prior: str
    """A shipped name, or the folder of a prior."""
    out: Path = Path("runs/prior")
    """Folder for the prior with its new typical images."""
    seed: int = 0

    def run(self) -> None:
        screen = self.screen()
        self.prepare()
        check_folder(self.out)
        prior, card = load_prior(self.prior), load_card(self.prior)
        images = self.completing(prior, self.seed)
        save_with_typical(screen, self.out, card, prior, images, self.seed)
        screen.result({"command": "train bank", "prior": str(self.out)})
