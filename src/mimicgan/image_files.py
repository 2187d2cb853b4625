"""Sets of images from files and back: a folder, a pattern, or one array file."""

import glob
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mimicgan.array_files import ArrayForm, is_array_file, read_array_file, write_array_file
from mimicgan.data.idx import MAX_BYTES
from mimicgan.errors import UserError
from mimicgan.pictures import FORMATS, KINDS, read_picture

# The best each format can do; the others are lossless as they are.
QUALITY: dict[str, dict[str, int | bool]] = {
    "JPEG": {"quality": 100, "subsampling": 0},
    "WEBP": {"lossless": True},
}
DRAWN = (1, 3)
"""Channels of images that can be looked at."""


@dataclass(frozen=True)
class ImageSet:
    """Images and where they came from."""

    names: list[str]
    """One file name an image; of an array file "NAME[0]", "NAME[1]", ..."""
    images: Tensor
    """(n, c, h, w) float32 in [0, 1]."""
    notes: list[str]
    """What was done to make them fit, a sentence each."""
    array: ArrayForm | None = None
    """The form of the array file, None for pictures."""


def source_files(source: Path | str) -> list[Path]:
    """The files that ``source`` stands for, sorted: a folder's, a pattern's, or itself.

    A folder counts without its subfolders and hidden files. Raises UserError when there is none.
    """
    path = Path(source)
    try:
        if path.is_dir():
            files = [p for p in path.iterdir() if not p.name.startswith(".")]
        elif path.exists():
            return [path]
        elif glob.has_magic(str(source)):
            files = [Path(name) for name in glob.glob(str(source), recursive=True)]
        else:
            raise UserError(
                f"{source} does not exist; give a folder of images, a pattern in quotes, "
                "a .npy, a .npz or an IDX file"
            )
        files = sorted(p for p in files if p.is_file())
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror}; check the folder") from error
    if not files:
        if _subfolders(path):
            raise UserError(
                f"{source} holds only subfolders; name one of them, or restore them all with "
                "--group-by folder or --group-by none"
            )
        kind = "is an empty folder" if path.is_dir() else "matches no file"
        raise UserError(f"{source} {kind}; give images of the kinds {KINDS}")
    return files


def _subfolders(path: Path) -> int:
    """How many subfolders a folder has, hidden ones not counted; 0 for what is none."""
    if not path.is_dir():
        return 0
    # Links to folders are not followed by --group-by.
    inner = (each for each in path.iterdir() if each.is_dir() and not each.is_symlink())
    return sum(not each.name.startswith(".") for each in inner)


def picture_files(source: Path | str) -> tuple[list[Path], list[str]]:
    """The pictures among ``source_files``, known by their suffix, and notes on what else is there.

    Raises UserError when there is none, or when two have the same name.
    """
    files = source_files(source)
    pictures = [p for p in files if p.suffix.lower() in FORMATS]
    if not pictures:
        arrays = any(p.suffix.lower() in (".npy", ".npz") for p in files)
        raise UserError(
            f"{source} holds no image of the kinds {KINDS}"
            + ("; name the array file itself" if arrays else "; convert the images first")
        )
    twice = [name for name, count in Counter(p.name for p in pictures).items() if count > 1]
    if twice:
        raise UserError(
            f"{source} holds two files called {twice[0]}; give each folder a run of its own"
        )
    others = [p for p in files if p not in set(pictures)]
    notes = [f"{len(others)} other files left out, the first {others[0].name}"] if others else []
    if inner := _subfolders(Path(source)):
        notes.append(f"{inner} subfolders left out; --group-by folder or none takes them too")
    return pictures, notes


