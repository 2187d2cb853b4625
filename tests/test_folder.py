"""Any folder of images as a data set."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mimicgan.data.folder import folder_images, in_validation
from mimicgan.errors import UserError
from mimicgan.image_files import read_images


def test_a_folder_is_split_by_name(tmp_path: Path) -> None:
    names = [f"{i:03}.png" for i in range(200)]
    for value, name in enumerate(names):
        Image.new("L", (4, 4), value).save(tmp_path / name)
    shape = (1, 4, 4)
    parts = {split: folder_images(tmp_path, shape, split) for split in ("train", "validation")}
    values = {split: images[:, 0, 0, 0].tolist() for split, images in parts.items()}
    assert parts["train"].dtype == torch.uint8
    assert sorted(values["train"] + values["validation"]) == list(range(200))
    assert 8 <= len(values["validation"]) <= 40
    assert values["validation"] == [i for i, name in enumerate(names) if in_validation(name)]
    assert torch.equal(
        torch.cat([parts["train"], parts["validation"]]).sort(dim=0).values.float() / 255,
        read_images(tmp_path, shape).images,
    )
    # Removing a file moves no other.
    (tmp_path / names[values["train"][0]]).unlink()
    assert torch.equal(folder_images(tmp_path, shape, "validation"), parts["validation"])


def test_a_folder_too_small_to_split(tmp_path: Path) -> None:
    name = next(f"{i}.png" for i in range(100) if not in_validation(f"{i}.png"))
    Image.new("L", (4, 4)).save(tmp_path / name)
    assert len(folder_images(tmp_path, (1, 4, 4), "train")) == 1
    with pytest.raises(UserError, match="too few images for a validation split"):
        folder_images(tmp_path, (1, 4, 4), "validation")
    with pytest.raises(ValueError, match="no split"):
        folder_images(tmp_path, (1, 4, 4), "test")  # type: ignore[arg-type]


def test_deep_pictures_are_rounded_to_bytes(tmp_path: Path) -> None:
    name = next(f"{i}.png" for i in range(100) if not in_validation(f"{i}.png"))
    Image.fromarray(np.full((4, 4), 257 * 100 + 200, np.uint16)).save(tmp_path / name)
    assert (folder_images(tmp_path, (1, 4, 4), "train") == 101).all()
