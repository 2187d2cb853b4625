"""Section 4.2's corruptions: one row each, the reference written in numpy and OpenCV."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mimicgan.corruptions import CORRUPTIONS, corrupt, gaussian_blur
from mimicgan.data.fashion_mnist import FashionMnist

Array = NDArray[np.float32]
Reference = Callable[[Array], Array]


def thresholded(low: float, per_image: bool, strict: bool) -> Reference:
    def reference(images: Array) -> Array:
        out = np.empty_like(images)
        for image, result in zip(images, out, strict=True):
            threshold = np.percentile(image if per_image else images, 50)
            above = image > threshold if strict else image >= threshold
            result[...] = np.where(above, 1, low)
        return out

    return reference


def inverted_blur(images: Array) -> Array:
    planes = images.reshape(-1, *images.shape[2:])
    blurred = [cv2.GaussianBlur(plane, (25, 25), 0) for plane in planes]
    return 1 - np.stack(blurred).reshape(images.shape)


DETERMINISTIC: dict[str, Reference] = {
    "binary": thresholded(0.5, per_image=True, strict=False),
    "binary-global": thresholded(0.5, per_image=False, strict=True),
    "binary-black": thresholded(0.0, per_image=True, strict=True),
    "negative-blur": inverted_blur,
}
DROPPED = {"dropped": 0.5, "dropped-black": 0.0}
"""Name and the value that lost pixels take."""
SHARED = {"dropped-shared": 0.5, "dropped-black-shared": 0.0}
"""The same where all images lose the same pixels."""


@pytest.fixture(scope="module")
def clean(fashion: FashionMnist) -> Tensor:
    """Twelve real images, one with noise of many values, one flat."""
    images = fashion.images[:12].reshape(12, 1, 28, 28).float() / 255
    images[3] = torch.rand(1, 28, 28, generator=seeded(9))
    images[4] = 0.25
    return images


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_corruption_has_a_reference_here() -> None:
    assert {*DETERMINISTIC, *DROPPED, *SHARED} == set(CORRUPTIONS)
    assert all(name == c.name and c.description for name, c in CORRUPTIONS.items())
    assert {c.task for c in CORRUPTIONS.values()} == {"binary", "dropped", "negative-blur"}


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_range_seed_and_purity(clean: Tensor, name: str, count: int, channels: int) -> None:
    images = clean[:count].repeat(1, channels, 1, 1)
    before = images.clone()
    state = torch.get_rng_state()
    damaged = corrupt(name, images, seeded())
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert damaged.shape == images.shape
    assert damaged.dtype == torch.float32
    assert 0 <= damaged.min() <= damaged.max() <= 1
    assert not torch.equal(damaged, images)
    assert torch.equal(corrupt(name, images, seeded()), damaged)
    assert torch.equal(corrupt(name, images, seeded(1)), damaged) == (name in DETERMINISTIC)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_against_the_reference(clean: Tensor, name: str) -> None:
    damaged = corrupt(name, clean, seeded()).numpy()
    np.testing.assert_allclose(damaged, DETERMINISTIC[name](clean.numpy()), atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(5, 5), (3, 5)])
def test_binary_at_an_odd_number_of_pixels(height: int, width: int) -> None:
    images = torch.rand(4, 1, height, width, generator=seeded())
    for name in ("binary", "binary-global", "binary-black"):
        expected = DETERMINISTIC[name](images.numpy())
        np.testing.assert_array_equal(corrupt(name, images, seeded()).numpy(), expected)


@pytest.mark.parametrize("name", DROPPED)
def test_seventy_percent_of_the_pixels_are_dropped(name: str) -> None:
    # No pixel has a dropped one's value by itself.
    images = torch.rand(40, 3, 28, 28, generator=seeded(1)) * 0.4 + 0.55
    damaged = corrupt(name, images, seeded())
    gone = damaged != images
    assert torch.equal(gone, gone[:, :1].expand_as(gone))
    assert (damaged[gone] == DROPPED[name]).all()
    # 31,360 pixels: five standard deviations are 0.013.
    assert gone[:, 0].float().mean().item() == pytest.approx(0.7, abs=0.013)
    places = gone[:, 0].flatten(1)
    assert len(places.unique(dim=0)) == 40
    # Nor does a place have its own fate: over 40 images each is dropped more than never.
    assert places.any(0).all()


@pytest.mark.parametrize("size", [1, 3, 5, 7, 9, 11, 15, 25])
def test_blur_is_opencvs(clean: Tensor, size: int) -> None:
    expected = [cv2.GaussianBlur(image, (size, size), 0) for image in clean[:, 0].numpy()]
    got = gaussian_blur(clean.repeat(1, 3, 1, 1), size)
    for channel in range(3):
        np.testing.assert_allclose(got[:, channel].numpy(), np.stack(expected), atol=2e-6)


def test_an_unknown_name_lists_those_that_exist(clean: Tensor) -> None:
    with pytest.raises(KeyError, match=r"no corruption 'rain'.*binary.*negative-blur"):
        corrupt("rain", clean, seeded())


@pytest.mark.parametrize("name", SHARED)
def test_all_images_lose_the_same_seventy_percent(name: str) -> None:
    images = torch.rand(40, 1, 28, 28, generator=seeded(1)) * 0.4 + 0.55
    damaged = corrupt(name, images, seeded())
    gone = damaged != images
    assert torch.equal(gone, gone[:1].expand_as(gone))
    assert (damaged[gone] == SHARED[name]).all()
    # 784 pixels: five standard deviations are 0.08.
    assert gone[0].float().mean().item() == pytest.approx(0.7, abs=0.08)
