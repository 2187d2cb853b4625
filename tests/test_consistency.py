"""What the observations hold comes through."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mimicgan.consistency import EXACT, Residuals, consistent, slack_of
from mimicgan.damage import ComposedDamage
from mimicgan.learnt import Damage

SHAPE = (1, 12, 12)


def _images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


def _guess(x: Tensor) -> Tensor:
    return (x + 0.4 * _images(len(x), 1)).clamp(-1, 1)


def _half_covered() -> ComposedDamage:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    damage.gain[:, :6] = -1.0
    damage.gain[:, 6:] = -0.5
    return damage


def test_what_is_shown_is_taken_and_what_is_not_stays() -> None:
    damage, x = _half_covered(), _images(5)
    guess = _guess(x)
    found = consistent(damage, damage(x), guess, torch.full(SHAPE, 1e-3))
    assert (found - x)[:, :, 6:].abs().max() < 0.06
    torch.testing.assert_close(found[:, :, :6], guess[:, :, :6], atol=1e-3, rtol=0)


@pytest.mark.parametrize("slack", [0.1, 1.0])
def test_it_is_the_least_sum_of_both_errors(slack: float) -> None:
    damage, x = _half_covered(), _images(5)
    guess = _guess(x)
    found = consistent(damage, damage(x), guess, torch.full(SHAPE, slack))
    # d/dx' of (x'/2 - x/2)^2 / slack + (x' - guess)^2 is zero.
    least = (x / 4 / slack + guess) / (1 / 4 / slack + 1)
    assert (found - least)[:, :, 6:].abs().max() < 0.06


def test_an_image_is_restored_alike_in_any_company() -> None:
    damage, x = _half_covered(), _images(5)
    guess = _guess(x)
    slack = torch.full(SHAPE, 1e-2)
    whole = consistent(damage, damage(x), guess, slack)
    torch.testing.assert_close(consistent(damage, damage(x[:1]), guess[:1], slack), whole[:1])


def test_many_images_take_their_steps_in_parts_and_under_inference_mode(monkeypatch) -> None:
    damage, x = _half_covered(), _images(5)
    slack = torch.full(SHAPE, 1e-2)
    whole = consistent(damage, damage(x), _guess(x), slack)
    monkeypatch.setattr("mimicgan.consistency.AT_ONCE", 2 * slack.numel())
    with torch.inference_mode():
        again = consistent(damage, damage(x), _guess(x), slack.clone())
    torch.testing.assert_close(again.clone(), whole)


def test_noise_that_the_damage_makes_is_no_trace_of_the_image() -> None:
    damage, clean = ComposedDamage(SHAPE).requires_grad_(False), _images(200)
    damage.generator = torch.Generator().manual_seed(0)
    again, off = clean + 0.1 * _images(200, 2), clean + 0.2 * _images(200, 2)
    damage.noise[0] = 0.0
    exact = slack_of(Residuals.of(damage, clean, damage(clean), again, clean, off), 0.85)
    # Twice as far off means four times the mean square.
    error = float((again - clean).square().mean())
    assert float(exact.mean()) == pytest.approx(EXACT / (4 * error), rel=0.05)
    damage.noise[0] = 0.1
    noisy = slack_of(Residuals.of(damage, clean, damage(clean), again, damage(clean), again), 0.85)
    assert float(noisy.mean()) == pytest.approx((0.1**2 + EXACT) / error, rel=0.1)


def test_where_noise_hides_more_than_a_restorer_misses_nothing_is_asked() -> None:
    damage, clean = ComposedDamage(SHAPE).requires_grad_(False), _images(200)
    damage.generator = torch.Generator().manual_seed(0)
    damage.noise[0] = 0.3
    again = (clean + 0.1 * _images(200, 2)).clamp(-1, 1)
    assert (
        slack_of(Residuals.of(damage, clean, damage(clean), again, damage(clean), again), 0.85)
        is None
    )


def test_a_brighter_batch_says_nothing_of_a_restorer_whose_error_noise_hides() -> None:
    damage, clean = ComposedDamage(SHAPE).requires_grad_(False), _images(200)
    damage.generator = torch.Generator().manual_seed(0)
    # Lost pixels are grey: the darker an image is restored, the less it leaves unexplained.
    damage.chance[0], damage.value[0] = 1.0, 0.0
    again, bright = 0.9 * clean, 1.2 * _images(25, 2)
    residuals = Residuals.of(damage, clean, damage(clean), again, damage(bright), bright)
    assert residuals.within.mean() < 0 < residuals.beyond.mean()
    assert residuals.factor == 1


def test_a_pixel_that_the_damage_gets_wrong_is_not_asked() -> None:
    damage, clean = ComposedDamage(SHAPE).requires_grad_(False), _images(200)
    again, y = clean + 0.1 * _images(200, 2), clean.clone()
    y[:, :, 0] = _images(200, 3)[:, :, 0]
    slack = slack_of(Residuals.of(damage, clean, clean, again, y, again), 0.85)
    assert slack[:, 0].min() > 20 * slack[:, 1:].max()


def test_a_damage_that_is_wrong_nearly_everywhere_is_not_asked() -> None:
    damage, clean = ComposedDamage(SHAPE).requires_grad_(False), _images(200)
    again = clean + 0.1 * _images(200, 2)
    left = [
        slack_of(Residuals.of(damage, clean, clean, again, y, again), 0.85)
        for y in (clean, clean + 0.2 * _images(200, 3), clean + _images(200, 3))
    ]
    assert [slack is None for slack in left] == [False, False, True]
    found = [
        Residuals.of(damage, clean, clean, again, y, again).contradict
        for y in (clean, clean + _images(200, 3))
    ]
    assert found == [False, True]


def test_a_blur_that_is_not_exact_is_not_asked() -> None:
    clean = _images(200)
    left = []
    for sharpness in ((0.8, 0.0, 0.8), (0.5, 0.0, 2.0)):
        damage = ComposedDamage(SHAPE).requires_grad_(False)
        damage.sharpness.copy_(torch.tensor(sharpness))
        shown = damage(clean)
        again = clean + 0.1 * _images(200, 2)
        for wrong in (0.1, 0.27):
            restored = clean + wrong * _images(200, 3)
            residuals = Residuals.of(damage, clean, shown, again, shown, restored)
            assert (residuals.factor > 5) == (wrong == 0.27)
            assert not residuals.contradict
            left.append(slack_of(residuals, 0.999) is None)
    # How wide a round one is, sets of images tell.
    assert left == [False, False, False, True]


def test_a_restorer_alone_is_what_a_damage_without_slack_gives() -> None:
    surrogate, x = _half_covered(), _images(3)
    alone = Damage(surrogate, nn.Identity())
    y = surrogate(x)
    assert torch.equal(alone.restore(y), y)
    both = replace(alone, slack=torch.full(SHAPE, 1e-3))
    assert torch.equal(both.guess(y), y)
    assert (both.restore(y) - x)[:, :, 6:].abs().max() < 0.06
