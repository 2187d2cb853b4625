"""The paper's figures: the curves follow the solver, the command writes them whole."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from cli_cases import call, listing, mistake
from experiment_cases import SHAPE, TinyGenerator
from mimicgan.commands.sources import invented
from mimicgan.curves import traced
from mimicgan.images import rounded, to_user
from mimicgan.metrics import psnr
from mimicgan.presets import MimicSettings
from mimicgan.prior import Prior
from mimicgan.restore import Settings
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
