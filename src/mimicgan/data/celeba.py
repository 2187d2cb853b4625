"""CelebA in its official layout (Liu et al. 2015; for non-commercial research only)."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mimicgan.data.fashion_mnist import VARIABLE
from mimicgan.errors import UserError
from mimicgan.pictures import read_picture

IMAGES = "img_align_celeba"
PARTITION = "list_eval_partition.txt"
SPLITS = {"train": "0", "validation": "1", "test": "2"}
LICENCE = "CelebA's terms: for non-commercial research only"

Split = Literal["train", "validation", "test"]


def find(data_dir: Path | str | None = None) -> Path:
    """The folder that holds img_align_celeba/ and list_eval_partition.txt. Raises UserError.

    Looked for in ``data_dir``, else in the folder named by MIMICGAN_DATA, and in their ``celeba``.
    """
    home = data_dir or os.environ.get(VARIABLE)
    if not home:
        raise UserError(f"no folder for CelebA; give --data-dir, or set {VARIABLE} to it")
    for folder in (Path(home), Path(home) / "celeba"):
        missing = [name for name in (IMAGES, PARTITION) if not (folder / name).exists()]
        if not missing:
            return folder
        if len(missing) == 1:
            raise UserError(f"{folder} has no {missing[0]}; copy CelebA again, all of it")
    raise UserError(f"{home} holds neither {IMAGES} nor {PARTITION}; give CelebA's own folder")


def names(split: Split, folder: Path) -> list[str]:
    """File names of one split, in the order of the official list. Raises UserError."""
    path = folder / PARTITION
    chosen = []
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); copy it again") from error
    for number, line in enumerate(lines, start=1):
        name, _, part = line.partition(" ")
        if part not in SPLITS.values() or Path(name).name != name:
            raise UserError(
                f"{path}, line {number}: {line[:60]!r} is not `NAME.jpg 0|1|2`; copy it again"
            )
        if part == SPLITS[split]:
            chosen.append(name)
    if not chosen:
        raise UserError(f"{path} lists no {split} image; use a split it has, or copy it again")
    return chosen


def load(
    split: Split,
    data_dir: Path | str | None = None,
    size: int = 64,
    limit: int | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> Tensor:
    """The images of one split, or its first ``limit``: (n, 3, size, size) uint8.

    The 178x218 pictures are cut to their central square and resized, as every picture here is
    (``mimicgan.pictures``). Raises UserError that names what is missing, damaged or mislabelled.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are: {', '.join(SPLITS)}")
    folder = find(data_dir)
    wanted = names(split, folder)[:limit]
    absent = [name for name in wanted if not (folder / IMAGES / name).is_file()]
    if absent:
        raise UserError(
            f"{folder / IMAGES} lacks {len(absent)} of the {len(wanted)} {split} images that "
            f"{PARTITION} names, {absent[0]} among them; copy the rest, or take their lines out"
        )
    images = torch.empty(len(wanted), 3, size, size, dtype=torch.uint8)
    for index, name in enumerate(wanted):
        images[index] = (read_picture(folder / IMAGES / name, (3, size, size))[0] * 255).round()
        if callback is not None:
            callback(index + 1, len(wanted))
    return images
