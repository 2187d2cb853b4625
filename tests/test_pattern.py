"""A fixed pattern from pairs of guessed clean images and observations."""

import pytest
import torch
from torch import Tensor

from mimicgan.damage import ComposedDamage
from mimicgan.pattern import covered, has_pattern, paired_pattern, paired_signs
from mimicgan.variations import same_moments

SHAPE = (1, 12, 12)


def _images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


def _mask() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    signs = torch.where(torch.rand(SHAPE, generator=generator) < 0.5, -1.0, 1.0)
    return signs * (0.4 + 0.5 * torch.rand(SHAPE, generator=generator))


def test_least_squares_find_the_gain_and_the_offset_of_each_pixel() -> None:
    x, mask = _images(60), _mask()
    # Inside the range, so that nothing is cut off.
    y = 0.8 * x * mask + 0.1
    found = paired_pattern(ComposedDamage(SHAPE), x, y)
    slope = torch.stack(
        [
            torch.linalg.lstsq(torch.stack([a, torch.ones(60)], dim=1), b).solution[0]
            for a, b in zip(x.flatten(1).T, y.flatten(1).T, strict=True)
        ]
    )
    assert (found.gain.flatten() + 1 - slope).abs().max() < 0.02
    assert (found.gain + 1 - 0.8 * mask).abs().max() < 0.02
    assert (found.offset - 0.1).abs().max() < 0.02


def test_what_chance_could_have_made_is_no_pattern() -> None:
    x = _images(30)
    noise = 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    found = paired_pattern(ComposedDamage(SHAPE), x, x + noise)
    # An F below one in more than half of the pixels, and shrunk elsewhere.
    assert (found.gain == 0).float().mean() > 0.4
    assert found.offset.abs().mean() < 0.3 / 30**0.5


def test_few_pairs_change_nothing() -> None:
    x = _images(7)
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    damage.gain.fill_(0.25)
    assert torch.equal(paired_pattern(damage, x, -x).gain, damage.gain)


def test_what_was_cut_off_at_black_does_not_count() -> None:
    x = _images(200)
    y = (x - 0.5).clamp(-1, 1)
    assert (y == -1).float().mean() > 0.1
    found = paired_pattern(ComposedDamage(SHAPE), x, y)
    assert found.gain.abs().max() < 0.02
    assert (found.offset + 0.5).abs().max() < 0.02


def test_sets_give_the_size_of_a_gain_and_pairs_its_sign() -> None:
    mask = _mask()
    x, others = _images(80), _images(400, seed=9)
    y = x * mask
    guess = x + 0.4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    by_sets = same_moments(ComposedDamage(SHAPE), others, y)
    assert ((by_sets.gain + 1).sign() == mask.sign()).float().mean() < 0.7
    signed = paired_signs(by_sets, guess, y)
    assert ((signed.gain + 1).sign() == mask.sign()).float().mean() > 0.97
    with torch.no_grad():
        assert (signed(x) - y).abs().mean() < 0.3 * (by_sets(x) - y).abs().mean()
        # What sets see is as it was.
        assert (signed(others).mean(dim=0) - y.mean(dim=0)).abs().mean() < 0.1


def test_pixels_that_show_noise_alone_are_found() -> None:
    x = _images(60)
    guess = x + 0.4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    y = x.clone()
    y[..., 3:9, 4:10] = 0.2 + 0.5 * torch.randn(60, 1, 6, 6)
    found = covered(ComposedDamage(SHAPE).requires_grad_(False), guess, y)
    assert found is not None
    inner, outer = found.gain[:, 4:8, 5:9], torch.cat([found.gain[:, :2], found.gain[:, -2:]])
    assert (inner == -1).float().mean() > 0.9
    assert not outer.any()
    found.generator = torch.Generator().manual_seed(0)
    simulated = found(_images(400, seed=9))[..., 4:8, 5:9]
    assert simulated.mean() == pytest.approx(0.2, abs=0.1)
    assert simulated.std() == pytest.approx(0.5, abs=0.1)


def test_what_lies_before_a_picture_hides_all_of_its_channels() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(25, 1, 12, 12, generator=generator).expand(25, 3, 12, 12) * 1.6 - 0.8
    y = x.clone()
    y[..., 3:9, 4:10] = 0.5 * torch.randn(25, 3, 6, 6, generator=generator)
    # A guess holds some of the noise that it was made from.
    guess = x + 0.3 * torch.randn(y.shape, generator=generator) + 0.15 * y
    damage = ComposedDamage((3, 12, 12)).requires_grad_(False)
    found = covered(damage, guess, y)
    assert found is not None
    hidden = found.gain == -1
    assert torch.equal(hidden, hidden[:1].expand_as(hidden))
    true = torch.zeros(12, 12, dtype=torch.bool)
    true[3:9, 4:10] = True
    assert hidden[0][true].float().mean() > 0.95
    assert not hidden[0][~true].any()
    # Signs that differ among the channels, as masks have them, hide nothing.
    masked = x * torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1)
    assert covered(damage, guess, masked) is None


@pytest.mark.parametrize("level", [-0.3, 1.0])
def test_other_damages_cover_nothing(level: float) -> None:
    x = _images(60)
    guess = x + 0.4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    y = level * x
    # Pixels that show one value show no noise.
    y[..., :5] = 0.3
    assert covered(ComposedDamage(SHAPE).requires_grad_(False), guess, y) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"gain": 0.2}, True),
        ({"offset": -0.2}, True),
        ({"gain": 0.2, "jitter": 0.1}, False),
        ({"gain": 0.2, "chance": 0.0}, False),
        ({"gain": 0.2, "noise": 0.1}, True),
    ],
)
def test_a_pattern_can_be_paired_where_nothing_hides_it(
    changes: dict[str, float], expected: bool
) -> None:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    for name, value in changes.items():
        damage.get_parameter(name).fill_(value)
    assert has_pattern(damage) is expected


def test_what_is_covered_has_no_pattern() -> None:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    damage.grain[:, :4] = 0.3
    damage.gain[:, :4] = -1.0
    damage.offset[:, :4] = 0.2
    assert not has_pattern(damage)
    damage.offset[:, 5] = 0.2
    assert has_pattern(damage)
