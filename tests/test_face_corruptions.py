"""The six corruptions of section 4.1 against the listings of Appendix A.1, written out in NumPy."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mimicgan.corruptions import FACE_CORRUPTIONS, corrupt
from mimicgan.errors import UserError

Array = NDArray[np.float32]
N = 3


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Smooth colour images of 64x64, 8 bits deep."""
    coarse = torch.rand(N, 3, 9, 9, generator=torch.Generator().manual_seed(4))
    x = torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 1)
    return (x * 255).round() / 255


def inside(x: torch.Tensor) -> Array:
    """(n, 64, 64, 3) in [-1, 1], as the listings have images."""
    return (x * 2 - 1).permute(0, 2, 3, 1).numpy().astype(np.float32)


def damaged(name: str, images: torch.Tensor, seed: int = 0) -> Array:
    return inside(corrupt(name, images, torch.Generator().manual_seed(seed)))


def blurred(x: Array, size: int) -> Array:
    return np.stack([cv2.GaussianBlur(image, (size, size), 0) for image in x])


@pytest.mark.parametrize(("name", "size"), [("negative", 25), ("negative-text", 11)])
def test_negative_is_minus_the_blur(images: torch.Tensor, name: str, size: int) -> None:
    np.testing.assert_allclose(damaged(name, images), -blurred(inside(images), size), atol=1e-4)


def test_gray_blur_truncates_as_opencv_does(images: torch.Tensor) -> None:
    levels = (127.5 * (blurred(inside(images), 15) + 1)).astype(np.uint8)
    cut = np.stack([cv2.threshold(x, 120, 255, cv2.THRESH_TRUNC)[1] for x in levels])
    difference = np.abs(damaged("gray-blur", images) - (cut.astype(np.float32) / 127.5 - 1)) * 127.5
    # Rounding of the blur may move a value over the edge of a level.
    assert difference.max() < 1.01
    assert (difference > 0.1).mean() < 0.01
    assert cut.max() == 120


def test_gray_blur_of_the_text_is_grey(images: torch.Tensor) -> None:
    found = damaged("gray-blur-text", images)
    assert (found[..., 0] == found[..., 2]).all()
    wanted = blurred(inside(images), 25).mean(axis=3)
    np.testing.assert_allclose(found[..., 0], wanted, atol=1.5 / 127.5)


@pytest.mark.parametrize(("name", "sigma"), [("stuck-pixels", 0.25), ("stuck-pixels-text", 0.5)])
def test_stuck_pixels_repeat_a_column_with_noise_drawn_once(name: str, sigma: float) -> None:
    grey = torch.full((200, 3, 64, 64), 0.5)
    found = damaged(name, grey)
    assert (found[:, :, 26:] == inside(grey)[:, :, 26:]).all()
    assert (found[0] == found[-1]).all()
    assert abs(found[0, :, :26].std() - sigma) < 0.03
    other = grey.clone()
    other[:, :, :, 26] = 0.6
    np.testing.assert_allclose((damaged(name, other) - found)[:, :, :26].mean(), 0.2, atol=0.02)


def test_occlusion_is_a_cross_of_fresh_noise(images: torch.Tensor) -> None:
    mask = np.ones((64, 64, 3))
    mask[24:44, 12:54, :] = 0
    mask *= np.transpose(mask, [1, 0, 2])
    found = damaged("occlusion", images)
    kept = np.broadcast_to(mask == 1, found.shape)
    np.testing.assert_allclose(found[kept], inside(images)[kept], atol=1e-6)
    noise = found[:, mask == 0]
    assert not np.allclose(noise[0], noise[1])
    # 0.5 * N(0, 1), cut at two standard deviations by the range.
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 0.48) < 0.03


def test_inpainting_multiplies_eight_bands_by_one_draw(images: torch.Tensor) -> None:
    bands = np.zeros((64, 64), dtype=bool)
    for top in (4, 12, 20, 28, 36, 44, 52, 60):
        bands[top : top + 4, 12:54] = True
    found, clean = damaged("inpainting", images), inside(images)
    np.testing.assert_allclose(found[:, ~bands], clean[:, ~bands], atol=1e-6)
    safe = (np.abs(clean) > 0.2) & (np.abs(found) < 0.99) & bands[None, :, :, None]
    share = np.where(safe, found / np.where(safe, clean, 1), np.nan)
    both = safe[0] & safe[1]
    np.testing.assert_allclose(share[0][both], share[1][both], atol=1e-3)
    assert abs(np.nanstd(share) - 0.5) < 0.05


def test_stylize_adds_noise_to_the_brightest_tenth(images: torch.Tensor) -> None:
    pictures = [(127.5 * (x + 1)).round().astype(np.uint8) for x in inside(images)]
    styled = np.stack([cv2.stylization(x, sigma_s=10, sigma_r=0.8) for x in pictures])
    plain = styled.astype(np.float32) / 127.5 - 1
    top = np.percentile(plain, 90)
    found = damaged("stylize", images)
    dark = plain <= top - 1e-3
    np.testing.assert_allclose(found[dark], plain[dark], atol=1e-6)
    assert np.abs(found[plain > top + 1e-3] - plain[plain > top + 1e-3]).mean() > 0.1


def test_stylize_refuses_grey_images() -> None:
    with pytest.raises(UserError, match="colour"):
        corrupt("stylize", torch.rand(2, 1, 28, 28), torch.Generator())


@pytest.mark.parametrize("name", FACE_CORRUPTIONS)
@pytest.mark.parametrize("size", [32, 64])
def test_all_are_pure_and_seeded_at_any_size(name: str, size: int) -> None:
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    before = x.clone()
    draw: Callable[[int], torch.Tensor] = lambda seed: corrupt(  # noqa: E731
        name, x, torch.Generator().manual_seed(seed)
    )
    first = draw(0)
    assert torch.equal(x, before)
    assert torch.equal(first, draw(0))
    assert first.shape == x.shape
    assert 0 <= first.min() <= first.max() <= 1
