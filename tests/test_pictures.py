"""The rule for sizes and modes, and pictures that are damaged."""

import io
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from image_cases import GREY, refused, some
from mimicgan.errors import UserError
from mimicgan.image_files import as_pictures, read_images, write_images
from mimicgan.images import check_images
from mimicgan.pictures import FORMATS, MAX_PIXELS, read_picture


def flat(mode: str, colour: object, size: tuple[int, int] = (28, 28)) -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


def deep(value: int) -> Image.Image:
    return Image.fromarray(np.full((28, 28), value, np.uint16))


MODES = [
    # (picture, suffix, grey expected, colour expected, noted)
    (flat("L", 51), ".png", 0.2, (0.2, 0.2, 0.2), ""),
    (flat("1", 1), ".png", 1.0, (1.0, 1.0, 1.0), ""),
    (flat("RGB", (255, 0, 0)), ".png", 76 / 255, (1.0, 0.0, 0.0), "in colour"),
    (flat("RGB", (255, 0, 0)).convert("P"), ".png", 76 / 255, (1.0, 0.0, 0.0), "in colour"),
    (flat("CMYK", (0, 255, 255, 0)), ".tif", 76 / 255, (1.0, 0.0, 0.0), "in colour"),
    (flat("LA", (255, 51)), ".png", 0.2, (0.2, 0.2, 0.2), "transparent"),
    (flat("LA", (51, 255)), ".png", 0.2, (0.2, 0.2, 0.2), ""),
    (flat("RGBA", (255, 255, 255, 102)), ".png", 0.4, (0.4, 0.4, 0.4), "transparent"),
    (flat("RGBA", (0, 0, 255, 0)), ".png", 0.0, (0.0, 0.0, 0.0), "transparent"),
    (deep(65535), ".png", 1.0, (1.0, 1.0, 1.0), ""),
    (deep(16384), ".tif", 0.25, (0.25, 0.25, 0.25), ""),
    (flat("F", 0.3), ".tif", 0.3, (0.3, 0.3, 0.3), ""),
]


@pytest.mark.parametrize(("picture", "suffix", "grey", "colour", "note"), MODES)
def test_modes_become_the_channels_of_the_prior(
    tmp_path: Path,
    picture: Image.Image,
    suffix: str,
    grey: float,
    colour: tuple[float, float, float],
    note: str,
) -> None:
    picture.save(tmp_path / f"x{suffix}")
    as_grey = read_images(tmp_path, GREY)
    assert torch.allclose(as_grey.images, torch.full((1, *GREY), grey), atol=3e-5)
    assert note in " ".join(as_grey.notes)
    assert bool(note) == bool(as_grey.notes)
    as_colour = read_images(tmp_path, (3, 28, 28)).images
    expected = torch.tensor(colour)[None, :, None, None].expand(1, 3, 28, 28)
    assert torch.allclose(as_colour, expected, atol=3e-5)


def test_deep_pictures_keep_more_than_8_bits(tmp_path: Path) -> None:
    ramp = (np.arange(784, dtype=np.uint16) * 83).reshape(28, 28)
    Image.fromarray(ramp).save(tmp_path / "x.png")
    images = read_images(tmp_path, GREY).images
    np.testing.assert_allclose(images[0, 0].numpy() * 65535, ramp, atol=0.02)


def test_a_deep_grey_that_stands_for_nothing_is_black(tmp_path: Path) -> None:
    pixels = np.full((28, 28), 30000, np.uint16)
    pixels[:14] = 65535
    Image.fromarray(pixels).save(tmp_path / "x.png", transparency=65535)
    read = read_images(tmp_path, GREY)
    assert read.images[0, 0, :14].max() == 0
    assert read.images[0, 0, 14:].min() == pytest.approx(30000 / 65535, abs=1e-4)
    assert "transparent" in " ".join(read.notes)


def test_palette_with_a_transparent_entry(tmp_path: Path) -> None:
    picture = flat("P", 0)
    picture.putpalette([255, 255, 255])
    picture.save(tmp_path / "x.png", transparency=0)
    read = read_images(tmp_path, GREY)
    assert read.images.max() == 0
    assert "transparent" in " ".join(read.notes)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    upright = np.zeros((28, 28), np.uint8)
    upright[:14] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise when shown
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    turned.save(tmp_path / "x.png", exif=exif)
    images = read_images(tmp_path, GREY).images
    assert np.array_equal((images[0, 0].numpy() * 255).astype(np.uint8), upright)


