"""Sets of images in one .npy, .npz or IDX file, which come back in the form they had."""

import gzip
import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import torch
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from torch import Tensor

from mimicgan.data.idx import MAX_BYTES, Check, idx_bytes, is_idx, read_idx
from mimicgan.errors import UserError
from mimicgan.images import check_images

KEY = "images"
HEADERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


@dataclass(frozen=True)
class ArrayForm:
    """How an array file held its images, so that others can be written the same way."""

    name: str
    kind: str
    """npy, npz, idx or idx.gz."""
    layout: str
    """nchw, nhwc or nhw."""
    dtype: str
    key: str = KEY
    """What the images are called in a .npz."""
    beside: tuple[str, ...] = ()
    """Other arrays of a .npz, which do not come back."""


def is_array_file(path: Path) -> bool:
    """Whether the file is a .npy, a .npz, or an IDX file of any name."""
    return path.suffix.lower() in (".npy", ".npz") or is_idx(path)


def read_array_file(
    path: Path, shape: tuple[int, int, int], count: int | None = None
) -> tuple[Tensor, ArrayForm, int]:
    """The first ``count`` (all unless given) images (n, c, h, w) float32 in [0, 1], the form they
    had, and how many there are.

    The array is uint8, or floats in [0, 1]; (n, c, h, w), (n, h, w, c), or (n, h, w) for c = 1; in
    a .npz it is called "images" or the only one. Arrays are never resized. Raises UserError with
    the remedy, also for more than 2 GiB of float32.
    """
    plain = path.suffix.lower() == ".npy"

    def check(got: tuple[int, ...]) -> str:
        layout = _layout(path, got, shape)
        # A .npy is mapped: only what is taken is read.
        taken = min(got[0], count) if plain and count is not None else got[0]
        if 4 * taken * math.prod(got[1:]) > MAX_BYTES:
            raise UserError(
                f"{path} takes more than {MAX_BYTES // 2**30} GiB as float32; split it, or save "
                "its images as files and use --group-by"
            )
        return layout

    keys = [KEY]
    if path.suffix.lower() in (".npy", ".npz"):
        array, keys = _read_numpy(path, check)
        kind = path.suffix.lower()[1:]
    else:
        array = read_idx(path, check)
        kind = "idx.gz" if path.suffix.lower() == ".gz" else "idx"
    layout, total = check(array.shape), len(array)
    array = array[:count]
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise UserError(
            f"{path} holds {array.dtype} values; save it as uint8, or as float32 in [0, 1]"
        )
    try:
        images = torch.from_numpy(array.astype(np.float32))
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory; split it") from error
    if array.dtype == np.uint8:
        images /= 255
    if layout == "nhw":
        images = images[:, None]
    elif layout == "nhwc":
        images = images.permute(0, 3, 1, 2).contiguous()
    try:
        check_images(images, shape)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    form = ArrayForm(path.name, kind, layout, array.dtype.name, keys[0], tuple(keys[1:]))
    return images.clamp(0, 1), form, total


def write_array_file(folder: Path, form: ArrayForm, images: Tensor) -> None:
    """Write images (n, c, h, w) in [0, 1] under the name, layout and type of ``form``."""
    pixels = images.detach().cpu().numpy()
    if form.layout == "nhwc":
        pixels = pixels.transpose(0, 2, 3, 1)
    elif form.layout == "nhw":
        pixels = pixels[:, 0]
    if form.dtype == "uint8":
        pixels = np.rint(pixels * 255)
    pixels = np.ascontiguousarray(pixels, dtype=form.dtype)
    # Built in memory: numpy's own writers do not say that a disk is full.
    content = BytesIO()
    if form.kind == "npy":
        np.save(content, pixels)
    elif form.kind == "npz":
        # numpy's writer has names of its own, which a key must not be.
        with (
            ZipFile(content, "w", ZIP_DEFLATED) as archive,
            archive.open(f"{form.key}.npy", "w", force_zip64=True) as file,
        ):
            npy_format.write_array(file, pixels, allow_pickle=False)
    else:
        raw = idx_bytes(pixels)
        content.write(gzip.compress(raw, mtime=0) if form.kind == "idx.gz" else raw)
    (folder / form.name).write_bytes(content.getbuffer())


def _read_numpy(path: Path, check: Check) -> tuple[NDArray[Any], list[str]]:
    """The images, and what arrays are called: that of the images first."""
    try:
        # Opened here: numpy leaves a damaged .npz open.
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                file.seek(0)
                with np.load(file, allow_pickle=False) as archive:
                    return _only_array(path, archive, check)
        # Mapped, so that a wrong shape is noticed before the content is read.
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array, [KEY]
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory; split it") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"cannot read {path}: {error.strerror}; check the file") from error
        if "llow_pickle" in str(error) or "Python objects" in str(error):
            raise UserError(
                f"{path} holds Python objects or is no numpy file; "
                "save a plain uint8 or float array"
            ) from error
        # Fed with damaged bytes numpy's readers may raise nearly anything.
        raise UserError(f"{path} is damaged ({error}); save it again") from error


def _only_array(path: Path, archive: Any, check: Check) -> tuple[NDArray[Any], list[str]]:
    keys = list(archive.files)
    if KEY not in keys and len(keys) != 1:
        raise UserError(
            f"{path} holds {len(keys)} arrays ({', '.join(keys[:5])}); "
            f'call the one with the images "{KEY}"'
        )
    key = KEY if KEY in keys else keys[0]
    if f"{key}.npy" not in archive.zip.namelist():
        raise UserError(f"{path} holds {key}, which is no numpy array; save it with numpy.savez")
    if archive.zip.getinfo(f"{key}.npy").file_size > MAX_BYTES:
        raise UserError(f"{path} unpacks to more than {MAX_BYTES // 2**30} GiB; split it")
    with archive.zip.open(f"{key}.npy") as file:
        # A little file may unpack to gigabytes: what does not fit is not unpacked.
        version = npy_format.read_magic(file)
        if version in HEADERS:
            check(HEADERS[version](file)[0])
    return archive[key], [key, *(other for other in keys if other != key)]


def _layout(path: Path, got: tuple[int, ...], shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    if got[1:] == shape:
        return "nchw"
    if got[1:] == (height, width, channels):
        return "nhwc"
    if got[1:] == (height, width) and channels == 1:
        return "nhw"
    held = "x".join(map(str, got)) or "no"
    if got in (shape, (height, width, channels)):
        remedy = "of a single image x, save x[None]"
    elif len(got) not in (3, 4):
        remedy = "give (n, h, w), (n, h, w, c) or (n, c, h, w); of a single image x, save x[None]"
    elif (height, width) not in (got[1:3], got[2:4]):
        remedy = "resize them first, or save them as image files, which are resized here"
    elif channels == 1:
        remedy = "average the channels, or use a colour prior"
    else:
        remedy = f"repeat grey images {channels} times, or use a grey prior"
    raise UserError(
        f"{path} holds {held} values, but the prior needs images of {height}x{width} with "
        f"{channels} channel{'s' if channels > 1 else ''}; {remedy}"
    )
