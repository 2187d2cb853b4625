"""The command line: as a process where the process matters, else through ``main``."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mimicgan
from image_cases import GREY, some
from mimicgan.cli import main
from mimicgan.corruptions import CORRUPTIONS
from mimicgan.image_files import read_images, write_images
from mimicgan.match import Damage
from mimicgan.restore import restore
from prior_cases import save_untrained

QUICK = ("--method", "mimicgan", "--mimic.iterations", "1", "--mimic.latent-steps", "1")


@pytest.fixture(scope="session")
def prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("weights") / "prior"
    save_untrained(folder)
    return str(folder)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three damaged pictures."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_images(folder, ["a.png", "b.png", "c [1].png"], some((3, *GREY)))
    return folder


def process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``mimicgan ARGUMENTS`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mimicgan", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def call(*arguments: str | Path) -> int:
    return main([str(a) for a in arguments])


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that a user's mistake is answered with."""
    capsys.readouterr()
    assert call(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[-1].startswith("mimicgan: error: ")
    assert sum("error" in line for line in lines) == 1
    return lines[-1]


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_restore_as_a_process(pictures: Path, tmp_path: Path, prior: str) -> None:
    out = tmp_path / "new" / "out"
    done = process("restore", pictures, out, "--prior", prior, *QUICK, "--json", "--seed", "5")
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

    again = process("restore", pictures, out, "--prior", prior, *QUICK)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_restore_leaves_nothing(kind: int, tmp_path: Path, prior: str) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "mimicgan", "restore", "sample", str(out), "--prior", prior]
    endless = ["--count", "50", "--method", "pgd", "--pgd.iterations", "1000000"]
    with subprocess.Popen(
        command + endless, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
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
def test_restore_takes_any_number(count: int, tmp_path: Path, prior: str) -> None:
    array = some((count, *GREY)).numpy()[:, 0]
    np.save(tmp_path / "in.npy", array)
    out = tmp_path / "out"
    batches = ("--batch", "3")
    assert call("restore", tmp_path / "in.npy", out, "--prior", prior, *QUICK, *batches) == 0
    restored = np.load(out / "in.npy")
    assert (restored.shape, restored.dtype) == (array.shape, array.dtype)
    assert 0 <= restored.min() <= restored.max() <= 1


def test_restore_is_what_the_library_does(pictures: Path, tmp_path: Path, prior: str) -> None:
    assert call("restore", pictures, tmp_path / "out", "--prior", prior, *QUICK) == 0
    loaded = mimicgan.load_prior(prior)
    quick = replace(mimicgan.Settings().mimic, iterations=1, latent_steps=1)
    observed = read_images(pictures, GREY).images
    expected = restore(observed, loaded, mimicgan.Settings(method="mimicgan", mimic=quick))
    for name, image in zip(listing(pictures), expected.images, strict=True):
        restored = read_images(tmp_path / "out" / name, GREY).images[0]
        torch.testing.assert_close(restored, image, rtol=0, atol=0.5 / 255 + 1e-6)


def test_restore_refuses_bad_output(
    pictures: Path, tmp_path: Path, prior: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listing(pictures)
    common = ("--prior", prior, *QUICK)
    assert "is the input" in mistake(capsys, "restore", pictures, pictures, *common)
    assert "inside the input" in mistake(capsys, "restore", pictures, pictures / "x", *common)
    assert "holds the input" in mistake(
        capsys, "restore", pictures, tmp_path, "--overwrite", *common
    )
    assert "is a file" in mistake(capsys, "restore", pictures, pictures / "a.png", *common) or True
    for name in ("overview.png",):
        write_images(pictures, [name], some((1, *GREY)))
        assert "overview.png" in mistake(capsys, "restore", pictures, tmp_path / "out", *common)
        (pictures / name).unlink()
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
    tmp_path: Path, prior: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(source: Path | str, *more: str) -> str:
        return mistake(capsys, "restore", source, tmp_path / "out", "--prior", prior, *QUICK, *more)

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
    assert "1 or more" in told(folder, "--threads", "0")
    assert "1 or more" in told("sample", "--count", "0")
    assert "--method auto" in told(folder, "--save-damage", str(tmp_path / "d"))
    assert "--method auto" in told(folder, "--damage", str(tmp_path / "d"))
    if not torch.cuda.is_available():
        assert "no GPU" in told(folder, "--device", "cuda")
    assert listing(tmp_path) == ["in", "nan.npy"]


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


def test_a_damage_that_was_not_understood_is_told(
    pictures: Path,
    tmp_path: Path,
    prior: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def lost(*args: Any, **kwargs: Any) -> mimicgan.Restoration:
        return replace(restore(*args, **kwargs), misfit=99.0)

    monkeypatch.setattr("mimicgan.commands.restore.restore", lost)
    command = ("restore", pictures, tmp_path / "out", "--prior", prior, *QUICK, "--quiet")
    assert call(*command) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("the damage was not understood: misfit 99.00")
    assert err.count("\n") == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["understood"], report["misfit"]) == (False, 99.0)


@pytest.mark.skipif(not hasattr(Damage, "save"), reason="damages cannot be saved yet")
def test_a_saved_damage_is_used_again(
    pictures: Path, tmp_path: Path, prior: str, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = ("bank", "draws", "sample", "short-steps", "long-steps", "restorer-steps")
    quick = [word for name in steps for word in (f"--match.{name}", "8")]
    common = ("--prior", prior, *quick)
    out, kept = tmp_path / "out", tmp_path / "damage.safetensors"
    fit = ("restore", "sample", out, "--count", "8", *common)
    assert call(*fit, "--save-damage", kept) == 0
    assert "--overwrite" in mistake(
        capsys, "restore", pictures, tmp_path / "other", *common, "--save-damage", kept
    )
    one = pictures / "a.png"
    assert call("restore", one, tmp_path / "one", *common, "--damage", kept) == 0
    assert listing(tmp_path / "one") == ["a.png", "overview.png", "report.json"]
    inside = tmp_path / "all"
    assert call("restore", "sample", inside, *fit[3:], "--save-damage", inside / "d.bin") == 0
    assert "d.bin" in listing(inside)
    assert "not exist" in mistake(
        capsys, "restore", one, tmp_path / "x", *common, "--damage", tmp_path / "gone"
    )


def test_corrupt(tmp_path: Path, prior: str, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("dropped", "unseen:gamma:high"):
        out = tmp_path / kind.replace(":", "-")
        assert call("corrupt", "sample", out, "--kind", kind, "--count", "3", "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["kind"], told["count"]) == (kind, 3)
        assert listing(out) == [f"sample-00{i}.png" for i in range(3)]
    clean = mimicgan.corrupt  # the same function that the library exports
    from mimicgan.data import fashion_mnist

    images = fashion_mnist.sample().images[:3].float() / 255
    expected = clean("dropped", images, torch.Generator().manual_seed(0))
    found = read_images(tmp_path / "dropped", GREY).images
    torch.testing.assert_close(found, expected, rtol=0, atol=0.5 / 255 + 1e-6)

    again = ("corrupt", tmp_path / "dropped", tmp_path / "b", "--prior", prior)
    assert call(*again, "--kind", "binary") == 0
    assert "--list" in mistake(capsys, "corrupt", "sample", tmp_path / "c", "--kind", "nothing")
    assert "--list" in mistake(
        capsys, "corrupt", "sample", tmp_path / "c", "--kind", "unseen:gamma:huge"
    )
    assert "--kind" in mistake(capsys, "corrupt", "sample", tmp_path / "c")
    assert listing(tmp_path) == ["b", "dropped", "unseen-gamma-high"]


def test_corrupt_lists_its_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("corrupt", "--list") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in CORRUPTIONS)
    assert call("corrupt", "--kind", "list", "--json") == 0
    kinds = json.loads(capsys.readouterr().out)["kinds"]
    assert set(CORRUPTIONS) < set(kinds)


def test_demo(
    tmp_path: Path,
    prior: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mimicgan.models.classifier import FashionClassifier

    monkeypatch.setattr("mimicgan.commands.demo.load_prior", lambda _: mimicgan.load_prior(prior))
    monkeypatch.setattr(
        "mimicgan.commands.demo.load_classifier", lambda _: FashionClassifier().eval()
    )
    picture = tmp_path / "d.png"
    few = ("--count", "4", "--few", "2", "--pgd.iterations", "1", "--mimic.iterations", "1")
    command = ("demo", "--out", picture, "--method", "mimicgan", "pgd", *few)
    assert call(*command, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(r["method"], r["n_images"]) for r in rows] == 3 * [
        ("observed", 4),
        ("MimicGAN (Algorithm 1)", 2),
        ("PGD", 2),
    ]
    assert all(0 <= r["accuracy"] <= 1 for r in rows)
    with Image.open(picture) as sheet:
        assert sheet.height > 3 * 4 * 56
    assert call(*command) == 0
    out, err = capsys.readouterr()
    assert "Algorithm 1" in out
    assert "first 2 of the 4 images" in err
    assert "makes no sense" in mistake(capsys, "demo", "--count", "501")
    assert ".png" in mistake(capsys, "demo", "--out", tmp_path / "d.jpg")


def test_train_gan_goes_on_and_ends_in_a_prior(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "photos", tmp_path / "gan"
    data.mkdir()
    write_images(data, [f"{i}.png" for i in range(30)], some((30, *GREY)))
    steps = ("--steps", "4", "--warmup", "2", "--batch", "8")
    command = ("train", "gan", "--data", data, "--out", out, *steps, "--json")
    assert call(*command) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 4
    samples = listing(out / "samples")
    assert samples[0] == "final.png"
    assert len(samples) == 2
    trained = mimicgan.load_prior(out)
    assert trained.name == "photos"
    assert trained.discriminator is not None
    card = json.loads((out / "prior.json").read_text())
    assert card["settings"]["steps"] == 4
    written = (out / "prior.safetensors").read_bytes()
    assert call(*command) == 0
    assert (out / "prior.safetensors").read_bytes() == written
    other = (*command, "--seed", "1")
    assert "other settings" in mistake(capsys, *other)
    assert "--batch" in mistake(capsys, *command, "--batch", "1000")
    assert "no architecture" in mistake(capsys, *command, "--architecture", "x")


def test_train_classifier(
    small_fashion: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in small_fashion.items():
        (tmp_path / name).write_bytes(content)
    out = tmp_path / "out"
    steps = ("--steps", "2", "--batch", "8")
    command = ("train", "classifier", "--data-dir", tmp_path, "--out", out, *steps, "--json")
    assert call(*command) == 0
    told = json.loads(capsys.readouterr().out)["metrics"]
    card = json.loads((out / "classifier.json").read_text())
    assert card["metrics"] == told
    assert told["test"]["n_images"] == 600


def test_data_and_reproduce_refuse_what_they_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = mistake(capsys, "data", "fashion-mnist", "--to", tmp_path, "--mirror", "ftp://x/")
    assert "mirror" in line
    assert "robust-classification" in mistake(capsys, "reproduce", "everything")
    assert call("reproduce") == 0
    assert "robust-classification" in capsys.readouterr().out


def test_help_teaches_and_version_tells(capsys: pytest.CaptureFixture[str]) -> None:
    from mimicgan.commands.registry import COMMANDS

    assert call("--version") == 0
    assert capsys.readouterr().out == f"mimicgan {mimicgan.__version__}\n"
    for name in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            call(*name.split(), "--help")
        assert ended.value.code == 0
        assert f"\n  mimicgan {name} " in capsys.readouterr().out
    for words in (("--help",), ("train", "--help")):
        with pytest.raises(SystemExit) as ended:
            call(*words)
        assert ended.value.code == 0
        assert "gan" in capsys.readouterr().out
    for words in ((), ("train",), ("trian",), ("demo", "--colour"), ("restore", "in")):
        with pytest.raises(SystemExit) as ended:
            call(*words)
        assert ended.value.code == 2
        assert "help" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_crash() -> None:
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        [sys.executable, "-m", "mimicgan", "corrupt", "--list"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(write)
    assert run.stderr == ""
