"""PSNR, SSIM and accuracy against other libraries and known values."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn

from image_cases import COLOUR, GREY, some
from mimicgan.metrics import (
    accuracy,
    feature_distance,
    frechet_distance,
    last_features,
    psnr,
    ssim,
    wilson,
)


@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_psnr_and_ssim_agree_with_scikit_image(shape: tuple[int, int, int]) -> None:
    reference = some((4, *shape))
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
    strength = torch.tensor([0.01, 0.1, 0.3, 1.0]).view(4, 1, 1, 1)
    images = (reference + strength * noise).clamp(0, 1)
    for index in range(4):
        ours, theirs = images[index].double().numpy(), reference[index].double().numpy()
        expected = peak_signal_noise_ratio(theirs, ours, data_range=1)
        assert psnr(images, reference)[index].item() == pytest.approx(expected, abs=1e-9)
        expected = structural_similarity(
            ours,
            theirs,
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=0,
        )
        assert ssim(images, reference)[index].item() == pytest.approx(expected, abs=1e-9)


def test_equal_images() -> None:
    images = some((2, *GREY))
    assert psnr(images, images).tolist() == [math.inf, math.inf]
    assert ssim(images, images).tolist() == pytest.approx([1.0, 1.0])


def test_metrics_refuse_what_does_not_match() -> None:
    images = some((2, *GREY))
    for measure in (psnr, ssim):
        with pytest.raises(ValueError, match="same"):
            measure(images, images[:1])
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(images[..., :8], images[..., :8])
    with pytest.raises(ValueError, match="labels"):
        accuracy(torch.zeros(3, 10), torch.zeros(2))
    for correct, count in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="share"):
            wilson(correct, count)


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    # Newcombe (1998), table I, method 3, and the closed forms at the ends.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (29, 29, 0.883, 1),
    ],
)
def test_wilson_interval_has_the_published_values(
    correct: int, count: int, low: float, high: float
) -> None:
    found = wilson(correct, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)
    assert (found.value, found.count) == (correct / count, count)


def test_accuracy_counts_the_largest_logit() -> None:
    logits = torch.tensor([[0.0, 1.0], [3.0, 1.0], [0.0, -1.0], [-2.0, -1.0]])
    assert accuracy(logits, torch.tensor([1, 1, 0, 1])).value == 0.75


def test_the_feature_distance_is_that_of_unit_features_by_hand() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([3.0, 4.0]).view(2, 1, 1, 1))
    light, dark = torch.full((1, 1, 2, 2), 0.75), torch.full((1, 1, 2, 2), 0.25)
    half = torch.tensor([[[[0.25, 0.25], [0.75, 0.75]]]])
    # In [-1, 1] light is 0.5 and dark is -0.5: features (0.6, 0.8) and (-0.6, -0.8), 4 apart.
    assert feature_distance(light, dark, network).item() == pytest.approx(4, abs=1e-5)
    assert feature_distance(light, half, network).item() == pytest.approx(2, abs=1e-5)
    assert feature_distance(light, light, network).item() == pytest.approx(0, abs=1e-6)


def test_the_frechet_distance_of_normals_is_as_their_formula_says() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(200_000, 2, generator=generator, dtype=torch.float64)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    # Variances 4 and 1 along turned axes, against 1 and 9 along the same: (2-1)^2 + (1-3)^2.
    ours = draws * torch.tensor([2.0, 1.0]) @ turn
    theirs = draws.flip(0) * torch.tensor([1.0, 3.0]) @ turn + torch.tensor([3.0, 4.0])
    assert frechet_distance(ours, theirs) == pytest.approx(25 + 5, rel=0.01)
    assert frechet_distance(ours, ours) == pytest.approx(0, abs=1e-6)
    one = frechet_distance(draws[:, :1], 2 * draws[:, :1] + 1)
    assert one == pytest.approx(1 + 1, rel=0.02)


@pytest.mark.parametrize(("ours", "theirs"), [((1, 3), (5, 3)), ((5, 3), (5, 2))])
def test_a_frechet_distance_of_what_does_not_go_together_is_refused(
    ours: tuple[int, int], theirs: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="Frechet"):
        frechet_distance(torch.zeros(ours), torch.zeros(theirs))


def test_the_last_features_are_what_the_last_layer_sees() -> None:
    images = some((7, *GREY))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(784, 5), nn.ReLU(), nn.Linear(5, 2))
    torch.testing.assert_close(last_features(images, flat, batch=3), flat[:3](images))
    maps = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 26))
    torch.testing.assert_close(last_features(images, maps), maps[:2](images).mean(dim=(2, 3)))
    with pytest.raises(ValueError, match="no linear layer"):
        last_features(images, nn.Flatten())