def read_images(
    source: Path | str, shape: tuple[int, int, int], count: int | None = None
) -> ImageSet:
    """Read the images of a folder, a pattern, one picture, or one .npy, .npz or IDX file.

    Those after the first ``count`` (all unless given) are not looked at. ``shape`` is the prior's
    (c, h, w). Pictures are made to fit by the rule of ``mimicgan.pictures``; arrays must fit
    (``mimicgan.array_files``).
    Raises UserError naming the first file that cannot be used and how many there are, and for more
    than 2 GiB of float32.
    """
    files = source_files(source)
    if len(files) == 1 and files[0].suffix.lower() not in FORMATS and is_array_file(files[0]):
        images, form, total = read_array_file(files[0], shape, count)
        names = [f"{form.name}[{index}]" for index in range(len(images))]
        notes = left_out(len(images), total)
        if form.beside:
            notes.append(f"arrays beside the images left out: {', '.join(form.beside[:5])}")
        return ImageSet(names, images, notes, form)
    pictures, notes = picture_files(source)
    total, pictures = len(pictures), pictures[:count]
    notes += left_out(len(pictures), total)
    if 4 * len(pictures) * math.prod(shape) > MAX_BYTES:
        raise UserError(
            f"{source} takes more than {MAX_BYTES // 2**30} GiB as float32; split it, or use "
            "--group-by folder or none"
        )
    images = torch.empty(len(pictures), *shape)
    done: dict[str, list[str]] = {}
    bad: list[str] = []
    for index, path in enumerate(pictures):
        try:
            images[index], remarks = read_picture(path, shape)
        except UserError as error:
            bad.append(str(error))
            continue
        for remark in remarks:
            done.setdefault(remark, []).append(path.name)
    if bad and Path(source).is_dir():
        raise UserError(
            f"{bad[0]}; {len(bad)} of {len(pictures)} files are bad, and restore --group-by none "
            "leaves them out"
        )
    if bad:
        raise UserError(bad[0])
    return ImageSet([path.name for path in pictures], images, notes + remarks_told(done))


def left_out(count: int, total: int) -> list[str]:
    """A note where only ``count`` of ``total`` images were taken."""
    return [] if count == total else [f"only the first {count} of {total} images taken"]


def counted(number: int, noun: str = "image") -> str:
    """So many, in words."""
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"


def remarks_told(done: Mapping[str, Sequence[str]]) -> list[str]:
    """What was done to pictures (remark -> their names), a sentence each."""
    return [
        f"{counted(len(who))} {remark}{', the first ' if who[1:] else ': '}{who[0]}"
        for remark, who in done.items()
    ]


def write_images(folder: Path, names: Sequence[str], images: Tensor) -> None:
    """Write images (n, c, h, w) in [0, 1], c = 1 or 3, as 8-bit files ``folder``/``names[i]``.

    The suffix of a name decides the format: JPEG at its best quality, GIF with 256 colours, the
    others without loss. Raises ValueError for names that are no plain file names of known suffix.
    """
    if len(names) != len(images) or len(set(names)) != len(names):
        raise ValueError(f"{len(images)} images need as many different names, not {len(names)}")
    for name, picture in zip(names, as_pictures(images), strict=True):
        path = Path(name)
        if path.name != name or path.suffix.lower() not in FORMATS:
            raise ValueError(f"{name!r} is no plain file name of the kinds {KINDS}")
        (folder / name).write_bytes(encoded(picture, path.suffix))


def encoded(picture: Image.Image, suffix: str) -> bytes:
    """The content of a file of this suffix, the best that its format can do."""
    kind = FORMATS[suffix.lower()]
    # Encoded in memory: Pillow's own writer does not say that a disk is full.
    content = BytesIO()
    picture.save(content, kind, **QUALITY.get(kind, {}))
    return content.getvalue()


def write_like(folder: Path, source: ImageSet, images: Tensor) -> None:
    """Write ``images`` (n, c, h, w) in [0, 1], one for one with ``source``, as it was: same names,
    and for an array file the same layout and type (in a .npz under "images")."""
    if source.array is None:
        write_images(folder, source.names, images)
    elif images.shape != source.images.shape:
        raise ValueError(f"images must be {tuple(source.images.shape)}, not {tuple(images.shape)}")
    else:
        write_array_file(folder, source.array, images)


def as_pictures(images: Tensor) -> list[Image.Image]:
    """Images (n, c, h, w) in [0, 1] as 8-bit Pillow images, grey for c = 1 and RGB for c = 3."""
    if images.ndim != 4 or images.shape[1] not in DRAWN:
        raise ValueError(f"images must be (n, 1 or 3, h, w), not {tuple(images.shape)}")
    pixels = (images.detach().cpu().float().clamp(0, 1) * 255).round().byte()
    arrays = pixels.permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(np.squeeze(a, 2) if a.shape[2] == 1 else a) for a in arrays]
