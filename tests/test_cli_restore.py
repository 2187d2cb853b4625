"""``mimicgan restore``: as a process where the process matters, else through ``main``."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mimicgan
from cli_cases import QUICK, call, listing, mistake, process
from image_cases import GREY, some
from mimicgan.image_files import read_images, write_images
from mimicgan.learnt import Damage
from mimicgan.models.restorer import Restorer
from mimicgan.restore import restore
from prior_cases import save_untrained


def test_restore_as_a_process(pictures: Path, tmp_path: Path, prior_folder: str) -> None:
    out = tmp_path / "new" / "out"
    done = process(
        "restore", pictures, out, "--prior", prior_folder, *QUICK, "--json", "--seed", "5"
    )
    assert done.returncode == 0, done.stderr
    assert listing(out) == ["a.png", "b.png", "c [1].png", "overview.png", "report.json"]
    assert listing(out.parent) == ["out"]
    report = json.loads((out / "report.json").read_text())
    told = json.loads(done.stdout)
    assert told["command"] == "restore"
    assert {k: told[k] for k in ("seed", "method", "losses")} == {
        k: report[k] for k in ("seed", "method", "losses")
    }
    assert report["inputs"]["names"] == ["a.png", "b.png", "c [1].png"]
    assert (report["seed"], report["method"], report["prior"]) == (5, "mimicgan", "untrained")
    assert report["settings"]["mimic"]["iterations"] == 1
    assert report["versions"]["torch"] == torch.__version__
    assert report["machine"]["torch_threads"] >= 1
    assert set(report["losses"]) == {"surrogate", "latent"}
    assert report["generator_passes"] > 0
    assert report["understood"] is None
    assert "3 images restored" in done.stderr
    with Image.open(out / "overview.png") as sheet:
        assert sheet.width > 3 * 56

    again = process("restore", pictures, out, "--prior", prior_folder, *QUICK)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_restore_leaves_nothing(
    kind: int, tmp_path: Path, prior_folder: str
) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "mimicgan",
        "restore",
        "sample",
        str(out),
        "--prior",
        prior_folder,
    ]
    endless = ["--count", "50", "--method", "pgd", "--pgd.iterations", "1000000", "--quiet"]
    with subprocess.Popen(
        command + endless,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore SIGINT, nohup's SIGHUP, and so would their children.
        preexec_fn=lambda: signal.signal(kind, signal.SIG_DFL),
    ) as running:
        started = time.monotonic()
        while not list(tmp_path.iterdir()) and time.monotonic() - started < 60:
            time.sleep(0.05)
        assert listing(tmp_path)[0].startswith(".out-")
        time.sleep(0.5)
        running.send_signal(kind)
        shown, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert (shown, told) == ("", "mimicgan: interrupted; nothing was written\n")
    assert listing(tmp_path) == []


@pytest.mark.parametrize("count", [1, 2, 7])
def test_restore_takes_any_number(count: int, tmp_path: Path, prior_folder: str) -> None:
    array = some((count, *GREY)).numpy()[:, 0]
    np.save(tmp_path / "in.npy", array)
    out = tmp_path / "out"
    batches = ("--batch", "3")
    assert call("restore", tmp_path / "in.npy", out, "--prior", prior_folder, *QUICK, *batches) == 0
    restored = np.load(out / "in.npy")
    assert (restored.shape, restored.dtype) == (array.shape, array.dtype)
    assert 0 <= restored.min() <= restored.max() <= 1


def test_restore_is_what_the_library_does(
    pictures: Path, tmp_path: Path, prior_folder: str
) -> None:
    assert call("restore", pictures, tmp_path / "out", "--prior", prior_folder, *QUICK) == 0
    loaded = mimicgan.load_prior(prior_folder)
    quick = replace(mimicgan.Settings().mimic, iterations=1, latent_steps=1)
    observed = read_images(pictures, GREY).images
    expected = restore(observed, loaded, mimicgan.Settings(method="mimicgan", mimic=quick))
    for name, image in zip(listing(pictures), expected.images, strict=True):
        restored = read_images(tmp_path / "out" / name, GREY).images[0]
        torch.testing.assert_close(restored, image, rtol=0, atol=0.5 / 255 + 1e-6)


def test_restore_refuses_bad_output(
    pictures: Path, tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listing(pictures)
    common = ("--prior", prior_folder, *QUICK)
    assert "is the input" in mistake(capsys, "restore", pictures, pictures, *common)
    assert "inside the input" in mistake(capsys, "restore", pictures, pictures / "x", *common)
    assert "holds the input" in mistake(
        capsys, "restore", pictures, tmp_path, "--overwrite", *common
    )
    (tmp_path / "file").write_text("mine")
    assert "is a file" in mistake(capsys, "restore", pictures, tmp_path / "file", *common)
    (tmp_path / "file").unlink()
    write_images(pictures, ["overview.png"], some((1, *GREY)))
    assert "overview.png" in mistake(capsys, "restore", pictures, tmp_path / "out", *common)
    (pictures / "overview.png").unlink()
    assert listing(pictures) == before
    assert listing(tmp_path) == ["in"]
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.txt").write_text("old")
    assert "--overwrite" in mistake(capsys, "restore", pictures, out, *common)
    assert listing(out) == ["old.txt"]
    assert call("restore", pictures, out, *common, "--overwrite") == 0
    assert "old.txt" not in listing(out)


def test_restore_refuses_bad_input(
    tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(source: Path | str, *more: str) -> str:
        return mistake(
            capsys, "restore", source, tmp_path / "out", "--prior", prior_folder, *QUICK, *more
        )

    bad = some((2, *GREY)).numpy()
    bad[1, 0, 3, 3] = np.nan
    np.save(tmp_path / "nan.npy", bad)
    assert "NaN" in told(tmp_path / "nan.npy")
    folder = tmp_path / "in"
    folder.mkdir()
    assert "empty" in told(folder)
    write_images(folder, ["whole.png", "cut.png"], some((2, *GREY)))
    content = (folder / "cut.png").read_bytes()
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    assert "cut.png" in told(folder)
    (folder / "cut.png").unlink()
    assert "does not exist" in told(tmp_path / "nowhere")
    assert "1 or more" in told(folder, "--batch", "0")
    for threads in ("0", "100000000"):
        assert "give 1 to 1024" in told(folder, "--threads", threads)
    assert "1 or more" in told("sample", "--count", "0")
    assert "--method auto" in told(folder, "--save-damage", str(tmp_path / "d"))
    both = ("--damage", str(tmp_path / "d"), "--save-damage", str(tmp_path / "e"))
    assert "fits nothing to save" in told(folder, *both, "--method", "auto")
    assert "leave --output out" in told(folder, "--output", "realism")
    assert "leave --output out" in told(folder, "--output", "fidelity", "--method", "pgd")
    assert "--method auto" in told(folder, "--damage", str(tmp_path / "d"))
    among = ("--method", "auto", "--save-damage", str(folder / "new"))
    assert "lies among them" in told(folder, *among)
    assert "add --classify" in told(folder, "--classify-range", "-1", "1")
    assert listing(tmp_path) == ["in", "nan.npy"]


def test_one_none_is_offered_for_groups(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call("restore", "in", "out", "--group-by", "all")
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "Expected one of ('folder', 'prefix', 'none')" in told


def test_restore_refuses_tampered_weights(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "p"
    save_untrained(folder, parts=False)
    content = bytearray((folder / "prior.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "prior.safetensors").write_bytes(content)
    line = mistake(capsys, "restore", pictures, tmp_path / "out", "--prior", folder, *QUICK)
    assert "SHA-256 differs" in line
    assert listing(tmp_path) == ["in", "p"]


def test_a_saved_damage_is_used_again(
    pictures: Path, tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = ("bank", "draws", "sample", "short-steps", "long-steps", "restorer-steps")
    quick = [word for name in counts for word in (f"--match.{name}", "4")]
    quick += ["--match.starts", "1", "--match.restorer-batch", "4"]
    common = ("--prior", prior_folder, *quick)
    out, kept = tmp_path / "out", tmp_path / "damage.safetensors"
    fit = ("restore", "sample", out, "--count", "8", *common)
    assert call(*fit, "--save-damage", kept) == 0
    assert "--overwrite" in mistake(
        capsys, "restore", pictures, tmp_path / "other", *common, "--save-damage", kept
    )
    one = pictures / "a.png"
    assert call("restore", one, tmp_path / "one", *common, "--damage", kept) == 0
    assert listing(tmp_path / "one") == ["a.png", "damage.png", "overview.png", "report.json"]
    inside = tmp_path / "all"
    assert call("restore", "sample", inside, *fit[3:], "--save-damage", inside / "d.bin") == 0
    assert "d.bin" in listing(inside)
    assert "No such file" in mistake(
        capsys, "restore", one, tmp_path / "x", *common, "--damage", tmp_path / "gone"
    )


def test_what_cannot_be_written_elsewhere_does_not_cost_the_images(
    pictures: Path,
    tmp_path: Path,
    prior_folder: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(self: Damage, path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Damage, "export", full)
    universal = ("--prior", prior_folder, "--method", "universal")
    out, export = tmp_path / "out", tmp_path / "elsewhere.pt2"
    line = mistake(capsys, "restore", pictures, out, *universal, "--export", export)
    assert f"cannot write {export}: No space left" in line
    assert f"the images are in {out}" in line
    assert "report.json" in listing(out)
    other = tmp_path / "other"
    line = mistake(capsys, "restore", pictures, other, *universal, "--export", other / "x.pt2")
    assert "No space left" in line
    assert not other.exists()


def test_a_large_folder_is_restored_in_place_and_goes_on(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], prior_folder: str
) -> None:
    source = tmp_path / "archive"
    (source / "day").mkdir(parents=True)
    write_images(source / "day", ["a.png", "b.png"], some((2, *GREY)))
    write_images(source, ["c.png"], some((1, *GREY)))
    (source / "broken.png").write_bytes(b"x")
    common = ("--group-by", "folder", "--method", "universal")
    prior = ("--prior", prior_with_restorer(tmp_path))
    assert call("restore", source, tmp_path / "out", *common, *prior, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["images"], list(told["bad"])) == (3, ["broken.png"])
    assert listing(tmp_path / "out" / "day") == ["a.png", "b.png"]
    assert (tmp_path / "out" / "c.png").exists()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["inputs"] == {"source": str(source), "group_by": "folder"}
    assert (report["prior"], report["method"], report["seed"]) == ("p", "universal", 0)
    assert report["settings"]["method"] == "universal"
    assert report["versions"]["torch"] == torch.__version__
    assert call("restore", source, tmp_path / "out", *common, *prior, "--json") == 0
    assert json.loads(capsys.readouterr().out)["chunks_done_before"] == 2
    strict = (*common, *prior, "--strict")
    assert "broken.png" in mistake(capsys, "restore", source, tmp_path / "strict", *strict)
    assert "--count" in mistake(capsys, "restore", source, tmp_path / "x", *common, "--count", "3")
    assert "--group-by" in mistake(capsys, "restore", source, tmp_path / "x", "--strict")


def prior_with_restorer(folder: Path) -> str:
    from mimicgan.pretrained import Card, save_prior
    from prior_cases import untrained_generator

    torch.manual_seed(0)
    save_prior(
        folder / "prior", Card("p", "fashion"), untrained_generator(), restorer=Restorer(GREY)
    )
    return str(folder / "prior")
