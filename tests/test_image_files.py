"""Folders, patterns and files of images: what goes in comes out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from image_cases import GREY, refused, some
from mimicgan.image_files import read_images, write_images
from mimicgan.pictures import FORMATS


@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    channels=st.sampled_from([1, 3]),
    suffix=st.sampled_from([".png", ".bmp", ".tif"]),
)
def test_pictures_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, channels: int, suffix: str
) -> None:
    shape = (data.draw(st.integers(1, 3)), channels, 5, 7)
    pixels = data.draw(hnp.arrays(np.uint8, shape))
    folder = tmp_path_factory.mktemp("round")
    names = [f"image {i}{suffix}" for i in range(shape[0])]
    write_images(folder, names, torch.from_numpy(pixels).float() / 255)
    back = read_images(folder, shape[1:])
    assert back.names == names
    assert back.notes == []
    assert back.images.dtype == torch.float32
    assert np.array_equal((back.images * 255).round().byte().numpy(), pixels)


def test_every_format_is_written_under_its_own_name(tmp_path: Path) -> None:
    smooth = torch.linspace(0, 1, 28).expand(1, 1, 28, 28)
    names = [f"x{suffix.upper()}" for suffix in FORMATS]
    write_images(tmp_path, names, smooth.expand(len(names), -1, -1, -1))
    back = read_images(tmp_path, GREY)
    assert back.names == sorted(names)
    assert (back.images - smooth).abs().max() < 2 / 255
    for name in names:
        with Image.open(tmp_path / name) as picture:
            assert picture.format == FORMATS[Path(name).suffix.lower()]


def test_values_are_rounded_to_the_nearest(tmp_path: Path) -> None:
    write_images(tmp_path, ["x.png"], torch.full((1, *GREY), 100.6 / 255))
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.getextrema() == (101, 101)


def test_jpeg_keeps_sharp_colours(tmp_path: Path) -> None:
    stripes = torch.zeros(1, 3, 28, 28)
    stripes[:, 0, :, ::2] = 1
    stripes[:, 2, :, 1::2] = 1
    write_images(tmp_path, ["x.jpg"], stripes)
    assert (read_images(tmp_path, (3, 28, 28)).images - stripes).abs().max() < 8 / 255


@pytest.mark.parametrize("name", ["../x.png", "a/x.png", "x.txt", "x", ""])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        write_images(tmp_path, [name], some((1, *GREY)))
    assert list(tmp_path.iterdir()) == []


def test_names_must_be_as_many_as_images_and_different(tmp_path: Path) -> None:
    for names in (["a.png"], ["a.png", "a.png"]):
        with pytest.raises(ValueError, match="different names"):
            write_images(tmp_path, names, some((2, *GREY)))


def test_folder_pattern_and_file(tmp_path: Path) -> None:
    images = some((3, *GREY))
    write_images(tmp_path, ["b.png", "a.png", "c.bmp"], images)
    (tmp_path / "readme.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image either")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.png").write_bytes(b"never read")

    whole = read_images(tmp_path, GREY)
    assert whole.names == ["a.png", "b.png", "c.bmp"]
    assert torch.equal(whole.images, images[[1, 0, 2]])
    assert whole.notes == [
        "1 other files left out, the first readme.txt",
        "1 subfolders left out; --group-by folder or none takes them too",
    ]
    assert read_images(f"{tmp_path}/*.png", GREY).names == ["a.png", "b.png"]
    single = read_images(tmp_path / "c.bmp", GREY)
    assert torch.equal(single.images, images[2:])
    np.save(tmp_path / "x.npy", images.numpy())
    assert read_images(f"{tmp_path}/*.npy", GREY).array is not None


def test_a_file_name_with_brackets_is_not_a_pattern(tmp_path: Path) -> None:
    write_images(tmp_path, ["x[1].png"], some((1, *GREY)))
    assert read_images(tmp_path / "x[1].png", GREY).names == ["x[1].png"]


def test_sources_without_images(tmp_path: Path) -> None:
    assert "empty folder" in refused(tmp_path)
    (tmp_path / "sub").mkdir()
    assert "only subfolders; name one of them, or restore them all" in refused(tmp_path)
    (tmp_path / "sub").rmdir()
    assert "does not exist" in refused(tmp_path / "nowhere")
    assert "matches no file" in refused(f"{tmp_path}/*.png")
    (tmp_path / "notes.txt").write_text("x")
    assert "no image of the kinds png" in refused(tmp_path)
    assert "no image of the kinds png" in refused(tmp_path / "notes.txt")
    np.save(tmp_path / "x.npy", np.zeros((1, 28, 28), np.uint8))
    assert "name the array file" in refused(tmp_path)


def test_more_pictures_than_memory_is_given_to_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, ["a.png", "b.png"], some((2, *GREY)))
    monkeypatch.setattr("mimicgan.image_files.MAX_BYTES", 4 * 28 * 28)
    told = refused(tmp_path)
    assert "as float32" in told
    assert "--group-by" in told
    assert len(read_images(tmp_path, GREY, 1).images) == 1


def test_bad_pictures_are_counted_and_what_leaves_them_out_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, ["a.png", "b.png", "c.png"], some((3, *GREY)))
    for name in ("b.png", "c.png"):
        (tmp_path / name).write_bytes(b"no picture")
    told = refused(tmp_path)
    assert told.startswith(f"{tmp_path / 'b.png'} is damaged")
    assert told.endswith("2 of 3 files are bad, and restore --group-by none leaves them out")
    assert "--group-by" not in refused(tmp_path / "b.png")


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_images(tmp_path / folder, ["x.png"], some((1, *GREY)))
    assert "two files called x.png" in refused(f"{tmp_path}/*/*.png")
