"""Array files come back as they were, and those that do not fit are refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from image_cases import COLOUR, GREY, refused, some
from mimicgan.data.idx import idx_bytes, read_idx
from mimicgan.image_files import read_images, write_images, write_like

FORMS = st.sampled_from(
    [(k, t) for k in ("a.npy", "a.npz") for t in ("uint8", "float16", "float32", "float64")]
    + [("a-idx3-ubyte", "uint8"), ("a-idx3-ubyte.gz", "uint8")]
)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), form=FORMS, layout=st.sampled_from(["nhw", "nhwc", "nchw"]))
def test_array_files_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    form: tuple[str, str],
    layout: str,
) -> None:
    name, dtype = form
    idx = "idx" in name
    channels = 1 if layout == "nhw" or idx else data.draw(st.sampled_from([1, 3]))
    count = data.draw(st.integers(1, 3))
    shapes = {
        "nhw": (count, 5, 7),
        "nhwc": (count, 5, 7, channels),
        "nchw": (count, channels, 5, 7),
    }
    shape = shapes["nhw" if idx else layout]
    if dtype == "uint8":
        array = data.draw(hnp.arrays(np.uint8, shape))
    else:
        width = {"float16": 16, "float32": 32}.get(dtype, 32)
        values = st.floats(0, 1, width=width, allow_subnormal=False)
        array = data.draw(hnp.arrays(dtype, shape, elements=values))
    source, target = (tmp_path_factory.mktemp(n) for n in ("in", "out"))
    if name.endswith(".npy"):
        np.save(source / name, array)
    elif name.endswith(".npz"):
        np.savez(source / name, images=array)
    else:
        raw = idx_bytes(array)
        (source / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)

    read = read_images(source / name, (channels, 5, 7))
    assert read.images.shape == (count, channels, 5, 7)
    assert read.names == [f"{name}[{i}]" for i in range(count)]
    expected = array[:, None] if array.ndim == 3 else array
    if array.ndim == 4 and layout == "nhwc":
        expected = np.moveaxis(array, 3, 1)
    scale = 255 if dtype == "uint8" else 1
    np.testing.assert_allclose(read.images.numpy() * scale, expected, rtol=1e-6)

    write_like(target, read, read.images)
    assert [p.name for p in target.iterdir()] == [name]
    if idx:
        back = read_idx(target / name)
    else:
        loaded = np.load(target / name)
        back = loaded["images"] if name.endswith(".npz") else loaded
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_bytes_are_rounded_to_the_nearest(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 28, 28), np.uint8))
    source = read_images(tmp_path / "x.npy", GREY)
    write_like(tmp_path, source, torch.full((1, *GREY), 100.6 / 255))
    assert np.array_equal(np.load(tmp_path / "x.npy"), np.full((1, 28, 28), 101, np.uint8))
    with pytest.raises(ValueError, match="must be"):
        write_like(tmp_path, source, torch.zeros(2, *GREY))


@pytest.mark.parametrize(
    ("array", "shape", "message"),
    [
        (np.full((2, 28, 28), np.nan, np.float32), GREY, "NaN"),
        (np.full((2, 28, 28), np.inf), GREY, "NaN or infinite"),
        (np.full((2, 28, 28), 7.0), GREY, "divide by 255"),
        (np.full((2, 28, 28), -1.0), GREY, "(x + 1) / 2"),
        (np.zeros((2, 28, 28), np.int64), GREY, "save it as uint8"),
        (np.zeros((2, 28, 28), bool), GREY, "save it as uint8"),
        (np.zeros((2, 28, 28), complex), GREY, "save it as uint8"),
        (np.zeros((2, 28, 28), "U3"), GREY, "save it as uint8"),
        (np.full((2, 28, 28), None), GREY, "Python objects"),
        (np.zeros((2, 32, 32), np.uint8), GREY, "save them as image files"),
        (np.zeros((2, 3, 28, 28), np.uint8), GREY, "average the channels"),
        (np.zeros((2, 28, 28, 3), np.uint8), GREY, "average the channels"),
        (np.zeros((2, 16, 24), np.uint8), COLOUR, "repeat grey images 3 times"),
        (np.zeros((2, 16, 24, 4), np.uint8), COLOUR, "with 3 channels"),
        (np.zeros((28, 28), np.uint8), GREY, "give (n, h, w)"),
        (np.zeros((28, 28), np.uint8), GREY, "x[None]"),
        (np.zeros((28, 28, 1), np.uint8), GREY, "x[None]"),
        (np.zeros((16, 24, 3), np.uint8), COLOUR, "x[None]"),
        (np.zeros((3, 16, 24), np.uint8), COLOUR, "x[None]"),
        (np.zeros((16, 25, 3), np.uint8), COLOUR, "save them as image files"),
        (np.zeros((), np.uint8), GREY, "give (n, h, w)"),
        (np.zeros((0, 28, 28), np.uint8), GREY, "at least one"),
    ],
)
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_unfit_arrays_are_refused_with_the_remedy(
    tmp_path: Path, name: str, array: np.ndarray, shape: tuple[int, int, int], message: str
) -> None:
    file = tmp_path / name
    if name == "x.npy":
        np.save(file, array, allow_pickle=True)
    else:
        np.savez(file, array, allow_pickle=True)
    said = refused(file, shape)
    assert str(file) in said
    assert message in said


def test_damaged_array_files_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", some((9, 28, 28)).numpy())
    np.savez_compressed(tmp_path / "x.npz", some((9, 28, 28)).numpy())
    raw = idx_bytes((some((9, 28, 28)) * 255).byte().numpy())
    (tmp_path / "x-idx3-ubyte").write_bytes(raw)
    (tmp_path / "x-idx3-ubyte.gz").write_bytes(gzip.compress(raw))
    for file in list(tmp_path.iterdir()):
        content = file.read_bytes()
        read_images(file, GREY)
        for part in (content[: len(content) // 2], content[:20]):
            file.write_bytes(part)
            assert str(file) in refused(file)
        file.write_bytes(b"")
        assert str(file) in refused(file)
    (tmp_path / "y-idx3-ubyte").write_bytes(raw + b"more")
    assert "longer than announced" in refused(tmp_path / "y-idx3-ubyte")
    (tmp_path / "y-idx3-ubyte").write_bytes(raw[:4] + b"\xff" * 12 + raw[16:])
    assert "announced" in refused(tmp_path / "y-idx3-ubyte")


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    assert "no numpy file" in refused(tmp_path / "x.npy")


def test_an_npz_must_say_which_array(tmp_path: Path) -> None:
    array = np.zeros((1, 28, 28), np.uint8)
    np.savez(tmp_path / "two.npz", a=array, b=array)
    assert 'call the one with the images "images"' in refused(tmp_path / "two.npz")
    np.savez(tmp_path / "one.npz", images=array, labels=np.zeros(1))
    found = read_images(tmp_path / "one.npz", GREY)
    assert found.images.shape == (1, *GREY)
    assert found.notes == ["arrays beside the images left out: labels"]
    (tmp_path / "out").mkdir()
    np.savez(tmp_path / "other.npz", array)
    found = read_images(tmp_path / "other.npz", GREY)
    assert found.notes == []
    write_like(tmp_path / "out", found, found.images)
    with np.load(tmp_path / "out" / "other.npz") as back:
        assert list(back) == ["arr_0"]
        assert np.array_equal(back["arr_0"], array)


def test_what_takes_too_much_as_float32_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Room for exactly 20 images of four bytes a pixel.
    for module in ("mimicgan.array_files", "mimicgan.data.idx"):
        monkeypatch.setattr(f"{module}.MAX_BYTES", 20 * 4 * 28 * 28)
    many = np.zeros((21, 28, 28), np.uint8)
    unpacked: list[int] = []
    whole = np.lib.format.read_array

    def counted(*args: object, **kwargs: object) -> object:
        unpacked.append(1)
        return whole(*args, **kwargs)

    monkeypatch.setattr("numpy.lib.format.read_array", counted)
    for name in ("x.npy", "x.npz", "x-idx3-ubyte.gz"):
        for count in (20, 21):
            if name == "x.npy":
                np.save(tmp_path / name, many[:count])
            elif name == "x.npz":
                np.savez_compressed(tmp_path / name, many[:count])
            else:
                (tmp_path / name).write_bytes(gzip.compress(idx_bytes(many[:count])))
            if count == 20:
                assert len(read_images(tmp_path / name, GREY).images) == 20
        unpacked.clear()
        assert "as float32; split it" in refused(tmp_path / name)
        assert not unpacked
    assert len(read_images(tmp_path / "x.npy", GREY, 20).images) == 20


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x-idx3-ubyte", "folder"])
def test_what_comes_after_the_count_is_not_looked_at(tmp_path: Path, name: str) -> None:
    images = some((3, 28, 28)).numpy()
    images[2] = np.nan
    path = tmp_path / name
    if name == "x.npy":
        np.save(path, images)
    elif name == "x.npz":
        np.savez(path, images)
    elif name == "folder":
        path.mkdir()
        write_images(path, ["a.png", "b.png"], torch.from_numpy(images[:2, None]))
        (path / "c.png").write_bytes(b"nothing")
    else:
        path.write_bytes(idx_bytes((images[[0, 1, 1]] * 255).astype(np.uint8)))
    found = read_images(path, GREY, 2)
    assert found.images.shape == (2, *GREY)
    assert len(found.names) == 2
    np.testing.assert_allclose(found.images[:, 0].numpy(), images[:2], atol=0.5 / 255 + 1e-6)
    assert found.notes == ["only the first 2 of 3 images taken"]
    assert read_images(path, GREY, 1).notes == ["only the first 1 of 3 images taken"]
    if "idx" not in name:
        refused(path)


def test_labels_are_not_images(tmp_path: Path) -> None:
    (tmp_path / "labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(9, dtype=np.uint8)))
    assert "give (n, h, w)" in refused(tmp_path / "labels-idx1-ubyte")
