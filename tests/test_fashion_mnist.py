"""The data set from its files and from the package."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from mimicgan.data import fashion_mnist
from mimicgan.errors import UserError

# The small data set of the fixture.
TRAIN, TEST = 5010, 600


def lay_out(folder: Path, files: dict[str, bytes], gzipped: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        packed = gzip.compress(content, 1) if gzipped else content
        (folder / (f"{name}.gz" if gzipped else name)).write_bytes(packed)


@pytest.mark.parametrize("gzipped", [False, True])
def test_splits(tmp_path: Path, small_fashion: dict[str, bytes], gzipped: bool) -> None:
    lay_out(tmp_path, small_fashion, gzipped)
    train, validation, test = (
        fashion_mnist.load(split, tmp_path) for split in ("train", "validation", "test")
    )
    assert train.images.shape == (TRAIN - 5000, 1, 28, 28)
    assert validation.images.shape == (5000, 1, 28, 28)
    assert test.images.shape == (TEST, 1, 28, 28)
    assert test.images.dtype == torch.uint8
    assert test.labels.dtype == torch.int64
    assert train.labels.tolist() == list(range(10))
    both = torch.cat([train.images, validation.images])
    assert both.numpy().tobytes() == small_fashion["train-images-idx3-ubyte"][16:]
    assert torch.equal(both[:, 0, 0, 0], (torch.arange(TRAIN) % 256).byte())


def test_where_it_is_looked_for(
    tmp_path: Path, small_fashion: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MIMICGAN_DATA", raising=False)
    with pytest.raises(UserError) as caught:
        fashion_mnist.find()
    for word in ("cache", "debian", "mimicgan data fashion-mnist", "--data-dir", "MIMICGAN_DATA"):
        assert word in str(caught.value)
    lay_out(tmp_path / "debian", small_fashion, True)
    assert fashion_mnist.find() == tmp_path / "debian"
    lay_out(tmp_path / "cache" / "mimicgan" / "fashion-mnist", small_fashion, False)
    assert fashion_mnist.find() == tmp_path / "cache" / "mimicgan" / "fashion-mnist"
    lay_out(tmp_path / "named" / "fashion-mnist", small_fashion, True)
    monkeypatch.setenv("MIMICGAN_DATA", str(tmp_path / "named"))
    assert fashion_mnist.find() == tmp_path / "named" / "fashion-mnist"
    assert fashion_mnist.find(tmp_path / "debian") == tmp_path / "debian"
    # A folder that was named is the only one that counts.
    monkeypatch.setenv("MIMICGAN_DATA", str(tmp_path / "wrong"))
    with pytest.raises(UserError, match="wrong"):
        fashion_mnist.load("test")
    with pytest.raises(ValueError, match="no split"):
        fashion_mnist.load("all", tmp_path / "debian")  # type: ignore[arg-type]


@pytest.mark.parametrize("gzipped", [False, True])
def test_missing_and_altered_files_are_named(
    tmp_path: Path, small_fashion: dict[str, bytes], gzipped: bool
) -> None:
    lay_out(tmp_path, small_fashion, gzipped)
    name = "t10k-labels-idx1-ubyte"
    file = tmp_path / (f"{name}.gz" if gzipped else name)
    altered = bytearray(small_fashion[name])
    altered[-1] ^= 1
    lay_out(tmp_path, {name: bytes(altered)}, gzipped)
    with pytest.raises(UserError, match=r"not the original .*SHA-256") as caught:
        fashion_mnist.load("test", tmp_path)
    assert str(file) in str(caught.value)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged"):
        fashion_mnist.load("test", tmp_path)
    file.unlink()
    with pytest.raises(UserError, match=f"lacks {name}"):
        fashion_mnist.load("test", tmp_path)
    fashion_mnist.load("train", tmp_path)


def test_the_real_data_set(fashion_files: None) -> None:
    sizes = {"train": 55_000, "validation": 5_000, "test": 10_000}
    for split, size in sizes.items():
        data = fashion_mnist.load(split)  # type: ignore[arg-type]
        assert data.images.shape == (size, 1, 28, 28)
        counts = data.labels.bincount()
        assert len(counts) == len(fashion_mnist.CLASSES)
        assert counts.sum() == size
    assert counts.tolist() == [1000] * 10


def test_the_sample_is_of_the_test_images(
    fashion_files: None, fashion: fashion_mnist.FashionMnist, tmp_path: Path
) -> None:
    assert fashion.images.shape == (500, 1, 28, 28)
    assert fashion.images.dtype == torch.uint8
    assert fashion.labels.shape == (500,)
    shipped = Path(fashion_mnist.__file__).parent / fashion_mnist.SAMPLE
    index = np.load(shipped)["index"].astype(int)
    assert len(set(index.tolist())) == 500
    test = fashion_mnist.load("test")
    assert torch.equal(test.images[index], fashion.images)
    assert torch.equal(test.labels[index], fashion.labels)
    fashion_mnist.make_sample(tmp_path / "again.npz")
    assert np.array_equal(np.load(tmp_path / "again.npz")["index"], index)


def test_the_sample_needs_no_data_set(fashion: fashion_mnist.FashionMnist) -> None:
    assert fashion.labels.dtype == torch.int64
    # At random, yet every class is there.
    assert fashion.labels.bincount(minlength=10).min() > 30
