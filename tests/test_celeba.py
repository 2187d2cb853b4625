"""CelebA from its official layout, on a tiny imitation of it; the real one where it is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mimicgan.data import celeba
from mimicgan.errors import UserError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "celeba"
    (folder / celeba.IMAGES).mkdir(parents=True)
    lines = []
    for k, part in enumerate("0012"):
        name = f"{k:06d}.jpg"
        pixels = np.full((218, 178, 3), 60 * k, dtype=np.uint8)
        pixels[:20] = 255
        Image.fromarray(pixels).save(folder / celeba.IMAGES / name, quality=95)
        lines.append(f"{name} {part}")
    (folder / celeba.PARTITION).write_text("\n".join(lines) + "\n")
    return tmp_path


def test_splits_order_crop_and_size(home: Path) -> None:
    train = celeba.load("train", home)
    assert train.shape == (2, 3, 64, 64)
    # The white bar lies above the central square.
    assert train.float().mean(dim=(1, 2, 3)).round().tolist() == [0, 60]
    assert len(celeba.load("validation", home / "celeba", size=32)) == 1
    assert len(celeba.load("train", home, limit=1)) == 1


def test_what_is_missing_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(celeba.VARIABLE, raising=False)
    with pytest.raises(UserError, match="--data-dir"):
        celeba.load("train")
    with pytest.raises(UserError, match="neither"):
        celeba.load("train", home / "celeba" / celeba.IMAGES)
    (home / "celeba" / celeba.IMAGES / "000001.jpg").unlink()
    with pytest.raises(UserError, match=r"lacks 1 of the 2 train images.*000001"):
        celeba.load("train", home)
    (home / "celeba" / celeba.PARTITION).unlink()
    with pytest.raises(UserError, match=f"has no {celeba.PARTITION}"):
        celeba.load("validation", home)


@pytest.mark.parametrize("line", ["000000.jpg", "000000.jpg 3", "../x.jpg 0", ""])
def test_a_wrong_line_is_named_with_its_number(home: Path, line: str) -> None:
    path = home / "celeba" / celeba.PARTITION
    path.write_text("000002.jpg 1\n" + line + "\n")
    with pytest.raises(UserError, match="line 2"):
        celeba.load("validation", home)


def test_a_damaged_image_is_named(home: Path) -> None:
    (home / "celeba" / celeba.IMAGES / "000002.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"000002\.jpg"):
        celeba.load("validation", home)


def test_the_real_one() -> None:
    try:
        images = celeba.load("validation", limit=20)
    except UserError as error:
        pytest.skip(str(error))
    assert images.shape == (20, 3, 64, 64)
    assert 60 < images.float().mean() < 180
