"""Matching distributions: the distance, the fit, the learnt damage on disk, the default method."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as tensor_bytes
from torch import Tensor, nn
from torch.nn import functional

from mimicgan import restore as package_restore
from mimicgan.commands.progress import expected_steps
from mimicgan.damage import ComposedDamage, knots
from mimicgan.errors import UserError
from mimicgan.first_guess import FirstGuesses, main_move
from mimicgan.fit import Fit, fit_damage
from mimicgan.learnt import Damage
from mimicgan.match import expected_error, match
from mimicgan.match_settings import MatchSettings
from mimicgan.misfit import prior_mismatch, restored_misfit, some
from mimicgan.models.restorer import Restorer
from mimicgan.places import same_place, turned
from mimicgan.presets import REALISM
from mimicgan.prior import Prior
from mimicgan.pruning import pruned
from mimicgan.restore import Settings
from mimicgan.set_distance import SetDistance, band_powers, random_corners, thinned
from mimicgan.tensor_files import tensors_of
from mimicgan.training.restorer import Pairs
from mimicgan.variations import same_greys, same_moments, saturated, stuck
from prior_cases import untrained_generator

SMALL = MatchSettings(
    bank=96,
    draws=12,
    rounds=1,
    parents=3,
    children=4,
    sample=32,
    starts=2,
    short_steps=4,
    pruning_steps=1,
    long_steps=20,
    attempts=1,
    restorer_steps=3,
    restorer_batch=8,
)
BELIEVED = replace(SMALL, sure_misfit=1e9, good_misfit=1e9, misfit_limit=1e9)
"""Whatever is learnt with these is taken for right."""
TINY = replace(SMALL, draws=3, rounds=0, starts=1, short_steps=1, long_steps=1, pruning_steps=0)


@pytest.fixture(scope="module")
def prior() -> Prior:
    torch.manual_seed(0)
    return Prior(untrained_generator(), 100, (1, 28, 28), restorer=Restorer((1, 28, 28)))


def test_set_distance_is_about_zero_for_one_distribution_and_not_for_two(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    distance = SetDistance(x[:200], random_corners((1, 28, 28), torch.Generator().manual_seed(0)))
    assert abs(distance(x[200:400]).item()) < 0.01
    assert distance(-x[200:400]).item() > 0.1
    assert distance(x[200:400] + 0.3 * torch.randn(200, 1, 28, 28)).item() > 0.05


@pytest.mark.parametrize(
    ("shape", "count", "share"),
    [
        ((1, 28, 28), 100, 1.0),
        ((1, 28, 28), 1000, 1.0),
        ((1, 28, 28), 25, 0.5**0.5),
        ((3, 56, 56), 100, 0.5),
        ((3, 56, 56), 25, 0.5),
    ],
)
def test_smaller_batches_and_fewer_steps_for_larger_and_for_fewer_images(
    shape: tuple[int, int, int], count: int, share: float
) -> None:
    sized = MatchSettings(sample=200, restorer_batch=100, restorer_rate=0.01).sized(shape, count)
    assert sized.sample == round(200 * share)
    assert sized.restorer_batch == round(100 * share)
    assert sized.restorer_steps == round(1600 * share)
    assert sized.restorer_rate == pytest.approx(0.01 * share**0.5)


def test_a_larger_misfit_is_sure_for_fewer_images() -> None:
    settings = MatchSettings(sure_misfit=0.3, good_misfit=0.5)
    sure = [settings.enough(n) for n in (4, 25, 64, 100, 1000)]
    assert sure == pytest.approx([0.5, 0.5, 0.375, 0.3, 0.3])
    # Nobody's larger one is made smaller.
    assert MatchSettings(sure_misfit=2.0).enough(25) == 2.0


def test_the_fit_finds_that_images_were_inverted(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    settings = MatchSettings(draws=40, rounds=1, sample=64, starts=2, short_steps=10, long_steps=60)
    generator = torch.Generator().manual_seed(0)
    fit = fit_damage(-x[:60], x[100:400], settings, generator)
    damage = fit.damage
    distance = SetDistance(-x[:60], random_corners((1, 28, 28), generator))
    assert distance(damage(x[400:500])).item() < 0.25 * distance(x[400:500]).item()
    # Bright places became dark ones.
    with torch.no_grad():
        simulated = damage(x[400:410])
    pair = torch.stack([simulated.flatten(), x[400:410].flatten()])
    assert torch.corrcoef(pair)[0, 1] < -0.7
    assert fit.misfit < settings.misfit_limit
    assert not fit.undamaged


def simpler(
    damage: ComposedDamage, bank: Tensor, y: Tensor, steps: int = 0
) -> tuple[ComposedDamage, frozenset[str]]:
    distance = SetDistance(y, random_corners((1, 28, 28), torch.Generator().manual_seed(0)))
    settings = MatchSettings(sample=64, pruning_steps=steps)
    generator = torch.Generator().manual_seed(0)
    return pruned(damage, bank, distance, settings, generator, None, None)


def test_a_level_that_the_curve_makes_up_for_is_taken_away(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
    damage.sharpness.copy_(torch.tensor([0.25, 0.0, 0.25]))
    y = -damage(x[:25])
    damage.level.fill_(1.4)
    damage = same_greys(damage, x[100:300], y, falling=True)
    found, gone = simpler(damage, x[100:500], y, steps=5)
    assert "level" in gone
    assert float(found.level) == 0
    assert (found(x[:25]) - y).abs().mean() < 0.5 * (damage(x[:25]) - y).abs().mean()


def test_a_gain_that_a_curve_makes_up_for_is_taken_away(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
    damage.curve.copy_(-0.6 * knots())
    y = damage(x[:25])
    damage.curve.copy_(-knots())
    damage.gain.fill_(-0.4)
    assert (damage(x[:25]) - y).abs().mean() < 0.01
    found, gone = simpler(damage, x[100:500], y)
    assert "gain" in gone
    assert not found.gain.any()
    assert (found(x[:25]) - y).abs().mean() < 0.1


@pytest.mark.parametrize(("count", "kept"), [(25, False), (100, True)])
def test_a_gain_for_each_pixel_must_bring_more_with_few_images(
    fashion, count: int, kept: bool
) -> None:
    x = fashion.images.float() / 127.5 - 1
    damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
    damage.gain[:, :, 14:] = -0.4
    y = damage(x[:count])
    _, gone = simpler(damage, x[100:500], y)
    assert ("gain" not in gone) == kept


@pytest.mark.parametrize(("count", "kept"), [(25, False), (100, True)])
def test_a_curve_must_bring_more_with_few_images(fashion, count: int, kept: bool) -> None:
    x = fashion.images.float() / 127.5 - 1
    damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
    damage.curve.copy_(knots() + 0.17 * (2 * knots()).sin())
    _, gone = simpler(damage, x[100:500], damage(x[:count]))
    assert ("curve" not in gone) == kept


def test_what_a_gain_had_followed_by_chance_keeps_no_other_part(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
    damage.gain[:, :, 14:] = -0.4
    y = damage(x[:25])
    # Hardly anything, and not there.
    damage.level.fill_(0.03)
    _, gone = simpler(damage, x[100:500], y)
    assert {"gain", "level"} <= gone


def test_what_hides_a_picture_stays_where_its_pattern_goes(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
    damage.grain[:, :, :9] = 0.3
    damage.offset[:, :, :9] = 0.5
    damage.generator = torch.Generator().manual_seed(1)
    y = damage(x[:25])
    damage.gain.fill_(-0.02)
    found, gone = simpler(damage, x[100:500], y)
    assert "gain" in gone
    assert (found.offset[:, :, :9] == 0.5).all()
    assert (found.grain[:, :, :9] == 0.3).all()
    assert not found.gain[:, :, 9:].any()


def test_a_blur_that_is_round_is_made_round_and_finds_its_width(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
    damage.sharpness.copy_(torch.tensor([0.3, 0.0, 0.3]))
    y = damage(x[:100])
    damage.sharpness.copy_(torch.tensor([0.2, 0.05, 0.36]))
    found, gone = simpler(damage, x[100:500], y)
    assert "sharpness" in gone
    first, turn, second = found.sharpness.tolist()
    assert turn == 0
    assert first == second == pytest.approx(0.3, rel=0.08)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_curve_is_straight_up_to_where_the_observations_end(fashion, sign: int) -> None:
    x = fashion.images.float() / 127.5 - 1
    damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
    cut = (sign * knots()).clamp(-0.6, 0.3)
    damage.curve.copy_(cut)
    y = damage(x[:100])
    damage.curve.copy_((cut + 0.05 * (7 * knots()).sin()).clamp(-0.6, 0.3))
    found, gone = simpler(damage, x[100:500], y)
    assert "curve" in gone
    assert torch.allclose(found.curve, cut, atol=1e-6)


def test_a_blur_along_one_direction_stays_one(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
    damage.sharpness.copy_(torch.tensor([0.2, 0.0, 2.0]))
    y = damage(x[:100])
    found, _ = simpler(damage, x[100:500], y)
    assert torch.equal(found.sharpness, damage.sharpness)


def test_low_frequencies_tell_how_wide_a_blur_is(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1

    def blurred(images: Tensor, sharpness: float) -> Tensor:
        damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
        damage.sharpness.copy_(torch.tensor([sharpness, 0.0, sharpness]))
        return damage(images)

    powers = [band_powers(blurred(x[:100], s)).mean(dim=0) for s in (1.0, 0.25, 0.2)]
    assert (powers[0] - powers[1]).min() > -0.05
    assert (powers[1] - powers[2]).max() > 0.5
    assert (blurred(x[:100], 0.25) - blurred(x[:100], 0.2)).abs().mean() < 0.1


def test_power_in_bands_is_that_of_waves() -> None:
    at = torch.arange(32) / 32
    wave = (2 * torch.pi * 4 * at).sin().expand(1, 1, 32, 32)
    flat = band_powers(torch.zeros(1, 1, 32, 32))
    assert torch.allclose(flat, torch.full_like(flat, math.log(1e-3)))
    # Bands are numbered row by row: no wave down, four across, is the fourth.
    assert band_powers(wave)[0].argmax() == 2
    assert band_powers(wave.transpose(2, 3))[0].argmax() == 14


def test_a_fixed_pattern_is_learnt_in_turn_with_the_restorer(
    prior, fashion, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
    damage.gain.fill_(-0.5)
    module = sys.modules["mimicgan.match"]
    fits = iter([Fit(damage, 0.1, False)] * 3)
    monkeypatch.setattr(module, "fit_damage", lambda *_: next(fits))
    monkeypatch.setattr(module._Candidate, "_gains", lambda _: True)
    monkeypatch.setattr(module, "restored_misfit", lambda *_: 0.1)
    learnt = damage.copied()
    learnt.gain.fill_(-0.75)
    monkeypatch.setattr(module, "paired_pattern", lambda *_: learnt)
    y = fashion.images[:64].float() / 127.5 - 1
    for shown, kept in ((0.5, learnt), (0.9, learnt), (1.1, damage)):
        monkeypatch.setattr(module, "simulated_misfit", lambda *_, shown=shown: shown)
        found = match(y, prior, SMALL, torch.Generator().manual_seed(0))
        assert found.surrogate is kept
        assert found.own
        assert found.misfit == (shown if kept is learnt else 0.1)
    assert next(fits, None) is None


@pytest.mark.parametrize("turn", [lambda x: x.flip(2), lambda x: x.rot90(1, (2, 3))])
def test_the_fit_finds_that_images_were_turned(fashion, turn) -> None:
    x = fashion.images.float() / 127.5 - 1
    settings = MatchSettings(draws=8, rounds=2, sample=64, starts=1, short_steps=5, long_steps=10)
    generator = torch.Generator().manual_seed(0)
    # What knows images the right way up says of turned ones that they are none.
    upright = x[:80].mean(dim=0)

    def restore(y: Tensor) -> Tensor:
        like = (y - upright).square().mean() < (turn(y) - upright).square().mean()
        return y if like else -torch.ones_like(y)

    fit = fit_damage(turn(x[:80]), x[100:400], settings, generator, None, 0.02, restore)
    assert not fit.undamaged
    assert (fit.damage(x[400:420]) - turn(x[400:420])).abs().mean() < 0.02


def test_images_that_were_moved_and_scaled_are_placed_by_what_differs_among_them(fashion) -> None:
    x = fashion.images[:200].float() / 127.5 - 1
    small = functional.avg_pool2d(x[:100], 2)
    y = functional.pad(small, (10, 4, 3, 11), value=-1.0)
    found = same_place(ComposedDamage((1, 28, 28)), x[100:], y)
    assert (found(x[:100]) - y).abs().mean() < 0.2 * (x[:100] - y).abs().mean()
    assert (float(found.outside), float(found.fill)) == (1.0, -1.0)


def test_columns_that_show_another_one_are_found(fashion) -> None:
    x = fashion.images[:200].float() / 127.5 - 1
    pattern = 0.25 * torch.randn(28, 8, generator=torch.Generator().manual_seed(0))
    y = torch.cat([x[:100, ..., :20], x[:100, ..., 8:9] + pattern], dim=3).clamp(-1, 1)
    (found,) = stuck(ComposedDamage((1, 28, 28)), x[100:], y)
    assert found.columns.tolist() == [0.0] * 20 + [8.0 - column for column in range(20, 28)]
    assert not found.rows.any()
    x, y = x.transpose(2, 3), y.transpose(2, 3)
    (lying,) = stuck(ComposedDamage((1, 28, 28)), x[100:], y)
    assert torch.equal(lying.rows, found.columns)
    assert not lying.columns.any()


def test_the_source_of_stuck_columns_is_told_from_its_neighbours(fashion) -> None:
    x = fashion.images[:200].float() / 127.5 - 1
    noise = torch.randn(28, 11, generator=torch.Generator().manual_seed(0)) / 4
    y = torch.cat([x[:100, ..., 11:12] + noise, x[:100, ..., 11:]], dim=3).clamp(-1, 1)
    (found,) = stuck(ComposedDamage((1, 28, 28)), x[100:], y)
    assert found.columns.tolist() == [11.0 - column for column in range(11)] + [0.0] * 17


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_columns_of_clean_and_of_noisy_images_show_their_own(fashion, noise: float) -> None:
    x = fashion.images[:200].float() / 127.5 - 1
    y = x[:100] + noise * torch.randn(100, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert not list(stuck(ComposedDamage((1, 28, 28)), x[100:], y.clamp(-1, 1)))


@pytest.mark.parametrize("darker", [False, True])
def test_a_restorer_that_meets_what_it_was_not_made_for_shows_it(fashion, darker) -> None:
    x = fashion.images.float() / 127.5 - 1
    damage = Damage(nn.Identity(), nn.Identity())
    y = 0.8 * x[:100] if darker else x[:100]
    misfit = restored_misfit(damage, y, x[100:], 0.02, torch.Generator().manual_seed(0))
    assert misfit > 2 if darker else misfit < 1


def test_first_guesses_are_made_of_images_turned_back(fashion) -> None:
    x = fashion.images[:20].float() / 127.5 - 1
    distance = SetDistance(x.rot90(1, (2, 3)), random_corners((1, 28, 28), torch.Generator()))
    seen = []

    def restore(y: Tensor) -> Tensor:
        seen.append(y)
        return y

    guesses = FirstGuesses(x.rot90(1, (2, 3)), restore, 0.1)
    plain = ComposedDamage((1, 28, 28))
    right, other = (
        next(d for d in turned(plain, torch.Generator()) if main_move(d)[:, :2].tolist() == turn)
        for turn in ([[0.0, -1.0], [1.0, 0.0]], [[-1.0, 0.0], [0.0, 1.0]])
    )
    # Whatever the turn, this restorer gives the observation itself, turned back and turned again.
    assert [round(guesses.apart(d, distance), 3) for d in (plain, right, other)] == [0, 0, 0]
    torch.testing.assert_close(seen[1], x, atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[2], x.rot90(1, (2, 3)).flip(3), atol=1e-3, rtol=0)
    assert guesses.apart(right, distance) < 1e-3
    assert len(seen) == 3


def test_clean_images_are_recognised_and_come_back_as_they_are(prior, fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    settings = MatchSettings(draws=20, rounds=1, sample=64, starts=1, short_steps=5, long_steps=20)
    fit = fit_damage(x[:100], x[100:500], settings, torch.Generator().manual_seed(0))
    assert fit.undamaged
    assert fit.misfit < 1
    torch.testing.assert_close(fit.damage(x[:5]), x[:5], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("attempts", "shown", "fitted", "kept", "misfit"),
    [
        # What restorers show after a trial, and the best one in the end.
        (3, [9.0, 0.2, 0.1], 2, 1, 0.1),
        (2, [0.7, 9.0, 0.2], 2, 0, 0.2),
        (3, [0.2, 5.0], 1, 0, 5.0),
        (1, [9.0, 0.1], 1, 0, 0.1),
        (1, [9.0, 0.4], 1, 0, 9.0),
    ],
)
def test_a_damage_that_its_restorer_shows_to_be_wrong_is_fitted_again_and_not_used(
    prior, fashion, attempts, shown, fitted, kept, misfit, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ComposedDamage((1, 28, 28)).requires_grad_(False)
    made = [Fit(plain.copied(), 0.05, False) for _ in range(fitted)]
    fits, misfits = iter(made), iter(shown)
    module = sys.modules["mimicgan.match"]
    monkeypatch.setattr(module, "fit_damage", lambda *_: next(fits))
    monkeypatch.setattr(module, "restored_misfit", lambda *_: next(misfits))
    monkeypatch.setattr(module._Candidate, "_unfinished", lambda _: 2.0)
    monkeypatch.setattr(module._Candidate, "_gains", lambda _: True)
    y = fashion.images[:64].float() / 127.5 - 1
    damage = match(y, prior, replace(SMALL, attempts=attempts), torch.Generator().manual_seed(0))
    assert damage.surrogate is made[kept].damage
    assert damage.misfit == misfit
    assert (damage.restorer is prior.restorer) == (shown[-1] > SMALL.sure_misfit) != damage.own
    assert next(fits, None) is next(misfits, None) is None


@pytest.mark.parametrize(
    ("count", "misfit", "trusted", "asked"),
    [(6, 0.5, True, True), (6, 1.9, True, False), (6, 2.1, False, False), (80, 1.9, True, False)],
)
def test_a_damage_with_a_larger_misfit_makes_pairs_but_is_not_asked(
    prior, fashion, count, misfit, trusted: bool, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["mimicgan.match"]
    fit = Fit(ComposedDamage((1, 28, 28)).requires_grad_(False), misfit, False)
    monkeypatch.setattr(module, "fit_damage", lambda *_: fit)
    monkeypatch.setattr(module, "restored_misfit", lambda *_: 0.1)
    monkeypatch.setattr(module, "slack_of", lambda *_: torch.ones(1, 28, 28))
    monkeypatch.setattr(module._Candidate, "_gains", lambda _: True)
    y = fashion.images[:count].float() / 127.5 - 1
    damage = match(y, prior, replace(SMALL, attempts=1), torch.Generator().manual_seed(0))
    assert damage.own is trusted
    assert (damage.slack is not None) is asked


@pytest.mark.parametrize(
    ("count", "left", "end", "universal"),
    [
        (96, 0.3, 0.7, False),
        (96, 1.11, 0.7, False),
        # Ten times 0.13 is more than 1.2 times what the universal restorer has wrong anyway, and so
        # is five times 0.25 with few images.
        (96, 1.13, 0.2, True),
        (6, 1.23, 0.7, False),
        (6, 1.25, 0.2, True),
    ],
)
def test_what_a_restorer_leaves_to_do_tells_whether_its_damage_is_wrong(
    prior, fashion, count, left: float, end, universal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, shown = sys.modules["mimicgan.match"], iter([0.1, end])
    fit = Fit(ComposedDamage((1, 28, 28)).requires_grad_(False), 0.05, False)
    monkeypatch.setattr(module, "fit_damage", lambda *_: fit)
    monkeypatch.setattr(module, "restored_misfit", lambda *_: next(shown))
    # The universal restorer makes all grey: it has the more to do the further from grey they are.
    x = fashion.images.float() / 127.5 - 1
    grey = Prior(prior.generator, 100, (1, 28, 28), restorer=_Scaled(0.0))
    monkeypatch.setattr(module, "warm_restorer", lambda *_: _Scaled(1.0))
    monkeypatch.setattr(Prior, "images_of", lambda *_: x[:96])
    y = x[:count] / 2
    y *= (left * (x[:96] / 2).square().mean() / y.square().mean()).sqrt()
    monkeypatch.setattr(module, "rounded", lambda images: images / 2)
    settings = replace(SMALL, restorer_rate=1e-9)
    damage = match(y, grey, settings, torch.Generator().manual_seed(0))
    assert (damage.restorer is grey.restorer) == universal
    assert damage.misfit == (end if universal else 0.1)


@pytest.mark.parametrize(
    ("count", "sharpness", "varied"),
    [(80, (0.5, 0.0, 1.5), True), (80, (0.7, 0.0, 0.7), False), (6, (0.5, 0.0, 1.5), False)],
)
def test_a_restorer_for_a_blur_with_a_shape_learns_its_neighbours(
    prior, fashion, count, sharpness, varied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["mimicgan.match"]
    damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
    damage.sharpness.copy_(torch.tensor(sharpness))
    monkeypatch.setattr(module, "fit_damage", lambda *_: Fit(damage, 0.1, False))
    seen: list[tuple[Tensor, Tensor]] = []

    def kept(_: nn.Module, pairs: Pairs, *__: object) -> None:
        seen.append(pairs(1, torch.Generator().manual_seed(0)))

    monkeypatch.setattr(module, "fit_restorer", kept)
    y = fashion.images[:count].float() / 127.5 - 1
    match(y, prior, replace(SMALL, attempts=1), torch.Generator().manual_seed(0))
    (damaged, clean), *_ = seen
    assert torch.allclose(damaged, damage(clean).clamp(-1, 1), atol=1e-6) == (not varied)


class _Scaled(nn.Module):
    """A restorer that multiplies images."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.full((1, 1, 1, 1), by))

    def forward(self, y: Tensor) -> Tensor:
        return y * self.by