def test_only_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [flat("L", value) for value in (255, 0)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    read = read_images(tmp_path, GREY)
    assert read.images.min() == 1
    assert "first taken" in read.notes[0]


def test_mixed_sizes_are_cut_and_resized(tmp_path: Path) -> None:
    # White margins left and right of a black square: the cut must leave the square alone.
    wide = np.full((100, 300), 255, np.uint8)
    wide[:, 100:200] = 0
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.T.copy()).save(tmp_path / "tall.png")
    write_images(tmp_path, ["fits.png"], some((1, *GREY)))
    Image.fromarray(np.full((1, 1), 255, np.uint8)).save(tmp_path / "dot.png")
    read = read_images(tmp_path, GREY)
    by_name = dict(zip(read.names, read.images, strict=True))
    assert by_name["wide.png"].max() == 0
    assert by_name["tall.png"].max() == 0
    assert by_name["dot.png"].min() == 1
    assert torch.equal(by_name["fits.png"], some((1, *GREY))[0])
    assert read.notes == [
        "3 images of another size, cut at the centre and resized to 28x28, the first dot.png"
    ]


def test_resizing_does_not_alias(tmp_path: Path) -> None:
    # A one-pixel chequerboard is grey from afar; so says an area average, too.
    board = (np.indices((280, 280)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "x.png")
    images = read_images(tmp_path, GREY).images
    area = cv2.resize(board, (28, 28), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(images[0, 0].numpy() * 255, area, atol=3)


def test_deep_pictures_are_resized_and_stay_in_range(tmp_path: Path) -> None:
    step = np.zeros((56, 56), np.uint16)
    step[:, 28:] = 65535
    Image.fromarray(step).save(tmp_path / "x.tif")
    images = read_images(tmp_path, (3, 28, 28)).images
    check_images(images, (3, 28, 28))
    assert images[..., 0].max() < 0.05
    assert images[..., -1].min() > 0.95


def test_truncated_pictures_are_named(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for suffix, kind in FORMATS.items():
        file = tmp_path / f"cut{suffix}"
        content = io.BytesIO()
        noise.save(content, kind)
        file.write_bytes(content.getvalue()[: len(content.getvalue()) // 2])
        assert f"{file} is damaged or no picture" in refused(file), suffix
        file.write_bytes(b"")
        assert f"{file} is damaged or no picture" in refused(file), suffix


def test_text_called_png_and_a_folder_called_png(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("<html>not found</html>")
    assert "a.png is damaged or no picture" in refused(tmp_path)
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.png").mkdir()
    assert "only subfolders" in refused(tmp_path)


def test_other_formats_under_a_known_suffix_are_not_opened(tmp_path: Path) -> None:
    # Pillow knows many more, and would hand PostScript to Ghostscript.
    (tmp_path / "a.png").write_bytes(b"P5 28 28 255\n" + bytes(784))
    assert "no picture" in refused(tmp_path)


@pytest.mark.parametrize("side", [int(MAX_PIXELS**0.5) + 1, 12_000, 30_000])
def test_a_decompression_bomb_is_refused_undecoded(tmp_path: Path, side: int) -> None:
    # The header of a PNG announces the size; the content is never needed.
    content = io.BytesIO()
    flat("1", 0, (8, 8)).save(content, "PNG")
    data = bytearray(content.getvalue())
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(data)
    message = refused(tmp_path)
    assert "bomb.png has more than 50 million pixels" in message


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=5),
    keep=st.floats(0, 1),
)
def test_no_damage_escapes_as_another_error(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    changes: list[tuple[float, int]],
    keep: float,
) -> None:
    content = io.BytesIO()
    as_pictures(some((1, 3, 16, 16)))[0].save(content, kind)
    data = bytearray(content.getvalue())
    for where, value in changes:
        data[int(where * (len(data) - 1))] = value
    file = tmp_path_factory.getbasetemp() / f"fuzzed.{kind.lower()}"
    file.write_bytes(data[: int(keep * len(data)) + 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            images = read_images(file, GREY).images
        except UserError as error:
            assert "fuzzed" in str(error)
        else:
            check_images(images, GREY)


def test_float_pictures_out_of_range_are_refused(tmp_path: Path) -> None:
    for value in (1.5, -0.1, float("nan")):
        flat("F", value).save(tmp_path / "x.tif")
        assert "x.tif" in refused(tmp_path)


def test_what_is_no_picture_is_told_with_the_kinds_that_are(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"no picture at all")
    with pytest.raises(UserError, match="no picture of the kinds png, jpg"):
        read_picture(path, (1, 28, 28))


def test_of_the_two_pictures_of_a_3d_camera_the_first_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    first, second = (Image.new("L", (28, 28), grey) for grey in (51, 204))
    first.save(path, "MPO", save_all=True, append_images=[second])
    image, done = read_picture(path, (1, 28, 28))
    assert image.mean() == pytest.approx(0.2, abs=0.01)
    assert "of several frames, the first taken" in done
