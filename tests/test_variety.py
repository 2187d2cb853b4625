"""A restorer gets more various images than a narrow generator makes."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mimicgan.damage import ComposedDamage
from mimicgan.fit import Fit
from mimicgan.match_settings import MatchSettings
from mimicgan.models.retouch import Retouch
from mimicgan.pretrained import load_prior
from mimicgan.prior import Prior
from mimicgan.training.restorer import Pairs
from mimicgan.variety import Source, mirrors_are_alike, natural_noise


@pytest.fixture(scope="module")
def prior() -> Prior:
    return load_prior("fashion-mnist")


def drawn(source: Source, count: int = 200) -> Tensor:
    return source.draw(count, torch.Generator().manual_seed(0))


def test_images_of_a_prior_that_needs_no_retouching_are_drawn_as_they_are(prior) -> None:
    made = prior.sample(30, torch.Generator().manual_seed(0))
    source = Source.of(prior, made, made)
    known = {tuple(x.flatten().tolist()) for x in made}
    assert {tuple(x.flatten().tolist()) for x in drawn(source)} == known


def test_images_that_need_retouching_are_varied(prior) -> None:
    prior = replace(prior, retouch=Retouch(prior.image_shape))
    made = prior.sample(30, torch.Generator().manual_seed(0))
    clean = drawn(Source.of(prior, made, made))
    assert clean.abs().max() <= 1
    assert len({tuple(x.flatten().tolist()) for x in clean}) == len(clean)


def test_half_of_the_images_are_mirrored_where_mirrors_are_alike() -> None:
    left = -torch.ones(4, 1, 8, 8)
    left[..., :4] = 1
    clean = drawn(Source(left, mirrored=True), 400)
    share = float((clean[:, 0, 0, 0] < 0).float().mean())
    assert 0.4 < share < 0.6
    assert torch.equal(drawn(Source(left), 4), left)


def test_faces_may_be_mirrored_and_shoes_may_not() -> None:
    for name, alike in (("faces", True), ("fashion-mnist", False)):
        bank = load_prior(name).typical(600, torch.Generator().manual_seed(0))
        assert mirrors_are_alike(bank) is alike


def test_the_detail_is_as_strong_as_it_says_and_mostly_coarse_and_grey() -> None:
    noise = natural_noise(torch.Size((50, 3, 32, 48)), torch.Generator().manual_seed(0))
    sizes = noise.square().mean(dim=(1, 2, 3)).sqrt()
    torch.testing.assert_close(sizes, torch.ones(50), atol=1e-4, rtol=0)
    power = torch.fft.rfft2(noise).abs().square().mean(dim=(0, 1))
    # One over the frequency: four times the frequency has a sixteenth of the power.
    assert 10 < float(power[0, 3] / power[0, 12]) < 26
    grey = noise.mean(dim=1).square().mean()
    assert float(grey) > 0.8
    clean = drawn(Source(torch.zeros(4, 1, 28, 28), detail=0.2), 300)
    size = clean.square().mean(dim=(1, 2, 3)).sqrt()
    assert float(size.max()) <= 0.2 + 1e-6
    assert 0.08 < float(size.mean()) < 0.12


@pytest.mark.parametrize(("gain", "plain"), [(-0.5, True), (-0.1, False), (0.0, False)])
def test_gains_are_learnt_with_images_as_they_are(
    prior, gain: float, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage = ComposedDamage(prior.image_shape).requires_grad_(False)
    damage.gain.fill_(gain)
    damage.offset.fill_(0.2)
    made = prior.sample(30, torch.Generator().manual_seed(0))
    module = sys.modules["mimicgan.match"]
    seen: list[tuple[Tensor, Tensor]] = []

    def note(model: object, pairs: Pairs, *_: object) -> object:
        seen.append(pairs(0, torch.Generator().manual_seed(0)))
        return model

    monkeypatch.setattr(module, "fit_restorer", note)
    candidate = module._Candidate(
        Fit(damage, 0.1, False),
        made[:6],
        made,
        Source(made, detail=0.2),
        prior,
        MatchSettings(restorer_steps=4, restorer_batch=8),
        torch.Generator().manual_seed(0),
        None,
    )
    candidate.train(0.5)
    ((damaged, clean),) = seen
    assert damaged.shape == clean.shape == (8, 1, 28, 28)
    torch.testing.assert_close(damaged, damage(clean), atol=1e-4, rtol=0)
    known = {tuple(x.flatten().tolist()) for x in made}
    assert {tuple(x.flatten().tolist()) in known for x in clean} == {plain}
