"""A learnt damage with the restorer made for it: applied, saved, read again."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as tensor_bytes
from torch import Tensor, nn

from mimicgan.consistency import consistent
from mimicgan.damage import ComposedDamage
from mimicgan.errors import UserError
from mimicgan.files import written_whole
from mimicgan.models.restorer import Restorer
from mimicgan.prior import Prior
from mimicgan.tensor_files import built, fingerprint, tensors_of
from mimicgan.training.checkpoint import seeded

FORMAT = "mimicgan-damage-3"
REMEDY = "make it again with `restore --save-damage`"


@dataclass(frozen=True)
class Damage:
    """A learnt damage and the restorer trained on it; what ``restore --save-damage`` keeps."""

    surrogate: nn.Module
    restorer: nn.Module
    misfit: float | None = None
    error: float | None = None
    """Mean distance of restored from clean images, of [-1, 1], under the learnt damage; None where
    the damage does not fit, or was not learnt just now."""
    slack: Tensor | None = None
    """(c, h, w): how far what is restored may be from what the observations show (``consistent``);
    None where they are not asked again."""
    own: bool = True
    """Whether the restorer was made for this damage; else it is the universal one."""

    @classmethod
    def universal(cls, prior: Prior) -> "Damage":
        """No learnt damage: the prior's own restorer, and the identity as surrogate.

        UserError when the prior has none.
        """
        if prior.restorer is None:
            raise UserError(
                f"the prior {prior.name!r} has no restorer, which is needed here; give 4 "
                "observations or more and the method auto, or a prior by `mimicgan train gan`, to "
                "which `mimicgan train restorer` adds one"
            )
        return cls(nn.Identity(), prior.restorer, own=False)

    @property
    def undamaged(self) -> bool:
        """Whether the observations looked like clean images: they come back as they are."""
        return isinstance(self.restorer, nn.Identity)

    @property
    def describes(self) -> bool:
        """Whether it says what the damage is: a supervised or a hardened restorer has no surrogate
        and cannot be told from one for another damage."""
        return self.undamaged or not isinstance(self.surrogate, nn.Identity)

    def restore(self, y: Tensor, batch: int = 500) -> Tensor:
        """Observations (n, c, h, w) in [-1, 1] -> restored images, taken towards those that the
        damage turns into the observations."""
        x, slack = self.guess(y, batch), self.slack
        if slack is None or not isinstance(self.surrogate, ComposedDamage):
            return x
        return consistent(self.surrogate, y, x, slack)

    @torch.no_grad()
    def guess(self, y: Tensor, batch: int = 500) -> Tensor:
        """Observations (n, c, h, w) in [-1, 1] -> what the restorer alone makes of them."""
        return torch.cat([self.restorer(part) for part in torch.split(y, batch)]).clamp(-1, 1)

    @torch.no_grad()
    def simulate(self, x: Tensor, generator: torch.Generator, batch: int = 500) -> Tensor:
        """The damage applied to images (n, c, h, w) in [-1, 1]."""
        surrogate = self.drawing_from(generator)
        return torch.cat([surrogate(part) for part in torch.split(x, batch)]).clamp(-1, 1)

    def drawing_from(self, generator: torch.Generator) -> nn.Module:
        """The surrogate, whose random numbers come from ``generator`` from now on."""
        if isinstance(self.surrogate, ComposedDamage):
            self.surrogate.generator = generator
        return self.surrogate

    def save(self, path: Path | str) -> None:
        """Write to a safetensors file that ``load`` reads."""
        content = self.content()
        with written_whole(Path(path)) as partial:
            partial.write_bytes(content)

    def content(self) -> bytes:
        """The content of the file that ``save`` writes. UserError for networks of one's own."""
        shapes = {
            part.image_shape if isinstance(part, Restorer) else part.shape
            for part in (self.restorer, self.surrogate)
            if isinstance(part, Restorer | ComposedDamage)
        }
        own = (Restorer, ComposedDamage, nn.Identity)
        if not shapes or not all(isinstance(p, own) for p in (self.restorer, self.surrogate)):
            raise UserError(
                "only networks of this package can be saved; write the restorer with export instead"
            )
        parts = {"restorer": self.restorer, "surrogate": self.surrogate}
        tensors = {
            f"{name}.{key}": value.contiguous()
            for name, part in parts.items()
            for key, value in part.state_dict().items()
        }
        if self.slack is not None:
            tensors["slack"] = self.slack.contiguous()
        card = {
            "format": FORMAT,
            "image_shape": list(shapes.pop()),
            "misfit": self.misfit,
            "own": self.own,
            "sha256": fingerprint(tensors),
        }
        return tensor_bytes(tensors, metadata={"mimicgan": json.dumps(card)})

    def export(self, path: Path | str, shape: tuple[int, int, int]) -> None:
        """Write the restorer for images of ``shape`` (c, h, w) as a program that runs without this
        package: .pt2 (torch.export) or .onnx. It takes and gives images (n, c, h, w) in [0, 1], any
        n: what ``guess`` gives, without the steps towards the observations. Raises UserError.
        """
        # Imported here: few need it.
        from mimicgan.export import export_restorer

        export_restorer(self.restorer, Path(path), shape)

    @classmethod
    def load(cls, path: Path | str, prior: Prior) -> "Damage":
        """Read what ``save`` wrote; UserError when it is not that, damaged, or of another shape."""
        path = Path(path)
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file; {REMEDY}")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}; {REMEDY}") from error
        return cls.parsed(content, path, prior)

    @classmethod
    @torch.inference_mode(False)
    def parsed(cls, content: bytes, path: Path, prior: Prior) -> "Damage":
        """The damage in the content of the file ``path``, as ``load``."""
        tensors = tensors_of(content, path, REMEDY)
        card = _card(content)
        if card.get("format") != FORMAT:
            raise UserError(f"{path} is no learnt damage of this version; {REMEDY}")
        shape, misfit = card.get("image_shape"), card.get("misfit")
        if shape != list(prior.image_shape):
            raise UserError(
                f"{path} was learnt on images {shape}, the prior makes {prior.image_shape}; "
                "use the prior it was learnt with"
            )
        # Files of older versions have no fingerprint.
        whole = card.get("sha256") in (None, fingerprint(tensors))
        if not whole or not isinstance(misfit, float | int | None):
            raise UserError(f"{path} is damaged (SHA-256 differs); copy it again, or {REMEDY}")
        slack = tensors.get("slack")
        there = {key.partition(".")[0] for key in tensors}
        try:
            parts = [
                built(lambda make=make: make(prior.image_shape), tensors, name).eval()  # type: ignore[misc]
                if name in there
                else nn.Identity()
                for name, make in (("surrogate", ComposedDamage), ("restorer", Restorer))
            ]
            if slack is not None and (slack.shape != prior.image_shape or not (slack > 0).all()):
                raise ValueError("no slack of such images")
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{path} is damaged or of another version; {REMEDY}") from error
        surrogate, restorer = (part.requires_grad_(False) for part in parts)
        return cls(surrogate, restorer, misfit, slack=slack, own=card.get("own") is not False)


def _card(content: bytes) -> dict[str, Any]:
    """What ``save`` wrote beside the tensors of a safetensors file that can be read; maybe {}."""
    size = int.from_bytes(content[:8], "little")
    try:
        text = json.loads(content[8 : 8 + size])["__metadata__"]["mimicgan"]
        card = json.loads(text)
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return card if isinstance(card, dict) else {}


def warm_restorer(prior: Prior, seed: int) -> nn.Module:
    """A restorer to train further: a copy of the prior's, or a fresh one where it has none."""
    if prior.restorer is not None:
        return copy.deepcopy(prior.restorer)
    with seeded(seed):
        return Restorer(prior.image_shape)
