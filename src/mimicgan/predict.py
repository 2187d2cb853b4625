"""Clean and predict: what a classifier says of images before and after they were restored."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimicgan.data.fashion_mnist import CLASSES
from mimicgan.errors import UserError, needed
from mimicgan.images import to_internal
from mimicgan.pretrained import load_classifier
from mimicgan.prior import Prior
from mimicgan.user_classifier import answers, check_classifier
from mimicgan.user_program import EXPORTED, PICKLES, SCRIPTED, load_program

ONNX = ".onnx"
NAMED = {"fashion-mnist": CLASSES}
"""Shipped classifiers -> the names of their classes."""


class Ranged(nn.Module):
    """A network for images in [-1, 1], for images in [0, 1]; the names of its classes if known."""

    def __init__(self, network: nn.Module, classes: Sequence[str] = ()) -> None:
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(to_internal(x))
        return out


class _Onnx(nn.Module):
    """An ONNX file: images (n, c, h, w) float32 -> its first output. It gives no gradient."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        runtime = needed("onnxruntime", "onnx")
        try:
            self._session: Any = runtime.InferenceSession(
                str(path), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"cannot open {path} ({reason}); export the classifier again"
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            raise UserError(
                "an ONNX classifier gives no gradient; use it as .pt2 (torch.export), or the "
                "attack square"
            )
        name = self._session.get_inputs()[0].name
        out = self._session.run(None, {name: x.detach().cpu().float().numpy()})[0]
        return torch.from_numpy(out).to(x.device)


def any_classifier(
    name_or_path: str, prior: Prior, images_in: tuple[float, float] = (0.0, 1.0)
) -> nn.Module:
    """A classifier, images (n, c, h, w) in [0, 1] -> logits, that takes the prior's images.

    A shipped name or the folder of one, or a user's .pt2 (torch.export), TorchScript .pt or .onnx
    file, whose images are in ``images_in``: [0, 1] or [-1, 1]. Raises UserError.
    """
    path = Path(name_or_path)
    if images_in[1] != 1 or images_in[0] not in (0, -1):
        raise UserError("a classifier's images are in 0 1 or in -1 1; give one of the two")
    model: nn.Module
    if path.suffix.lower() == ONNX:
        if not path.is_file():
            raise UserError(f"{path} does not exist; name the classifier's file")
        model = _Onnx(path)
    elif path.suffix.lower() in (EXPORTED, SCRIPTED, *PICKLES) and not path.is_dir():
        model = load_program(path, "classifier")
    else:
        model, images_in = load_classifier(name_or_path), (-1, 1)
    if images_in[0] == -1:
        model = Ranged(model, NAMED.get(name_or_path, ()))
    check_classifier(model, prior)
    return model


@torch.no_grad()
def predictions(model: nn.Module, images: Tensor, batch: int = 250) -> list[tuple[int, float]]:
    """Label and confidence for each of the images (n, c, h, w) in [0, 1]. UserError where ``model``
    fails."""
    parts = [answers(model, part).softmax(dim=1).max(dim=1) for part in torch.split(images, batch)]
    return [(int(k), float(p)) for part in parts for p, k in zip(*part, strict=True)]


def classes_of(model: nn.Module) -> Sequence[str]:
    """The names of the classes of a shipped classifier; none of others."""
    return model.classes if isinstance(model, Ranged) else ()


def table(
    names: Sequence[str],
    before: list[tuple[int, float]],
    after: list[tuple[int, float]],
    classes: Sequence[str] = (),
) -> str:
    """CSV text: file, label and confidence before, label and confidence after; the names of both
    labels where the names of the ``classes`` are given."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    named = ["name_before", "name_after"] if classes else []
    writer.writerow(["file", "before", "confidence_before", "after", "confidence_after", *named])
    for name, (label, sure), (later, surer) in zip(names, before, after, strict=True):
        words = [classes[label], classes[later]] if classes else []
        writer.writerow([name, label, f"{sure:.4f}", later, f"{surer:.4f}", *words])
    return file.getvalue()
