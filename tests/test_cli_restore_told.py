"""What ``mimicgan restore`` tells: how well it went, and how it builds up."""

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mimicgan
from cli_cases import QUICK, call, listing, mistake
from image_cases import GREY, some
from mimicgan.damage import ComposedDamage
from mimicgan.learnt import Damage
from mimicgan.models.restorer import Restorer
from mimicgan.restore import restore


def test_a_restoration_can_be_watched(
    pictures: Path, tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    preview = tmp_path / "preview.png"
    flags = ("--prior", prior_folder, *QUICK)
    assert call("restore", pictures, tmp_path / "out", *flags, "--watch", preview) == 0
    with Image.open(preview) as sheet:
        assert sheet.height > 2 * 56
    assert listing(tmp_path / "out")[-1] == "report.json"
    line = mistake(
        capsys, "restore", pictures, tmp_path / "no", *flags, "--watch", tmp_path / "preview.jpg"
    )
    assert ".png" in line
    out, file = tmp_path / "no", tmp_path / "file"
    command = ("restore", pictures, out, *flags)
    file.touch()
    for watch, told in (
        (out / "preview.png", "lies in OUT"),
        (file / "preview.png", f"cannot write --watch {file / 'preview.png'}: Not a directory"),
        (pictures / "a.png", "is an input, or lies among them"),
        (pictures / "new.png", "is an input, or lies among them"),
        (Path("/proc/preview.png"), "cannot write --watch /proc/preview.png: "),
    ):
        assert told in mistake(capsys, *command, "--watch", watch)
    assert not out.exists()
    for flag, name in (
        ("--watch", "p.png"),
        ("--save-damage", "d.safetensors"),
        ("--export", "d.pt2"),
    ):
        line = mistake(capsys, *command[:5], flag, tmp_path / "new" / name)
        assert f"the folder {tmp_path / 'new'} does not exist; make it" in line
    before = preview.read_bytes()
    assert "--overwrite" in mistake(capsys, *command, "--watch", preview)
    assert preview.read_bytes() == before
    assert call(*command, "--watch", preview, "--overwrite") == 0


def test_what_is_applied_at_once_cannot_be_watched(
    pictures: Path, tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, watch = tmp_path / "kept", ("--watch", tmp_path / "preview.png")
    Damage(torch.nn.Identity(), Restorer(GREY)).save(kept)
    command = ("restore", pictures, tmp_path / "out", "--prior", prior_folder)
    assert "--damage is applied" in mistake(capsys, *command, "--damage", kept, *watch)
    universal = (*command, "--method", "universal", *watch)
    assert "--method universal is applied" in mistake(capsys, *universal)
    assert listing(tmp_path) == ["in", "kept"]
    assert call(*universal, "--output", "realism") == 0
    assert watch[1].exists()


def test_a_preview_that_fails_half_way_is_not_blamed_on_the_output(
    pictures: Path,
    tmp_path: Path,
    prior_folder: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mimicgan.commands.progress.written_whole", full)
    preview = tmp_path / "preview.png"
    flags = ("--prior", prior_folder, *QUICK, "--watch", preview)
    line = mistake(capsys, "restore", pictures, tmp_path / "out", *flags)
    assert f"cannot write --watch {preview}: No space left" in line
    assert listing(tmp_path) == ["in"]


Scored = Callable[..., None]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Scored:
    """Makes the command's restorations differ as it is told."""

    def change(**changes: Any) -> None:
        def changed(*args: Any, **kwargs: Any) -> mimicgan.Restoration:
            return replace(restore(*args, **kwargs), **changes)

        monkeypatch.setattr("mimicgan.commands.restore.restore", changed)

    return change


def test_a_damage_that_was_not_understood_is_told(
    pictures: Path,
    tmp_path: Path,
    prior_folder: str,
    scored: Scored,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scored(misfit=99.0)
    command = ("restore", pictures, tmp_path / "out", "--prior", prior_folder, *QUICK, "--quiet")
    assert call(*command) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("the damage was not understood: misfit 99.00")
    assert err.count("\n") == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["understood"], report["misfit"]) == (False, 99.0)


def test_each_phase_is_a_line_where_there_is_no_terminal(
    pictures: Path, tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = (*QUICK[:2], "--mimic.iterations", "2", "--mimic.latent-steps", "2")
    command = ("restore", pictures, tmp_path / "out", "--prior", prior_folder, *more)
    assert call(*command) == 0
    assert capsys.readouterr().err.splitlines()[:2] == [
        "restoring 3 images: fitting the damage",
        "restoring 3 images: fitting the images",
    ]
    assert call(*command, "--overwrite", "--quiet") == 0
    assert "fitting" not in capsys.readouterr().err


def test_what_the_score_says_is_told_whatever_it_is(
    pictures: Path,
    tmp_path: Path,
    prior_folder: str,
    scored: Scored,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def found(misfit: float | None, damage: Damage | None = None) -> str:
        scored(misfit=misfit, damage=damage)
        command = ("restore", pictures, tmp_path / "out", "--prior", prior_folder, *QUICK)
        assert call(*command, "--overwrite") == 0
        return capsys.readouterr().err.splitlines()[-1]

    assert found(0.25) == "the learnt damage explains the observations (misfit 0.25)"
    assert found(None) == "this method cannot tell whether it understood the damage"
    undamaged = Damage(ComposedDamage(GREY), torch.nn.Identity(), 0.1)
    assert found(0.1, undamaged).startswith("the images look undamaged")
    doubted = Damage(ComposedDamage(GREY), Restorer(GREY), 0.7, own=False)
    assert found(0.7, doubted) == (
        "the damage was not understood: the universal restorer was used: one made for the learnt "
        "damage was not trusted (misfit 0.70)"
    )
    assert found(7.0, doubted).endswith("; the universal restorer was used")


def test_the_overview_has_no_simulated_row_where_nothing_was_learnt(
    pictures: Path, tmp_path: Path, prior_folder: str
) -> None:
    # A name that no font can show.
    (pictures / "a.png").rename(pictures / "a\n\udcff.png")
    flags = ("--prior", prior_folder, *QUICK[2:])
    heights = []
    for method in ("mimicgan", "pgd", "universal"):
        out = tmp_path / method
        assert call("restore", pictures, out, *flags, "--method", method) == 0
        with Image.open(out / "overview.png") as sheet:
            heights.append(sheet.height)
    assert heights[1] == heights[2] < heights[0] - 50


def test_too_few_images_to_learn_from_are_told(
    pictures: Path, tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("restore", pictures, tmp_path / "out", "--prior", prior_folder)
    kept = tmp_path / "kept"
    line = mistake(capsys, *command, "--save-damage", kept)
    assert "fewer than 4 images" in line
    assert listing(tmp_path) == ["in"]
    assert call(*command, "--quiet") == 0
    told = capsys.readouterr().err
    assert told == "nothing is learnt from fewer than 4 images: the universal restorer was used\n"
    assert json.loads((tmp_path / "out" / "report.json").read_text())["message"] == told.strip()
    job = ("restore", pictures, tmp_path / "job", "--prior", prior_folder, "--group-by", "none")
    assert call(*job, "--quiet") == 0
    assert "nothing was learnt for 1 of 1 groups" in capsys.readouterr().err
    # A damage that was learnt before needs no further images.
    Damage(torch.nn.Identity(), Restorer(GREY)).save(kept)
    command = (*command, "--overwrite", "--damage", kept)
    assert call(*command, "--quiet") == 0
    assert capsys.readouterr().err == ""


def test_what_a_restoration_reads_is_not_overwritten(
    pictures: Path, tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    Damage(torch.nn.Identity(), Restorer(GREY)).save(out / "camera.safetensors")
    before = (out / "camera.safetensors").read_bytes()
    command = ("restore", pictures, out, "--overwrite", "--prior")
    for more in ((prior_folder, "--damage", out / "camera.safetensors"), (prior_folder,)):
        where = out if len(more) > 1 else prior_folder
        line = mistake(capsys, "restore", pictures, where, "--overwrite", "--prior", *more)
        assert "choose" in line
    assert (out / "camera.safetensors").read_bytes() == before
    assert call(*command, prior_folder, "--quiet") == 0


def test_files_beside_the_images_are_no_part_of_the_result_and_not_in_its_way(
    pictures: Path, tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out.png"
    (tmp_path / "new").mkdir()
    command = ("restore", pictures, out, "--prior", prior_folder)
    for name in ("report.json", "overview.png", "damage.png"):
        line = mistake(capsys, *command, "--save-damage", out / name)
        assert "is the name of a file of the result" in line
    assert "in the way of OUT" in mistake(capsys, *command, "--save-damage", out)
    assert "in the way of OUT" in mistake(capsys, *command, "--watch", out)
    inner = ("restore", pictures, tmp_path / "x.pt2" / "out", "--prior", prior_folder)
    assert "in the way of OUT" in mistake(capsys, *inner, "--export", tmp_path / "x.pt2")
    assert listing(tmp_path) == ["in", "new"]


def test_a_link_that_leads_back_to_itself_is_told(
    pictures: Path, tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "round").symlink_to(tmp_path / "again")
    (tmp_path / "again").symlink_to(tmp_path / "round")
    for more in ((), ("--group-by", "folder")):
        command = ("restore", pictures, tmp_path / "round", "--prior", prior_folder, *more)
        assert "choose" in mistake(capsys, *command) or "name another" in mistake(capsys, *command)
    beside = ("--export", tmp_path / "round" / "x.pt2")
    mistake(capsys, "restore", pictures, tmp_path / "out", "--prior", prior_folder, *beside)
    assert listing(tmp_path) == ["again", "in", "round"]


def test_files_beside_the_images_do_not_replace_each_other(
    pictures: Path, tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("restore", pictures, tmp_path / "out", "--prior", prior_folder)
    one, same = tmp_path / "x.pt2", tmp_path / "in" / ".." / "x.pt2"
    line = mistake(capsys, *command, "--save-damage", one, "--export", same)
    assert "give each another name" in line
    one, same = (path.with_suffix(".png") for path in (one, same))
    line = mistake(capsys, *command, "--save-damage", one, "--watch", same)
    assert "give each another name" in line
    assert listing(tmp_path) == ["in"]


class TwoChannels(torch.nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z.tanh().view(-1, 2, 8, 8)


@pytest.mark.filterwarnings("ignore")
def test_images_that_cannot_be_drawn_are_restored_without_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "two.pt"
    torch.jit.trace(TwoChannels(), (torch.zeros(2, 128),)).save(own)
    np.save(tmp_path / "in.npy", some((5, 2, 8, 8)).numpy())
    prior = ("--prior", own, "--latent-size", "128", "--image-shape", "2", "8", "8")
    command = ("restore", tmp_path / "in.npy", tmp_path / "out", *prior)
    assert call(*command, *QUICK, "--watch", tmp_path / "watch.png") == 0
    assert "no pictures of 2 channels" in capsys.readouterr().err
    assert listing(tmp_path / "out") == ["in.npy", "report.json"]
    assert listing(tmp_path) == ["in.npy", "out", "two.pt"]
    assert "1 or 3 channels" in mistake(capsys, "figures", tmp_path / "figures", *prior)


def test_a_number_without_end_in_the_settings_loses_no_result(
    pictures: Path, tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--prior", prior_folder, *QUICK, "--match.misfit-limit", "inf", "--json")
    assert call("restore", pictures, tmp_path / "out", *flags) == 0
    told = json.loads(capsys.readouterr().out)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert told["settings"] == report["settings"]
    assert report["settings"]["match"]["misfit_limit"] == "Infinity"
