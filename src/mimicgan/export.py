"""A restorer as a program that runs without this package: torch.export or ONNX."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from mimicgan.errors import UserError, needed
from mimicgan.files import written_whole
from mimicgan.images import to_internal, to_user

EXPORTED, ONNX = ".pt2", ".onnx"
MOST = 65536
"""Images that a program takes at once."""


class _Plain(nn.Module):
    """A restorer for images in [0, 1]."""

    def __init__(self, restorer: nn.Module) -> None:
        super().__init__()
        self.restorer = copy.deepcopy(restorer)

    def forward(self, images: Tensor) -> Tensor:
        return to_user(self.restorer(to_internal(images)))


def check_export(path: Path) -> None:
    """UserError unless a program can be written under this name with what is installed."""
    if path.suffix not in (EXPORTED, ONNX):
        raise UserError(f"{path} must end in .pt2 (torch.export) or .onnx (ONNX); rename it")
    if path.suffix == ONNX:
        needed("onnxscript", "onnx")


def export_restorer(restorer: nn.Module, path: Path, shape: tuple[int, int, int]) -> None:
    """Write ``path``, a .pt2 or .onnx file: images (n, c, h, w) of ``shape`` in [0, 1], 1 <= n <=
    65536, to such images. In ONNX they are called "images" and "restored". Raises UserError.
    """
    check_export(path)
    model = _Plain(restorer).cpu().eval()
    count = torch.export.Dim("n", min=1, max=MOST)
    example = torch.zeros(3, *shape)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: count},))
    with written_whole(path) as partial:
        if path.suffix == EXPORTED:
            # Made in memory: torch's own writer ends the process where a disk is full.
            content = BytesIO()
            torch.export.save(program, content)
            partial.write_bytes(content.getbuffer())
            return
        with _silent():
            torch.onnx.export(
                program,
                (),
                partial,
                dynamo=True,
                external_data=False,
                verbose=False,
                input_names=["images"],
                output_names=["restored"],
                dynamic_shapes=({0: "n"},),
            )


@contextmanager
def _silent() -> Iterator[None]:
    """The exporter's notes on its own parts are nothing that a user can mend."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
