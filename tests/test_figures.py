"""The paper's figures: the curves follow the solver, the command writes them whole."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from cli_cases import call, listing, mistake
from experiment_cases import SHAPE, TinyGenerator
from mimicgan.commands.sources import invented
from mimicgan.curves import by_number, traced
from mimicgan.images import rounded, to_user
from mimicgan.learnt import Damage
from mimicgan.metrics import psnr
from mimicgan.presets import MimicSettings
from mimicgan.pretrained import load_prior
from mimicgan.prior import Prior
from mimicgan.restore import Settings, restore
from prior_cases import save_untrained, untrained_generator

SHORT = MimicSettings(iterations=4, surrogate_steps=1, latent_steps=3)


def test_a_curve_has_a_point_for_each_alternation_and_ends_at_the_result() -> None:
    prior = Prior(untrained_generator(), 100, (1, 28, 28))
    clean = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    settings = Settings("mimicgan", mimic=SHORT)
    curve, result = traced("x", 1 - clean, clean, prior, settings)
    assert len(curve.losses) == len(curve.psnrs) == 4
    assert curve.psnrs[-1] == pytest.approx(float(psnr(result.images, clean).mean()), abs=1e-3)
    latent = [step.mimicking for step in result.history if step.kind == "latent"]
    assert curve.losses == latent[2::3]


@pytest.mark.parametrize("with_bank", [True, False])
def test_invented_images_are_none_that_a_method_learns_from(with_bank: bool) -> None:
    torch.manual_seed(0)
    prior = Prior(TinyGenerator(), 4, SHAPE)
    if with_bank:
        prior = replace(prior, bank=prior.draw(500, torch.Generator().manual_seed(1)))
    clean = invented(prior, 6, seed=0)
    # What the default method begins with.
    known = to_user(rounded(prior.typical(500, torch.Generator().manual_seed(0))))
    apart = (clean[:, None] - known).abs().flatten(2).mean(dim=2)
    # Rounding alone makes 0.001.
    assert float(apart.min()) > 0.003
    assert not torch.equal(clean, invented(prior, 6, seed=1))


def test_the_command_writes_all_figures_or_nothing(
    tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "figures"
    quick = ("--mimic.iterations", "2", "--mimic.latent-steps", "1", "--pgd.iterations", "2")
    flags = ("--prior", prior_folder, "--count", "3", "--method", "pgd", "mimicgan", "universal")
    assert call("figures", out, *flags, *quick, "--kind", "negative-blur") == 0
    assert listing(out) == ["alternations.png", "figures.json", "loss.png", "recovery.png"]
    facts = json.loads((out / "figures.json").read_text())
    assert [(row["damage"], row["method"]) for row in facts["rows"]] == [
        ("negative-blur", method) for method in ("observed", "pgd", "mimicgan", "universal")
    ]
    assert [len(curve["psnrs"]) for curve in facts["curves"]] == [2, 2]
    assert facts["versions"]["torch"] == torch.__version__
    for name in ("alternations.png", "loss.png", "recovery.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 100
    other = tmp_path / "none"
    assert "--list" in mistake(capsys, "figures", other, *flags, *quick, "--kind", "nonsense")
    assert not other.exists()


def test_images_in_batches_of_several_numbers() -> None:
    prior = Prior(untrained_generator(), 100, (1, 28, 28))
    clean = torch.rand(7, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    settings = Settings("pgd", pgd=SHORT)
    heard: list[int] = []
    whole = restore(1 - clean, prior, settings).images
    curve = by_number(
        "x",
        1 - clean,
        clean,
        prior,
        settings,
        (1, 3, 7),
        whole,
        lambda number, _: heard.append(number),
    )
    assert curve.observations == [1, 3, 7]
    assert Counter(heard) == {1: 3 * 16, 3: 2 * 16}
    # Three images one by one, six in two batches, seven at once.
    for count, size, found in zip((3, 6, 7), (1, 3, 7), curve.psnrs, strict=True):
        parts = torch.split(1 - clean[:count], size)
        images = torch.cat([restore(part, prior, settings).images for part in parts])
        assert found == pytest.approx(float(psnr(images, clean[:count]).mean()), abs=1e-4)


def test_a_supervised_row_and_numbers_of_observations(
    tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    network = load_prior(prior_folder).restorer
    assert network is not None
    Damage(nn.Identity(), network).save(tmp_path / "net")
    out = tmp_path / "figures"
    quick = ("--mimic.iterations", "2", "--mimic.latent-steps", "1")
    flags = ("--prior", prior_folder, "--count", "4", "--method", "mimicgan", *quick)
    more = ("--kind", "negative-blur", "--supervised", tmp_path / "net", "--observations", "1", "4")
    assert call("figures", out, *flags, *more) == 0
    assert "observations.png" in listing(out)
    facts = json.loads((out / "figures.json").read_text())
    assert [row["method"] for row in facts["rows"]] == ["observed", "supervised", "mimicgan"]
    assert facts["curves"][-1]["observations"] == [1, 4]
    # All four in one batch are the row itself.
    assert facts["curves"][-1]["psnrs"][1] == pytest.approx(facts["rows"][-1]["psnr"], abs=1e-4)
    for words, hint in (
        (("--kind", "dropped", "negative", *more[2:4]), "one for each --kind"),
        (("--observations", "5"), "more than the 4 images"),
        (("--observations", "0"), "1 or more"),
        (("--observations", "2", "--method", "pgd"), "add --method auto"),
    ):
        assert hint in mistake(capsys, "figures", tmp_path / "none", *flags, *words)
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_drawn_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("mimicgan.commands.figures.restore", None)
    monkeypatch.setattr("mimicgan.commands.figures.traced", None)
    save_untrained(tmp_path / "plain", parts=False)
    command = ("figures", tmp_path / "out", "--prior", tmp_path / "plain", "--kind", "dropped")
    kinds = (*command, "nonsense", "--method", "pgd")
    assert "--list" in mistake(capsys, *kinds)
    assert "train restorer" in mistake(capsys, *command, "--method", "pgd", "universal")
    assert listing(tmp_path) == ["plain"]


def test_pictures_and_prior_are_not_replaced_by_figures_of_them(
    pictures: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    before = listing(pictures)
    flags = ("--prior", prior_folder, "--count", "2", "--overwrite", "--images", pictures)
    for out in (pictures, prior_folder):
        assert "choose another output folder" in mistake(capsys, "figures", out, *flags)
    assert listing(pictures) == before
    assert "prior.json" in listing(Path(prior_folder))
