"""What a damage is that shows in the observations before any search."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mimicgan.blurs import near, same_power, shaped
from mimicgan.damage import ComposedDamage, offsets
from mimicgan.first_guess import FirstGuesses
from mimicgan.fit import _various
from mimicgan.images import rounded
from mimicgan.pattern import covered
from mimicgan.set_distance import SetDistance, random_corners
from mimicgan.variations import edged, impulses, lumps, matched, same_means

SHAPE = (1, 28, 28)


def _plain() -> ComposedDamage:
    return ComposedDamage(SHAPE).requires_grad_(False)


def _line(angle: float, length: float, size: int = 15) -> Tensor:
    """A line of even weight, drawn without any of the package's code."""
    kernel = torch.zeros(size, size)
    for t in torch.linspace(-length / 2, length / 2, 400).tolist():
        row, column = (size // 2 + t * f(angle) for f in (math.sin, math.cos))
        kernel[round(row), round(column)] += 1
    return kernel / kernel.sum()


def _disk(radius: float, size: int = 15) -> Tensor:
    r = torch.arange(size) - size // 2
    inside = (torch.hypot(r[:, None].float(), r[None].float()) <= radius).float()
    return inside / inside.sum()


def _blurred(x: Tensor, kernel: Tensor) -> Tensor:
    pad = kernel.shape[0] // 2
    return functional.conv2d(functional.pad(x, (pad,) * 4, mode="reflect"), kernel[None, None])


def _alike(found: Tensor, kernel: Tensor) -> float:
    kernel = functional.pad(kernel, ((found.shape[0] - kernel.shape[0]) // 2,) * 4)
    return float((found * kernel).sum() / found.norm() / kernel.norm())


@pytest.mark.parametrize(
    "kernel",
    [_line(0.5, 7), _line(2.2, 9), _disk(2.5), _disk(3.5)],
    ids=["line", "longer line", "disk", "larger disk"],
)
def test_a_blur_shows_in_the_power_that_it_took(fashion, kernel: Tensor) -> None:
    x = fashion.images.float() / 127.5 - 1
    half = len(x) // 2
    y = _blurred(x[:half], kernel)
    for contrast in (1.0, 0.4):
        found = [each.blur_kernel() for each in same_power(_plain(), x[half:], contrast * y)]
        assert max(_alike(each, kernel) for each in found) > 0.8
        assert all(float(each.sum()) == pytest.approx(1) for each in found)


def test_a_blur_with_a_shape_is_told_from_a_round_one() -> None:
    damages = {name: _plain() for name in ("none", "round", "long", "turned", "flat", "free")}
    wide = torch.tensor([0.5, 0.0, 0.5])
    for name in ("round", "flat", "free"):
        damages[name].sharpness.copy_(wide)
    damages["long"].sharpness.copy_(torch.tensor([0.5, 0.0, 1.5]))
    damages["turned"].sharpness.copy_(torch.tensor([0.5, 0.3, 0.5]))
    damages["flat"].flatness.fill_(1.0)
    damages["free"].kernel[3, 3] = 1.0
    assert {name for name, damage in damages.items() if shaped(damage)} == {
        "long",
        "turned",
        "flat",
    }


def test_blurs_near_one_are_about_as_wide_with_any_rim() -> None:
    damage, generator = _plain(), torch.Generator().manual_seed(0)
    damage.sharpness.copy_(torch.tensor([0.4, 0.0, 1.5]))
    damage.level.fill_(0.3)
    drawn = [near(damage, generator) for _ in range(60)]
    rows, _ = offsets(damage.size)
    own = float((damage.blur_kernel() * rows**2).sum())
    lengths = torch.tensor([float((d.blur_kernel() * rows**2).sum()) / own for d in drawn]).sqrt()
    assert 0.8 < lengths.median() < 1.2
    assert 0.4 < lengths.min() < 0.9 < 1.1 < lengths.max() < 2.0
    assert {d.rim for d in drawn} == {"reflect", "replicate", "constant"}
    assert all(0 <= float(d.flatness) <= 1.2 for d in drawn)
    assert all(torch.equal(d.level, damage.level) for d in drawn)
    assert damage.rim == "reflect"


def test_what_is_not_blurred_gets_no_blur(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    half = len(x) // 2
    for each in same_power(_plain(), x[half:], x[:half]):
        assert each.blur_kernel().max() > 0.5


@pytest.mark.parametrize("name", ["curve", "gain"])
def test_a_damage_that_leaves_nothing_has_no_blur_and_ends_no_search(fashion, name: str) -> None:
    x = fashion.images[:40].float() / 127.5 - 1
    nothing = _plain()
    nothing.get_parameter(name).fill_(0.0 if name == "curve" else -1.0)
    assert nothing(x).std() == 0
    assert not list(same_power(nothing, x, x))
    # No other variation fails on it either, or makes what is no number.
    for each in matched(nothing, x, x):
        assert each(x).isfinite().all()


def test_a_flat_blur_is_even_inside_and_nothing_outside() -> None:
    damage = _plain()
    damage.sharpness.copy_(torch.tensor([1 / 4, 0.0, 1 / 4]))
    damage.flatness.fill_(2.0)
    kernel = damage.blur_kernel() / damage.blur_kernel().max()
    middle = kernel.shape[0] // 2
    assert (kernel[middle, middle - 2 : middle + 3] > 0.9).all()
    assert (kernel[middle, middle + 6 :] < 0.01).all()


@pytest.mark.parametrize(("white", "black"), [(0.1, 0.1), (0.3, 0.0), (0.0, 0.4), (0.05, 0.25)])
def test_lost_pixels_show_in_greys_that_are_too_frequent(
    fashion, white: float, black: float
) -> None:
    x = fashion.images.float() / 127.5 - 1
    half = len(x) // 2
    draw = torch.rand(x[:half].shape, generator=torch.Generator().manual_seed(0))
    y = torch.where(draw < white, 1.0, torch.where(draw > 1 - black, -1.0, x[:half]))
    damage = list(impulses(_plain(), x[half:], y))[-1]
    damage.generator = torch.Generator().manual_seed(1)
    again = rounded(damage(x[half:]))
    for grey in (-1, 1):
        assert float((again == grey).float().mean()) == pytest.approx(
            float((y == grey).float().mean()), abs=0.03
        )
    whole = (again != 1) & (again != -1)
    torch.testing.assert_close(again[whole], x[half:][whole])


def test_where_no_grey_is_too_frequent_nothing_was_lost(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    half = len(x) // 2
    assert not list(impulses(_plain(), x[half:], x[:half]))


def test_lost_blocks_and_squares_show_in_a_grey_that_lies_together(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    half, dice = len(x) // 2, torch.Generator().manual_seed(0)
    lost = torch.rand(half, 1, 7, 7, generator=dice) < 0.3
    y = torch.where(functional.interpolate(lost.float(), (28, 28)) > 0, 0.2, x[:half])
    blocks, _, square = lumps(_plain(), x[half:], y)
    assert blocks.parts() == square.parts() == {"chance"}
    assert float(blocks.chance[2].sigmoid()) == pytest.approx(0.3, abs=0.04)
    assert float(blocks.value[2]) == pytest.approx(0.2, abs=0.01)
    y = x[:half].clone()
    for index, image in enumerate(y):
        row, column = index % 18, 7 * index % 18
        image[:, row : row + 10, column : column + 10] = 0.2
    square = list(lumps(_plain(), x[half:], y))[-1]
    assert float(square.square.exp()) == pytest.approx(10, rel=0.2)
    # One place in all images is a fixed pattern.
    y[:] = x[:half]
    y[:, :, 5:15, 8:18] = 0.2
    assert not list(lumps(_plain(), x[half:], y))
    # Pixels by themselves do not lie together, nor do greys that no image has too often.
    alone = torch.rand(half, 1, 28, 28, generator=dice) < 0.3
    assert not list(lumps(_plain(), x[half:], torch.where(alone, 0.2, x[:half])))
    assert not list(lumps(_plain(), x[half:], x[:half]))


def test_an_offset_is_found_whatever_is_cut_off(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    half = len(x) // 2
    offset = 0.9 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    y = (x[:half] + offset).clamp(-1, 1)
    assert (y.abs() == 1).float().mean() > 0.4
    found = same_means(_plain(), x[half:], y)
    again = (x[half:] + found.offset).clamp(-1, 1)
    assert (again.mean(dim=0) - y.mean(dim=0)).abs().max() < 0.01
    varied = y.std(dim=0) > 0.3
    assert (found.offset - offset)[varied].abs().mean() < 0.25 * offset[varied].abs().mean()


def test_parents_are_of_several_kinds() -> None:
    def blurred(width: float) -> ComposedDamage:
        damage = _plain()
        damage.sharpness.copy_(torch.tensor([1 / width, 0.0, 1 / width]))
        return damage

    noisy = _plain()
    noisy.noise[0] = 0.1
    ranked = [(float(i), blurred(1 + i)) for i in range(5)] + [(9.0, noisy), (10.0, _plain())]
    kept = [value for value, _ in _various(ranked, 4, 2)]
    assert kept == [0, 1, 9, 10]
    # With nothing else left, more of a kind.
    assert [value for value, _ in _various(ranked, 5, 2)] == [0, 1, 2, 9, 10]


def test_black_edges_are_tried_with_the_greys_of_the_observations(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    true = _plain()
    true.edges[1] = 2.5
    true.curve.copy_(0.8 * true.curve)
    y, clean = true(x[:25]), x[100:300]
    tried = list(edged(_plain(), clean, y))
    distance = SetDistance(y, random_corners(SHAPE, torch.Generator().manual_seed(0)))
    assert min(float(distance(each(clean))) for each in tried) < 0.3 * float(distance(clean))
    assert not list(edged(true, clean, y))


def test_a_cover_may_be_all_that_there_is() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(60, *SHAPE, generator=generator) - 0.5
    z = y.clone()
    z[:, :, :8] = torch.rand(60, 1, 8, 28, generator=generator) - 0.5
    signed, damage = _plain(), _plain()
    signed.gain.uniform_(-0.5, 0.5, generator=generator)
    damage.offset[:, 20:] = 0.1
    hidden, alone = covered(signed, z, y), covered(damage, z, y)
    assert hidden is not None
    assert alone is not None
    assert torch.equal(alone.grain, hidden.grain)
    assert torch.equal(alone.offset[:, :8], hidden.offset[:, :8])
    assert torch.equal(alone.gain[:, 8:], damage.gain[:, 8:])
    assert torch.equal(alone.offset[:, 8:], damage.offset[:, 8:])
    # Where the observations are paler, moments ask for a gain.
    tried = list(matched(damage, z, 0.6 * y, FirstGuesses(0.6 * y, lambda _: z, 0.1)))
    covers = [each for each in tried if each.grain.any()]
    assert {bool(each.gain[:, 8:].any()) for each in covers} == {True, False}