@pytest.mark.parametrize(("misfit", "undamaged"), [(0.1, True), (1.5, False), (2.5, False)])
def test_images_that_nothing_explains_are_not_undamaged(
    prior, misfit: float, undamaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ComposedDamage((1, 28, 28)).requires_grad_(False)
    monkeypatch.setattr(
        sys.modules["mimicgan.match"], "fit_damage", lambda *_: Fit(plain, misfit, True)
    )
    y = prior.sample(64, torch.Generator().manual_seed(3))
    damage = match(y, prior, SMALL, torch.Generator().manual_seed(0))
    assert damage.undamaged == undamaged
    assert (damage.restorer is prior.restorer) == (not undamaged) == (not damage.own)


def test_a_curve_ends_where_the_observations_do(fashion) -> None:
    y = (fashion.images[:50].float() / 127.5 - 1).clamp(-0.75, 0.2)
    damage = ComposedDamage((1, 28, 28)).requires_grad_(False)
    damage.curve.clamp_(-0.73, 0.18)
    found = saturated(damage, y).curve
    torch.testing.assert_close(found, knots().clamp(-0.75, 0.2), atol=0.04, rtol=0)
    assert (found == -0.75).sum() > 4
    assert (found == y.max()).sum() > 4
    # Black is frequent in clothes, and dark is not black.
    dark = ComposedDamage((1, 28, 28)).requires_grad_(False)
    dark.curve[0] = -0.98
    found = saturated(dark, fashion.images[:50].float() / 127.5 - 1).curve
    assert found[0] == -1
    assert torch.equal(found[2:-2], knots()[2:-2])


def test_moments_and_greys_are_those_of_the_observations(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    stuck = x[:200].clone()
    stuck[..., ::2] = 0.25
    damage = same_moments(ComposedDamage((1, 28, 28)), x[200:], stuck)
    with torch.no_grad():
        seen = damage(x[:50])
    torch.testing.assert_close(seen[..., ::2], torch.full_like(seen[..., ::2], 0.25))
    dark = ((x + 1) / 2) ** 3 * 2 - 1
    darker = same_greys(ComposedDamage((1, 28, 28)), x[200:], dark[:200])
    with torch.no_grad():
        assert (darker(x[:50]) - dark[:50]).abs().mean() < 0.05
        assert (x[:50] - dark[:50]).abs().mean() > 0.1


def test_the_mismatch_of_a_prior_grows_with_what_it_gets_wrong(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    right = prior_mismatch(x[:200], x[200:], torch.Generator().manual_seed(0))
    wrong = prior_mismatch(x[:200], -x[200:], torch.Generator().manual_seed(0))
    assert abs(right) < 0.02
    assert wrong > 0.3


def test_a_bank_no_larger_than_the_observations_tells_a_misfit(prior, fashion) -> None:
    y = 1 - fashion.images[:60].float() / 255
    result = package_restore(y, prior, Settings(match=replace(TINY, bank=50)))
    assert result.misfit is not None
    assert math.isfinite(result.misfit)


def test_a_set_is_thinned_from_every_column() -> None:
    for count in (60, 128, 256, 384):
        places = torch.arange(count * 784)
        kept = thinned(places, 50000)
        assert len(kept.unique()) == min(50000, len(places))
        assert len((kept % 28).unique()) == 28
    edges = torch.arange(2 * 27 * 28)
    assert len((thinned(edges) % 28).unique()) == 28


def test_patches_reach_the_last_column_and_fit_small_images() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = random_corners((1, 6, 4), generator, 200)
    assert {row for row, _ in corners} == {0, 1, 2}
    assert {column for _, column in corners} == {0}
    assert set(random_corners((1, 2, 1), generator)) == {(0, 0)}


def test_the_default_method_repeats_to_the_bit_and_minds_the_seed(prior, fashion) -> None:
    y = 1 - fashion.images[:6].float() / 255
    first, again = (package_restore(y, prior, Settings(match=BELIEVED)) for _ in range(2))
    other = package_restore(y, prior, Settings(match=BELIEVED, seed=1))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.simulated, again.simulated)
    assert first.misfit == again.misfit
    assert not torch.equal(first.images, other.images)
    assert first.generator_passes == SMALL.bank


def test_it_repeats_to_the_bit_on_two_threads(prior, fashion, two_threads) -> None:
    # Enough pixels in one step for torch to share them out.
    settings = Settings(match=replace(BELIEVED, bank=128, sample=64))
    y = 1 - fashion.images[:64].float() / 255
    first, again = (package_restore(y, prior, settings) for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert first.misfit == again.misfit


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("value", [0.0, 0.37, 1.0])
def test_constant_images_and_few_of_them_are_no_accident(prior, count: int, value: float) -> None:
    y = torch.full((count, 1, 28, 28), value)
    result = package_restore(y, prior, Settings(match=SMALL))
    assert result.images.isfinite().all()
    assert result.images.shape == y.shape
    assert (result.misfit is None) == (count < SMALL.fewest)
    assert result.misfit is None or math.isfinite(result.misfit)


def test_one_image_given_many_times_comes_back_as_one(prior, fashion) -> None:
    y = (1 - fashion.images[:1].float() / 255).expand(8, -1, -1, -1)
    result = package_restore(y, prior, Settings(match=TINY))
    assert result.images.isfinite().all()
    torch.testing.assert_close(result.images, result.images[:1].expand_as(y), atol=1e-3, rtol=0)


class Waves(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return (3 * z[:, :1, None, None] + torch.linspace(0, 9, 990).view(30, 33)).sin()


def test_images_of_odd_sides_are_restored(prior) -> None:
    waves = Prior(Waves(), 2, (1, 30, 33))
    y = 1 - (waves.sample(6, torch.Generator().manual_seed(3)) + 1) / 2
    result = package_restore(y, waves, Settings(match=replace(TINY, fresh_steps=5)))
    assert result.images.shape == y.shape
    assert result.images.isfinite().all()


def test_the_fit_looks_at_images_from_anywhere_in_a_sorted_folder() -> None:
    y = torch.linspace(-1, 1, 100).view(100, 1, 1, 1).expand(100, 1, 28, 28)
    seen = some(y, 20, torch.Generator().manual_seed(0))
    assert len(seen) == len(seen.unique(dim=0)) == 20
    assert seen.min() < -0.5 < 0.5 < seen.max()
    assert torch.equal(some(y, 100, torch.Generator()), y)


def test_a_prior_without_restorer_says_what_it_needs_or_repeats(fashion) -> None:
    torch.manual_seed(0)
    bare = Prior(untrained_generator(), 100, (1, 28, 28))
    y = 1 - fashion.images[:6].float() / 255
    for settings in (Settings("universal"), Settings(match=replace(SMALL, fewest=7))):
        with pytest.raises(UserError, match="train restorer"):
            package_restore(y, bare, settings)
    few = Settings(match=replace(SMALL, fresh_steps=5))
    first, again = (package_restore(y, bare, few) for _ in range(2))
    assert torch.equal(first.images, again.images)


def test_the_bar_counts_the_steps_of_a_restorer_that_starts_from_nothing(prior) -> None:
    y = torch.rand((5, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    always = replace(TINY, attempts=1, good_misfit=0, misfit_limit=1e9)
    numbers = replace(always, restorer_steps=200, fresh_steps=200)
    settings = Settings(match=numbers, output="fidelity")
    for each in (prior, replace(prior, restorer=None)):
        steps = len(package_restore(y, each, settings).history)
        expected = expected_steps(settings, y, fresh=each.restorer is None)
        assert expected == pytest.approx(steps, rel=0.2)
    # Large images have a restorer of fewer steps.
    large = expected_steps(settings, torch.zeros(5, 3, 64, 64))
    assert large is not None
    assert large < expected_steps(settings, y)


class Negative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -x


def test_realism_looks_for_images_of_the_generator(prior) -> None:
    truth = prior.sample(6, torch.Generator().manual_seed(7))
    damage = Damage(Negative(), Negative())
    settings = Settings(output="realism", batch=4)
    result = package_restore((1 - truth) / 2, prior, settings, damage=damage)
    assert result.latents is not None
    torch.testing.assert_close(result.images, (prior.images_of(result.latents) + 1) / 2)
    torch.testing.assert_close(result.simulated, 1 - result.images)
    # In parts of four and of two images; what the damage explains and what the restorer says agree.
    steps = [step for step in result.history if step.kind == "latent"]
    assert [step.first for step in steps] == REALISM.iterations * [0] + REALISM.iterations * [4]
    assert steps[REALISM.iterations - 1].loss < 0.7 * steps[0].loss
    plain = package_restore((1 - truth) / 2, prior, Settings(), damage=damage)
    assert damage.surrogate.training
    assert plain.latents is None
    torch.testing.assert_close(plain.images, (truth + 1) / 2)


def test_realism_asks_the_restorer_where_nothing_tells_of_the_damage(prior) -> None:
    truth = prior.sample(4, torch.Generator().manual_seed(7))
    y = -truth.clamp(-0.5, 1)
    # As a supervised restorer is kept; a prior whose own one changes nothing wants its images.
    damage = Damage(nn.Identity(), Negative())
    same = replace(prior, restorer=Negative())
    result = package_restore((1 + y) / 2, same, Settings(output="realism"), damage=damage)
    off = [(result.images * 2 - 1 - goal).square().mean() for goal in (-y, y)]
    assert off[0] < off[1] / 4


@pytest.mark.parametrize(("error", "sharp"), [(10.0, True), (1e-6, False), (None, False)])
def test_the_output_is_sharp_where_the_restorer_knows_less_than_the_generator(
    prior, error: float | None, sharp: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = Damage(Negative(), Negative(), 0, error)
    monkeypatch.setattr(sys.modules["mimicgan.restore"], "match", lambda *_: learnt)
    y = (1 - prior.sample(4, torch.Generator().manual_seed(7))) / 2
    assert (package_restore(y, prior).latents is not None) == sharp
    assert package_restore(y, prior, Settings(output="fidelity")).latents is None


def test_the_error_of_a_restorer_is_told_where_the_damage_fits() -> None:
    images = torch.linspace(-1, 1, 8 * 784).view(8, 1, 28, 28)
    known, blind = Damage(Negative(), Negative()), Damage(Negative(), nn.Identity())
    generator = torch.Generator().manual_seed(0)
    assert expected_error(known, images, generator) == pytest.approx(0, abs=1e-6)
    assert expected_error(blind, images, generator) == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize(
    ("slip", "hint"),
    [
        ({"method": "magic"}, "auto, mimicgan"),
        ({"output": "sharp"}, "fidelity"),
        ({"batch": 0}, "1"),
        ({"seed": 2**64}, "give 0 to"),
    ],
)
def test_slips_in_the_settings_are_told_before_any_work(slip: dict, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        Settings(**slip)


@pytest.mark.parametrize(
    "slip", [{"bank": 1}, {"parents": 0}, {"sample": 0}, {"starts": 0}, {"attempts": 0}]
)
def test_a_fit_that_could_not_run_is_refused(slip: dict[str, int]) -> None:
    ((name, value),) = slip.items()
    with pytest.raises(ValueError, match=f"{name} {value} is too small"):
        MatchSettings(**slip)


@pytest.mark.parametrize(
    ("slip", "hint"),
    [
        ({"penalty": float("nan")}, "penalty nan makes no sense"),
        ({"restorer_steps": -1}, "restorer_steps -1 makes no sense"),
        ({"margin": float("inf")}, "margin inf makes no sense"),
        ({"trial": 1.5}, "trial 1.5 makes no sense"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(slip: dict[str, float], hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        MatchSettings(**slip)


def test_images_with_a_gradient_are_restored_like_others(prior) -> None:
    settings = Settings("auto", match=TINY)
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    live = images.clone().requires_grad_(True)
    result = package_restore(live, prior, settings)
    assert torch.equal(result.images, package_restore(images, prior, settings).images)
    assert live.grad is None


def test_a_damage_or_a_surrogate_that_would_not_be_used_is_refused(prior) -> None:
    images, own = torch.full((4, 1, 28, 28), 0.5), Damage.universal(prior)
    for method in ("universal", "mimicgan", "pgd"):
        with pytest.raises(ValueError, match="leave it out"):
            package_restore(images, prior, method, damage=own)
    for method in ("universal", "auto"):
        with pytest.raises(ValueError, match="leave it out"):
            package_restore(images, prior, method, surrogate=nn.Identity())


def test_nan_is_refused(prior) -> None:
    y = torch.full((5, 1, 28, 28), float("nan"))
    with pytest.raises(ValueError, match=r"NaN|finite"):
        package_restore(y, prior, Settings(match=SMALL))


def test_a_saved_damage_restores_as_the_learnt_one(prior, fashion, tmp_path) -> None:
    y = fashion.images[:6].float() / 255
    settings = Settings(match=BELIEVED)
    learnt = package_restore(y, prior, settings)
    assert learnt.damage.restorer is not prior.restorer
    learnt.damage.save(tmp_path / "damage.safetensors")
    damage = Damage.load(tmp_path / "damage.safetensors", prior)
    one = package_restore(y[:1], prior, settings, damage=damage)
    torch.testing.assert_close(one.images, learnt.images[:1])
    assert (one.misfit, one.generator_passes) == (None, 0)
    assert damage.own == learnt.damage.own
    replace(damage, own=not damage.own).save(tmp_path / "other.safetensors")
    assert Damage.load(tmp_path / "other.safetensors", prior).own != damage.own


def test_a_given_damage_is_judged_by_the_images_at_hand(prior) -> None:
    theirs, other = Damage(Negative(), Negative(), 0.1), Damage(nn.Identity(), nn.Identity(), 0.1)
    y = (1 - prior.sample(40, torch.Generator().manual_seed(7))) / 2
    right = package_restore(y, prior, damage=theirs)
    wrong = package_restore(y, prior, damage=other)
    assert right.misfit is not None
    assert wrong.misfit is not None
    assert right.misfit < 1 < 10 < wrong.misfit
    assert (right.understood, wrong.understood) == (True, False)


def test_a_given_damage_that_was_wrong_stays_so(prior) -> None:
    wrong = Damage(ComposedDamage(prior.image_shape), prior.restorer, 3.0, own=False)
    y = (1 - prior.sample(40, torch.Generator().manual_seed(7))) / 2
    result = package_restore(y, prior, damage=wrong)
    assert result.misfit >= 3
    assert (result.understood, result.restorer) == (False, "universal")


def test_a_file_may_begin_as_a_pickle_does() -> None:
    tensors, first = {"x": torch.ones(2)}, set()
    for padding in range(0, 512, 8):
        content = tensor_bytes(tensors, metadata={"padding": " " * padding})
        first.add(content[:1])
        assert torch.equal(tensors_of(content, Path("damage"), "again")["x"], tensors["x"])
    assert b"\x80" in first


def test_a_file_that_is_no_damage_is_refused(prior, tmp_path) -> None:
    path = tmp_path / "damage.safetensors"
    path.write_bytes(b"not a safetensors file")
    with pytest.raises(UserError, match="damage"):
        Damage.load(path, prior)
    with pytest.raises(UserError, match="missing"):
        Damage.load(tmp_path / "missing", prior)
    torch.save(prior.restorer.state_dict(), path)
    with pytest.raises(UserError, match=r"is a pickle .* --save-damage"):
        Damage.load(path, prior)
    Damage.universal(prior).save(path)
    colour = Prior(torch.nn.Identity(), 4, (3, 28, 28))
    with pytest.raises(UserError, match="prior"):
        Damage.load(path, colour)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="again"):
        Damage.load(path, prior)
