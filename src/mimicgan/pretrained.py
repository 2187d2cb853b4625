"""Priors and classifiers on disk: safetensors in half precision beside a card in JSON.

A folder holds ``prior.safetensors`` (keys ``generator.*`` and, where there is one,
``discriminator.*`` and ``restorer.*``), where there are some ``bank.safetensors`` with latents that
stand for the training images and what retouches theirs, and ``prior.json``: what it is, how it was
made, and SHA-256.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as tensor_bytes
from torch import Tensor, nn

from mimicgan.card import Card as Card
from mimicgan.card import misfit, read_card, unreadable
from mimicgan.errors import UserError
from mimicgan.files import write_together
from mimicgan.models import ARCHITECTURES
from mimicgan.models.classifier import FashionClassifier
from mimicgan.models.retouch import Retouch
from mimicgan.prior import Prior
from mimicgan.tensor_files import built, tensors_of
from mimicgan.user_program import checked, is_user_generator, user_prior

BANK = "bank.safetensors"
HUB = "hf-hub:"
CLASSIFIERS = {"fashion-classifier": FashionClassifier}


def save_prior(
    folder: Path | str,
    card: Card,
    generator: nn.Module,
    discriminator: nn.Module | None = None,
    restorer: nn.Module | None = None,
    box: tuple[float, float] = (-1.0, 1.0),
    bank: Tensor | None = None,
    retouch: nn.Module | None = None,
) -> None:
    """Write a prior that ``load_prior(folder)`` reads; ``card.architecture`` names its networks."""
    if card.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"no architecture {card.architecture!r}; there are: {known}")
    modules = {"generator": generator, "discriminator": discriminator, "restorer": restorer}
    facts: dict[str, Any] = {
        "latent_size": generator.latent_size,
        "image_shape": generator.image_shape,
        "box": box,
    }
    if hasattr(generator, "width"):
        facts["width"] = generator.width
    others: dict[str, bytes] = {}
    if bank is not None:
        # A file of its own: it is chosen anew where the networks stay.
        content = tensor_bytes({"bank": _small(bank), **_small_parts({"retouch": retouch})})
        facts["bank_sha256"] = hashlib.sha256(content).hexdigest()
        others[BANK] = content
    _save(Path(folder), "prior", card, facts, modules, others)


def load_prior(
    name_or_path: Path | str | nn.Module,
    *,
    latent_size: int | None = None,
    image_shape: tuple[int, int, int] | None = None,
    box: tuple[float, float] | None = None,
    discriminator: nn.Module | None = None,
) -> Prior:
    """A shipped prior by name, a folder that ``save_prior`` wrote, or a user's own generator.

    A Path, and a name with a separator ("./faces"), is never that of a shipped one.
    ``hf-hub:ORG/NAME`` or ``hf-hub:ORG/NAME@REVISION`` is such a folder on the Hugging Face hub
    (``mimicgan.adapters.huggingface``). One's own generator is an nn.Module, which is frozen, or a
    ``.pt2`` (torch.export) or TorchScript ``.pt`` file; it maps latents (n, latent_size) in ``box``
    ((-1, 1) unless given) to images (n, c, h, w) in [-1, 1] for any n. ``latent_size`` and
    ``image_shape`` (c, h, w) are needed for it, ``discriminator`` (images -> logits (n,)) may come
    with it; all four are for it alone. Such a file is a program: open none from people you do not
    trust.

    Raises UserError with the remedy when it is missing, damaged, or no generator of this kind.
    """
    own = (latent_size, image_shape, box, discriminator)
    if isinstance(name_or_path, nn.Module):
        return user_prior(name_or_path, *own)
    if is_user_generator(Path(name_or_path)) and not str(name_or_path).startswith(HUB):
        return user_prior(Path(name_or_path), *own)
    if any(each is not None for each in own):
        raise UserError(
            f"{name_or_path} has its latent size, image shape and box on its card, and its own "
            "discriminator; leave them out"
        )
    folder = prior_folder(name_or_path)
    card, facts, tensors = _load(folder, "prior")
    if card.architecture not in ARCHITECTURES:
        raise UserError(
            f"{folder}: no architecture {card.architecture!r} here; use the version of mimicgan "
            "that wrote it, or a newer one"
        )
    networks = ARCHITECTURES[card.architecture]
    parts = {name.partition(".")[0] for name in tensors}
    try:
        low, high = (float(v) for v in facts["box"])
        channels, height, width = (int(v) for v in facts["image_shape"])
        shape = (channels, height, width)
        sizes = {"width": int(facts["width"])} if "width" in facts else {}
        restorer = None
        if "restorer" in parts:
            # Imported here: a prior without a restorer does without the network too.
            from mimicgan.models.restorer import Restorer

            restorer = built(lambda: Restorer(shape), tensors, "restorer")
        maker: Any = built(lambda: networks.generator(**sizes), tensors, "generator")
        if (int(facts["latent_size"]), shape) != (maker.latent_size, maker.image_shape):
            raise ValueError("the card contradicts the generator")
        prior = Prior(
            maker,
            int(facts["latent_size"]),
            shape,
            built(lambda: networks.discriminator(**sizes), tensors, "discriminator")
            if "discriminator" in parts
            else None,
            (low, high),
            card.name,
            restorer,
            float(card.metrics.get("mismatch", Prior.mismatch)),
            *_bank(folder, facts, shape),
        )
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise misfit(folder, "prior") from error
    return checked(prior, str(folder))


def save_classifier(folder: Path | str, card: Card, model: nn.Module) -> None:
    """Write a classifier that ``load_classifier(folder)`` reads, beside a prior or alone."""
    if card.architecture not in CLASSIFIERS:
        known = ", ".join(CLASSIFIERS)
        raise ValueError(f"no architecture {card.architecture!r}; there are: {known}")
    _save(Path(folder), "classifier", card, {}, {"classifier": model}, {})


@torch.inference_mode(False)
def load_classifier(name_or_path: Path | str = "fashion-mnist") -> nn.Module:
    """The classifier of a shipped prior, or of a folder that ``save_classifier`` wrote.

    Frozen and in eval mode; like every network here it takes images (n, c, h, w) in [-1, 1]
    (``mimicgan.images.to_internal``) and gives logits (n, classes). Raises UserError.
    """
    folder = _folder(name_or_path, "classifier")
    card, _, tensors = _load(folder, "classifier")
    if card.architecture not in CLASSIFIERS:
        raise UserError(f"{folder}: no architecture {card.architecture!r} here; update mimicgan")
    try:
        model = built(CLASSIFIERS[card.architecture], tensors, "classifier")
    except RuntimeError as error:
        raise misfit(folder, "classifier") from error
    return model.eval().requires_grad_(False)


def load_card(name_or_path: Path | str, kind: str = "prior") -> Card:
    """The card of a shipped or saved "prior" or "classifier". Raises UserError."""
    return read_card(_folder(name_or_path, kind), kind)[0]


def prior_shape(name_or_path: Path | str) -> tuple[int, int, int]:
    """The (c, h, w) on the card of a shipped or saved prior. Raises UserError."""
    folder = prior_folder(name_or_path)
    try:
        channels, height, width = (int(v) for v in read_card(folder, "prior")[1]["image_shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise misfit(folder, "prior") from error
    return channels, height, width


def prior_folder(name_or_path: Path | str) -> Path:
    """The folder of a shipped or saved prior, fetched if it is on the hub. Raises UserError."""
    return _folder(name_or_path, "prior")


def shipped(kind: str = "prior") -> list[str]:
    """Names of the priors, or of the "classifier"s, that travel in this package."""
    return sorted(path.parent.name for path in _home().glob(f"*/{kind}.json"))


def word_for(folder: Path) -> str:
    """What names the folder of a prior on the command line: a bare word may name a shipped one."""
    return f"./{folder}" if str(folder) == folder.name else str(folder)


def _home() -> Path:
    return Path(str(resources.files("mimicgan"))) / "weights"


def _folder(name_or_path: Path | str, kind: str) -> Path:
    name, folder = str(name_or_path), Path(name_or_path)
    if name.startswith(HUB):
        # Imported here: nobody else needs the hub.
        from mimicgan.adapters.huggingface import fetched

        return fetched(name.removeprefix(HUB))
    bare = name_or_path == folder.name
    if bare and name in shipped(kind):
        if (folder / f"{kind}.json").is_file():
            raise UserError(
                f"{name} is a {kind} that is shipped and one in this folder; write ./{name} for "
                "the latter, or go to another folder for the former"
            )
        return _home() / name
    if not folder.exists():
        there = ", ".join(shipped(kind)) or "none"
        raise UserError(
            (f"no {kind} called {name!r}; there are: {there}" if bare else f"{name} does not exist")
            + f"; name a folder or a {'generator' if kind == 'prior' else kind}'s .pt2 or .pt file"
        )
    if not folder.is_dir():
        raise UserError(
            f"{name} is no folder with {kind}.safetensors and {kind}.json; name the folder itself"
        )
    return folder


def _save(
    folder: Path,
    kind: str,
    card: Card,
    facts: dict[str, Any],
    modules: Mapping[str, nn.Module | None],
    others: Mapping[str, bytes],
) -> None:
    content = tensor_bytes(_small_parts(modules))
    written = {**asdict(card), **facts, "sha256": hashlib.sha256(content).hexdigest()}
    text = json.dumps(written, indent=2, ensure_ascii=False) + "\n"
    files = {f"{kind}.json": text.encode(), f"{kind}.safetensors": content, **others}
    # The card first, which gets its name last.
    write_together(folder, files)


def _small_parts(modules: Mapping[str, nn.Module | None]) -> dict[str, Tensor]:
    return {
        f"{part}.{key}": _small(value)
        for part, module in modules.items()
        if module is not None
        for key, value in module.state_dict().items()
    }


def _small(value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    if not value.is_floating_point():
        return value
    half = value.half()
    # Beyond 65504 half precision is infinite.
    return half if bool(half.isfinite().all()) else value


def _load(folder: Path, kind: str) -> tuple[Card, dict[str, Any], dict[str, Tensor]]:
    card, facts = read_card(folder, kind)
    return card, facts, _tensors(folder / f"{kind}.safetensors", facts.get("sha256"))


def _bank(
    folder: Path, facts: dict[str, Any], shape: tuple[int, int, int]
) -> tuple[Tensor | None, nn.Module | None]:
    if "bank_sha256" not in facts:
        return None, None
    tensors = _tensors(folder / BANK, facts["bank_sha256"])
    bank = tensors.pop("bank").float()
    if bank.ndim != 2 or bank.shape[1] != int(facts["latent_size"]) or not len(bank):
        raise ValueError(f"a bank of {tuple(bank.shape)}")
    return bank, built(lambda: Retouch(shape), tensors, "retouch") if tensors else None


def _tensors(path: Path, sha256: object) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(
            f"{path} is not what its card describes (SHA-256 differs); copy all files again, "
            "or reinstall mimicgan if they came with it"
        )
    return tensors_of(content, path, "copy or make it again")
