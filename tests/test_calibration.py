"""Damages and images that no fit can explain are what they say, and are measured as such."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiment_cases import SHAPE, tiny_bench
from mimicgan.experiments import calibration as module
from mimicgan.experiments.calibration import DAMAGES, STRANGERS, cases, swirled
from mimicgan.experiments.cases import Case
from mimicgan.experiments.options import ExperimentOptions
from mimicgan.experiments.record import read_record
from mimicgan.experiments.runner import Experiment, run

IMAGES = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", DAMAGES)
def test_damages_keep_shape_and_range_and_follow_the_seed(name: str) -> None:
    first, again = (DAMAGES[name](IMAGES, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == IMAGES.shape
    assert first.min() >= -1e-6
    assert first.max() <= 1 + 1e-6
    assert torch.equal(first, IMAGES) == (name == "undamaged")


def test_scrambled_pixels_are_the_same_pixels_in_one_order_or_in_many() -> None:
    same = DAMAGES["scrambled"](IMAGES, torch.Generator().manual_seed(1)).flatten(1)
    each = DAMAGES["scrambled-each"](IMAGES, torch.Generator().manual_seed(1)).flatten(1)
    clean = IMAGES.flatten(1)
    assert torch.equal(same.sort(dim=1).values, clean.sort(dim=1).values)
    assert torch.equal(each.sort(dim=1).values, clean.sort(dim=1).values)
    places = [
        [int((row == value).nonzero()[0, 0]) for value in row0[:20]]
        for row, row0 in zip(same, clean, strict=True)
    ]
    assert all(place == places[0] for place in places)
    others = [
        [int((row == value).nonzero()[0, 0]) for value in row0[:20]]
        for row, row0 in zip(each, clean, strict=True)
    ]
    assert others[0] != others[1]


def test_a_swirl_turns_the_middle_round_and_leaves_the_corners() -> None:
    spot = torch.zeros(1, 1, 29, 29)
    spot[..., 14, 16] = 1
    spot[..., 0, 0] = 1
    out = swirled(spot, torch.Generator())[0, 0]
    assert out[0, 0] == 1
    left, right = out[12:17, 11:14].sum(), out[12:17, 15:18].sum()
    assert left > 3 * right


@pytest.mark.parametrize("name", STRANGERS)
def test_strangers_differ_among_themselves(name: str) -> None:
    made = STRANGERS[name](3, (1, 28, 28), torch.Generator().manual_seed(0))
    assert made.shape == (3, 1, 28, 28)
    assert 0 <= made.min() < 0.3 < 0.6 < made.max() <= 1
    assert (made[0] - made[1]).abs().mean() > 0.05


def test_strangers_take_the_place_of_the_images_and_have_no_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STRANGERS, "faces", STRANGERS["gratings"])
    by_place = {(case.task, case.variant): case for case in cases()}
    waves = by_place["gratings", "undamaged"]
    assert waves.strangers is not None
    known: Case = replace(by_place["clothes", "undamaged"], methods=("observed",))
    chosen = (known, replace(waves, methods=("observed",)))
    options = ExperimentOptions(
        tmp_path / "out", tmp_path / "runs", seeds=(0,), images=4, split="validation"
    )
    path = run(Experiment(module.NAME, chosen), options, None, tiny_bench(tmp_path))
    assert path is not None
    clothes, gratings = read_record(path)["rows"]
    assert (clothes["accuracy"], "accuracy" in gratings) == (1.0, False)
    # Undamaged, so nothing differs from the truth: the observed images were the strangers too.
    assert gratings["psnr"] == clothes["psnr"] == 58.9
    assert waves.strangers(2, SHAPE, torch.Generator().manual_seed(0)).shape == (2, *SHAPE)
