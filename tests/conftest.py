"""What the tests share."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from image_cases import GREY, some
from mimicgan.data import fashion_mnist
from mimicgan.data.idx import idx_bytes
from mimicgan.errors import UserError
from mimicgan.image_files import write_images
from prior_cases import save_untrained

# Networks as small as those of the tests only wait for a second thread.
torch.set_num_threads(1)


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def fashion_files() -> None:
    """For tests that need the whole data set: skips where it is not to be found."""
    try:
        fashion_mnist.find()
    except UserError as error:
        if os.environ.get(fashion_mnist.VARIABLE):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def fashion() -> fashion_mnist.FashionMnist:
    """The 500 test images in the package, uint8 with labels."""
    return fashion_mnist.sample()


@pytest.fixture
def small_fashion(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A small data set in the place of the real one: the four files' content by name."""
    random = np.random.default_rng(0)
    files = {}
    for part, count in (("train", 5010), ("t10k", 600)):
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(count) % 256
        files[f"{part}-images-idx3-ubyte"] = idx_bytes(images)
        files[f"{part}-labels-idx1-ubyte"] = idx_bytes((np.arange(count) % 10).astype(np.uint8))
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(fashion_mnist, "SHA256", digests)
    return files


@pytest.fixture(scope="session")
def prior_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained prior with discriminator and restorer, on disk."""
    folder = tmp_path_factory.mktemp("weights") / "prior"
    save_untrained(folder)
    return str(folder)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_images(folder, ["a.png", "b.png", "c [1].png"], some((3, *GREY)))
    return folder
