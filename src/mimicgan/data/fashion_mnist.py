"""Fashion-MNIST from its four IDX files (Xiao, Rasul and Vollgraf 2017; MIT, Zalando SE)."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mimicgan.data.download import fetch_gzipped, sha256_of
from mimicgan.data.idx import read_idx
from mimicgan.errors import UserError
from mimicgan.files import written_whole

UPSTREAM = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
VARIABLE = "MIMICGAN_DATA"
# The folder itself, a folder of data sets, torchvision's root.
LAYOUTS = (".", "fashion-mnist", "FashionMNIST/raw")
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""Hashes of the four files after decompression."""
VALIDATION = 5000
SAMPLE_SIZE = 500
SAMPLE = "fashion_mnist_sample.npz"

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class FashionMnist:
    """Images and their classes."""

    images: Tensor
    """(n, 1, 28, 28) uint8."""
    labels: Tensor
    """(n,) int64, indices into ``CLASSES``."""


def load(split: Split, data_dir: Path | str | None = None) -> FashionMnist:
    """The first 55,000 training images, the last 5,000 (validation), or the 10,000 test images.

    The files are looked for in ``data_dir`` if given, else in the folder named by MIMICGAN_DATA if
    set, else in the user's cache and where Debian's package puts them. Their content is checked
    against known hashes. Raises UserError when a file is missing or altered.
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f"no split {split!r}; there are: train, validation, test")
    part = "t10k" if split == "test" else "train"
    folder = find(data_dir)
    images = torch.from_numpy(_read(folder, f"{part}-images-idx3-ubyte"))[:, None]
    labels = torch.from_numpy(_read(folder, f"{part}-labels-idx1-ubyte")).long()
    kept = {
        "train": slice(None, -VALIDATION),
        "validation": slice(-VALIDATION, None),
        "test": slice(None),
    }[split]
    return FashionMnist(images[kept], labels[kept])


def sample() -> FashionMnist:
    """The 500 test images (drawn at random once and for all) that travel in this package."""
    with (resources.files("mimicgan.data") / SAMPLE).open("rb") as file, np.load(file) as held:
        return FashionMnist(
            torch.from_numpy(held["images"])[:, None], torch.from_numpy(held["labels"]).long()
        )


def make_sample(target: Path, data_dir: Path | str | None = None, seed: int = 0) -> None:
    """Write the file ``sample`` reads: 500 test images, their labels, their test indices."""
    test = load("test", data_dir)
    index = np.sort(np.random.default_rng(seed).permutation(len(test.images))[:SAMPLE_SIZE])
    with written_whole(target) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            images=test.images[index, 0].numpy(),
            labels=test.labels[index].to(torch.uint8).numpy(),
            index=index.astype(np.uint16),
        )


def cache_folder() -> Path:
    """Where ``download`` puts the files unless told otherwise."""
    # The standard asks to ignore a relative XDG_CACHE_HOME.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = base if base.is_absolute() else Path.home() / ".cache"
    return base / "mimicgan" / "fashion-mnist"


def find(data_dir: Path | str | None = None) -> Path:
    """The first folder, of those that ``load`` describes, that holds any of the four files."""
    variable = os.environ.get(VARIABLE)
    if data_dir is not None:
        bases = [Path(data_dir)]
    elif variable:
        bases = [Path(variable)]
    else:
        bases = [cache_folder(), DEBIAN]
    for folder in [base / layout for base in bases for layout in LAYOUTS]:
        if any(_file(folder, name) for name in SHA256):
            return folder
    raise UserError(
        f"Fashion-MNIST is not in {' or '.join(map(str, bases))}; run "
        "`mimicgan data fashion-mnist`, install Debian's dataset-fashion-mnist, "
        f"or name its folder by --data-dir or {VARIABLE}"
    )


def download(
    target: Path | None = None,
    mirror: str = UPSTREAM,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Fetch the four .gz files from under the http(s) address ``mirror`` into ``target``.

    Returns ``target``, the user's cache unless given. A file that is there and right is kept, one
    that is not is replaced, packed or not, an interrupted one is resumed, and each gets its name
    only when whole and checked. ``progress`` is
    called with the file's name, the bytes held and the bytes in all (0 when unknown).
    Raises UserError when a file is not to be had, or not what it should be.
    """
    target = cache_folder() if target is None else target
    for name, digest in SHA256.items():
        plain, packed = target / name, target / f"{name}.gz"
        if _is_right(plain, digest):
            continue
        if not _is_right(packed, digest):
            fetch_gzipped(f"{mirror.rstrip('/')}/{name}.gz", packed, digest, progress)
        if plain.is_file():
            # It would be read instead of the one that is right.
            plain.unlink()
    return target


def _is_right(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(path) == digest


def _file(folder: Path, name: str) -> Path | None:
    paths = (folder / name, folder / f"{name}.gz")
    return next((path for path in paths if path.is_file()), None)


def _read(folder: Path, name: str) -> NDArray[np.uint8]:
    path = _file(folder, name)
    if path is None:
        raise UserError(
            f"{folder} lacks {name}(.gz); put it there or run `mimicgan data fashion-mnist`"
        )
    array = read_idx(path)
    if sha256_of(path) != SHA256[name]:
        raise UserError(
            f"{path} is not the original (SHA-256 differs); replace it or delete it and run "
            "`mimicgan data fashion-mnist`"
        )
    return array
