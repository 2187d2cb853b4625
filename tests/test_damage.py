"""The composed damage part by part, against independent arithmetic."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, uniform_filter

from mimicgan.damage import ComposedDamage, knots
from mimicgan.random_damage import random_damage

SHAPE = (1, 28, 28)


@pytest.fixture
def x(fashion) -> torch.Tensor:
    return fashion.images[:6].float() / 127.5 - 1


def test_it_starts_as_the_identity(x) -> None:
    assert (ComposedDamage(SHAPE)(x) - x).abs().max() < 2e-3


@pytest.mark.parametrize(
    ("rim", "mode"), [("reflect", "mirror"), ("replicate", "nearest"), ("constant", "constant")]
)
def test_blur_is_a_convolution_with_the_kernel(x, rim: str, mode: str) -> None:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    damage.kernel.copy_(torch.randn(damage.size, damage.size, generator=generator))
    damage.sharpness.copy_(torch.tensor([0.3, 0.2, 0.6]))
    damage.rim = rim
    kernel = damage.blur_kernel().numpy()
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    # A correlation: scipy's convolution turns the kernel, mirror is the border without the edge.
    expected = convolve(x[0, 0].numpy(), kernel[::-1, ::-1], mode=mode, cval=-1.0)
    np.testing.assert_allclose(damage(x)[0, 0].numpy(), expected, atol=2e-3)


def test_the_curve_is_a_linear_interpolation(x) -> None:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    values = (-knots()) ** 3
    damage.curve.copy_(values)
    damage.sharpness.copy_(torch.tensor([9.0, 0.0, 9.0]))
    expected = np.interp(x.numpy(), knots().numpy(), values.numpy())
    np.testing.assert_allclose(damage(x).numpy(), expected, atol=2e-3)


def test_beyond_the_edge_is_the_edge_drawn_out_or_one_value(x) -> None:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    damage.affine[0, 2] = 0.5
    moved = SHAPE[2] // 4
    drawn_out = damage(x)
    damage.outside.fill_(1.0)
    damage.fill.fill_(0.25)
    out = damage(x)
    np.testing.assert_allclose(out[..., :-moved], x[..., moved:], atol=2e-2)
    assert (out[..., -moved:] - 0.25).abs().max() < 2e-2
    assert (drawn_out[..., -moved:] - x[..., -1:]).abs().max() < 2e-2


def test_edges_are_sharpened_by_what_a_3x3_mean_leaves_out(x) -> None:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    damage.edges[0] = 0.5
    image = 0.4 * x[0, 0].numpy()
    soft = uniform_filter(image, 3, mode="nearest")
    expected = image + 0.5 * (image - soft)
    np.testing.assert_allclose(damage(0.4 * x)[0, 0].numpy(), expected, atol=2e-3)


def test_edges_are_darkened_by_how_steep_they_are(x) -> None:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    damage.edges[1] = 1.5
    image = 0.4 * x[0, 0].numpy()
    padded = np.pad(image, 1, mode="edge")
    across = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    along = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    expected = (image + 1) * (1 - 1.5 * np.hypot(across, along)) - 1
    np.testing.assert_allclose(damage(0.4 * x)[0, 0].numpy(), expected, atol=5e-3)


def test_grain_is_noise_of_a_strength_for_each_pixel() -> None:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    damage.generator = torch.Generator().manual_seed(0)
    damage.grain[:, :14] = torch.linspace(0.05, 0.3, 28)
    out = damage(torch.zeros(4000, *SHAPE))
    assert (out.std(dim=0) - damage.grain).abs().max() < 0.02
    assert not damage.still().grain.any()


def test_some_draws_turn_pixels_black_and_others_white() -> None:
    generator = torch.Generator().manual_seed(0)
    both = 0
    for _ in range(300):
        damage = random_damage(SHAPE, generator)
        live = damage.chance[:2].sigmoid() > 0.01
        both += bool(live.all()) and damage.value[:2].tolist() == [-1.0, 1.0]
    assert both > 3


@pytest.mark.parametrize("part", range(4))
def test_the_learnt_share_of_pixels_is_replaced_by_the_learnt_value(part: int) -> None:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    damage.generator = torch.Generator().manual_seed(0)
    damage.chance[part] = math.log(0.3 / 0.7)
    damage.value[part] = 0.5
    out = damage(torch.full((400, *SHAPE), -0.25))
    share = (out - 0.5).abs().lt(1e-3).float().mean().item()
    assert share == pytest.approx(0.3, abs=0.03)
    assert ((out - 0.5).abs().lt(1e-3) | (out + 0.25).abs().lt(1e-2)).all()


def test_every_part_gets_a_gradient(x) -> None:
    damage = ComposedDamage(SHAPE)
    with torch.no_grad():
        damage.chance.zero_()
        damage.curve.mul_(0.9)
        damage.outside.fill_(0.5)
        damage.affine[0, 2] = 0.5
        damage.edges.fill_(0.1)
        damage.grain[:, :3, :3] = 0.1
    damage(x).square().mean().backward()
    silent = [n for n, p in damage.named_parameters() if p.grad is None or not p.grad.any()]
    # The level of a grey image's median, black here, does not matter; one channel has no colours.
    # Which column shows which is not a matter of degree.
    assert set(silent) <= {"level", "colour", "columns", "rows"}


def test_a_pixel_with_noise_of_its_own_shows_nothing_of_the_image(x) -> None:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    damage.gain[:, 4, 5], damage.grain[:, 4, 5], damage.offset[:, 4, 5] = -0.8, 0.1, 0.2
    for each, noise in ((damage, 0.1), (damage.still(), 0.0)):
        each.generator = torch.Generator().manual_seed(0)
        shown = each(x[:1].expand(400, *SHAPE) * torch.linspace(-1, 1, 400).view(-1, 1, 1, 1))
        assert shown[:, 0, 4, 5].std() == pytest.approx(noise, abs=0.015)
        assert shown[:, 0, 4, 5].mean() == pytest.approx(0.2, abs=0.02)


def test_stuck_columns_and_rows_show_another_one(x) -> None:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    damage.columns[5], damage.rows[20] = 3.0, -11.0
    wanted = x.clone()
    wanted[..., 5] = x[..., 8]
    wanted[:, :, 20] = wanted[:, :, 9]
    assert (damage(x) - wanted).abs().max() < 2e-3


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_random_damages_keep_shape_and_range_and_follow_the_seed(shape) -> None:
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def draw(seed: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            return [random_damage(shape, generator)(x) for _ in range(25)]

    first, again, other = draw(0), draw(0), draw(1)
    for out in first:
        assert out.shape == x.shape
        assert out.isfinite().all()
        assert out.abs().max() <= 1 + 1e-5
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
