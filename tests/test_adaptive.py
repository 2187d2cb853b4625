"""Attacks that know of the cleaning: what they may change, and what they are made against."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from experiment_cases import SHAPE, tiny_bench
from mimicgan.attacks import ATTACKS
from mimicgan.experiments import adaptive
from mimicgan.experiments.adaptive import Together, batch_game, model_space
from mimicgan.experiments.bench import Bench
from mimicgan.experiments.defence import adversarial
from mimicgan.models.restorer import Restorer
from test_job import TINY

pytest.importorskip("foolbox")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = tiny_bench(tmp_path)
    torch.manual_seed(1)
    return replace(made, prior=replace(made.prior, restorer=Restorer(SHAPE, 8, 16)))


def changed(before: Tensor, after: Tensor) -> Tensor:
    return (before != after).flatten(1).any(dim=1)


def test_two_models_are_attacked_by_their_mean() -> None:
    class Fixed(nn.Module):
        def __init__(self, *shares: float) -> None:
            super().__init__()
            self.logits = torch.tensor([shares]).log()

        def forward(self, x: Tensor) -> Tensor:
            return self.logits.expand(len(x), -1)

    both = Together([Fixed(0.5, 0.5), Fixed(0.9, 0.1)])(torch.zeros(1, *SHAPE))
    expected = torch.tensor([[0.45, 0.05]]).log() / 2
    torch.testing.assert_close(both, expected)


def test_a_batch_game_attacks_the_images_it_says(bench: Bench) -> None:
    images, labels = bench.drawn(0, 0, 12)
    games = {name: batch_game(bench, images, labels, 3, game=name) for name in adaptive.GAMES}
    assert changed(images, games["one attacked"]).tolist() == [True] + [False] * 11
    assert changed(images, games["half attacked"]).sum() == 6
    assert changed(images, games["all attacked"]).all()
    # Its order is another one already when it gets here.
    assert torch.equal(games["all attacked, shuffled"], games["all attacked"])
    each = [
        adversarial(bench, images, labels, 3, name=name, eps=0.3, guessed=True) for name in ATTACKS
    ]
    by_attack = torch.stack([~changed(made, games["attacks mixed"]) for made in each])
    assert by_attack.any(dim=0).all()
    assert len(by_attack[:, by_attack.sum(dim=0) == 1].unique(dim=1).T) > 1


def test_the_model_space_attack_fits_on_its_way_and_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = []
    plain = adaptive.Purified.learn

    def learn(self: adaptive.Purified, observed: Tensor) -> adaptive.Purified:
        learnt.append((self.settings.seed, observed.clone()))
        return plain(self, observed)

    monkeypatch.setattr(adaptive.Purified, "learn", learn)
    images, labels = bench.drawn(0, 0, 8)
    # What is not believed leaves the universal restorer, which is attacked already.
    believed = replace(TINY.match, sure_misfit=1e9, good_misfit=1e9, misfit_limit=1e9)
    made = model_space(bench, images, labels, 5, eps=0.1, settings=believed)
    assert (made - images).abs().max() <= 0.1 + 1e-6
    assert made.min() >= 0
    assert made.max() <= 1
    # Each fit sees what fooled those before it, and has a seed of its own, never the defender's.
    assert [seed for seed, _ in learnt] == [6, 7]
    assert not torch.equal(learnt[0][1], learnt[1][1])
    assert changed(images, made).all()
    again = model_space(bench, images, labels, 5, eps=0.1, settings=believed)
    assert torch.equal(made, again)
    assert len(learnt) == 2
