"""A learnt damage with the restorer made for it: applied, saved, read again."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mimicgan.damage import ComposedDamage
from mimicgan.errors import UserError
from mimicgan.files import written_whole
from mimicgan.images import to_internal, to_user
from mimicgan.models.restorer import Restorer
from mimicgan.prior import Prior

FORMAT = "mimicgan-damage-1"


@dataclass(frozen=True)
class Damage:
    """A learnt damage and the restorer trained on it; what ``restore --save-damage`` keeps."""

    surrogate: nn.Module
    restorer: nn.Module
    misfit: float | None = None

    @classmethod
    def universal(cls, prior: Prior) -> "Damage":
        """No learnt damage: the prior's own restorer, and the identity as surrogate.

        UserError when the prior has none.
        """
        if prior.restorer is None:
            raise UserError(
                f"the prior {prior.name!r} has no restorer, which is needed here; give it one with "
                "`mimicgan train restorer`, or give 4 observations or more and the method auto"
            )
        return cls(nn.Identity(), prior.restorer)

    @property
    def undamaged(self) -> bool:
        """Whether the observations looked like clean images: they come back as they are."""
        return isinstance(self.restorer, nn.Identity)

    @torch.no_grad()
    def restore(self, y: Tensor, batch: int = 500) -> Tensor:
        """Observations (n, c, h, w) in [-1, 1] -> restored images."""
        return torch.cat([self.restorer(part) for part in torch.split(y, batch)]).clamp(-1, 1)

    @torch.no_grad()
    def simulate(self, x: Tensor, generator: torch.Generator, batch: int = 500) -> Tensor:
        """The damage applied to images (n, c, h, w) in [-1, 1]."""
        if isinstance(self.surrogate, ComposedDamage):
            self.surrogate.generator = generator
        return torch.cat([self.surrogate(part) for part in torch.split(x, batch)]).clamp(-1, 1)

    def save(self, path: Path | str) -> None:
        """Write to a safetensors file that ``load`` reads."""
        shapes = {
            part.image_shape if isinstance(part, Restorer) else part.shape
            for part in (self.restorer, self.surrogate)
            if isinstance(part, Restorer | ComposedDamage)
        }
        own = (Restorer, ComposedDamage, nn.Identity)
        if not shapes or not all(isinstance(p, own) for p in (self.restorer, self.surrogate)):
            raise UserError("only networks of this package can be saved; pickle yours yourself")
        parts = {"restorer": self.restorer, "surrogate": self.surrogate}
        tensors = {
            f"{name}.{key}": value.contiguous()
            for name, part in parts.items()
            for key, value in part.state_dict().items()
        }
        card = {
            "format": FORMAT,
            "image_shape": list(shapes.pop()),
            "misfit": self.misfit,
        }
        with written_whole(Path(path)) as partial:
            save_file(tensors, partial, metadata={"mimicgan": json.dumps(card)})

    def export(self, path: Path | str, shape: tuple[int, int, int]) -> None:
        """Write the restorer as a torch.export program (.pt2) that runs without this package.

        It takes images (n, c, h, w) of ``shape`` (c, h, w) in [0, 1], any n, and gives such.
        """
        if Path(path).suffix != ".pt2":
            raise UserError(f"{path} must end in .pt2, the suffix of torch.export's programs")
        count = torch.export.Dim("n", min=1, max=65536)
        program = torch.export.export(
            _Exported(self.restorer), (torch.zeros(3, *shape),), dynamic_shapes=({0: count},)
        )
        with written_whole(Path(path)) as partial:
            torch.export.save(program, partial)

    @classmethod
    def load(cls, path: Path | str, prior: Prior) -> "Damage":
        """Read what ``save`` wrote; UserError when it is not that, or of another shape."""
        try:
            with safe_open(path, framework="pt") as file:
                card = json.loads((file.metadata() or {}).get("mimicgan", "{}"))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}); save the damage again") from error
        if not isinstance(card, dict) or card.get("format") != FORMAT:
            raise UserError(f"{path} is no learnt damage; make one with `restore --save-damage`")
        shape = tuple(card["image_shape"])
        if shape != prior.image_shape:
            raise UserError(
                f"{path} was learnt on images {shape}, the prior makes {prior.image_shape}; "
                "use the prior it was learnt with"
            )
        there = {key.partition(".")[0] for key in tensors}
        restorer = Restorer(shape) if "restorer" in there else nn.Identity()
        surrogate = ComposedDamage(shape) if "surrogate" in there else nn.Identity()
        try:
            for name, part in {"restorer": restorer, "surrogate": surrogate}.items():
                prefix = f"{name}."
                part.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                )
        except RuntimeError as error:
            raise UserError(f"{path} is damaged or of another version; save it again") from error
        for part in (restorer, surrogate):
            part.eval().requires_grad_(False)
        return cls(surrogate, restorer, card.get("misfit"))


class _Exported(nn.Module):
    """A restorer for images in [0, 1]."""

    def __init__(self, restorer: nn.Module) -> None:
        super().__init__()
        self.restorer = copy.deepcopy(restorer)

    def forward(self, x: Tensor) -> Tensor:
        return to_user(self.restorer(to_internal(x)))


def warm_restorer(prior: Prior, seed: int) -> nn.Module:
    """A restorer to train further: a copy of the prior's, or a fresh one where it has none."""
    if prior.restorer is not None:
        return copy.deepcopy(prior.restorer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Restorer(prior.image_shape)
