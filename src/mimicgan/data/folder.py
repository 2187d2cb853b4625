"""Any folder of images as a data set."""

import hashlib
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mimicgan.errors import UserError
from mimicgan.image_files import picture_files
from mimicgan.pictures import read_picture

VALIDATION_SHARE = 10


def folder_images(
    path: Path | str, shape: tuple[int, int, int], split: Literal["train", "validation"]
) -> Tensor:
    """The images of one split of a folder (or pattern), (n, c, h, w) uint8, sorted by file.

    Every file belongs to a split by the hash of its name, about 1 in 10 to validation, so that
    adding or removing others moves none. Pictures are made to fit ``shape`` (c, h, w) by the rule
    of ``mimicgan.pictures``. Raises UserError when a file cannot be used or the split is empty.
    """
    if split not in ("train", "validation"):
        raise ValueError(f"no split {split!r}; there are: train, validation")
    wanted = split == "validation"
    files = [p for p in picture_files(path)[0] if in_validation(p.name) == wanted]
    if not files:
        raise UserError(f"{path} holds too few images for a {split} split; add more")
    images = torch.empty(len(files), *shape, dtype=torch.uint8)
    for index, file in enumerate(files):
        images[index] = (read_picture(file, shape)[0] * 255).round()
    return images


def in_validation(name: str) -> bool:
    """Whether a file of this name belongs to the validation split."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % VALIDATION_SHARE == 0
