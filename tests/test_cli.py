"""The command line, but for restore: help, corrupt, demo, data, training."""

import hashlib
import io
import json
import os
import shlex
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

import mimicgan
from cli_cases import call, listing, mistake
from experiment_cases import SHAPE, TinyGenerator
from image_cases import GREY, some
from mimicgan.commands.screen import Screen
from mimicgan.corruptions import CORRUPTIONS
from mimicgan.data import fashion_mnist
from mimicgan.image_files import read_images, write_images
from mimicgan.pretrained import load_card, load_prior
from mimicgan.training.herding import herded


def test_corrupt(tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("dropped", "unseen:gamma:high"):
        out = tmp_path / kind.replace(":", "-")
        assert call("corrupt", "sample", out, "--kind", kind, "--count", "3", "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["kind"], told["count"]) == (kind, 3)
        assert listing(out) == [f"sample-00{i}.png" for i in range(3)]
    images = fashion_mnist.sample().images[:3].float() / 255
    expected = mimicgan.corrupt("dropped", images, torch.Generator().manual_seed(0))
    found = read_images(tmp_path / "dropped", GREY).images
    torch.testing.assert_close(found, expected, rtol=0, atol=0.5 / 255 + 1e-6)

    again = ("corrupt", tmp_path / "dropped", tmp_path / "b", "--prior", prior_folder)
    assert call(*again, "--kind", "binary", "--count", "1") == 0
    assert "1 image damaged" in capsys.readouterr().err
    assert "--list" in mistake(capsys, "corrupt", "sample", tmp_path / "c", "--kind", "nothing")
    assert "--list" in mistake(
        capsys, "corrupt", "sample", tmp_path / "c", "--kind", "unseen:gamma:huge"
    )
    assert "--kind" in mistake(capsys, "corrupt", "sample", tmp_path / "c")
    own = ("corrupt", tmp_path / "dropped", tmp_path / "c", "--kind", "dropped", "--prior", "g.pt2")
    assert "--image-shape" in mistake(capsys, *own)
    assert call(*own, "--image-shape", "3", "32", "20") == 0
    assert read_images(tmp_path / "c", (3, 32, 20)).notes == []
    own = ("corrupt", "sample", prior_folder, "--kind", "dropped", "--overwrite")
    assert "choose" in mistake(capsys, *own, "--prior", prior_folder)
    assert listing(tmp_path) == ["b", "c", "dropped", "unseen-gamma-high"]


def test_the_word_sample_is_never_taken_for_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sample").mkdir()
    write_images(Path("sample"), ["mine.png"], some((1, *GREY)))
    kind = ("--kind", "dropped")
    assert "write ./sample" in mistake(capsys, "corrupt", "sample", "out", *kind)
    assert call("corrupt", "./sample", "out", *kind) == 0
    assert listing(Path("out")) == ["mine.png"]


def test_corrupt_lists_its_kinds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("corrupt", "--list") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in CORRUPTIONS)
    assert call("corrupt", "--kind", "list", "--json") == 0
    kinds = json.loads(capsys.readouterr().out)["kinds"]
    assert set(CORRUPTIONS) < set(kinds)
    monkeypatch.setenv("COLUMNS", "60")
    assert call("corrupt", "--list") == 0
    shown = capsys.readouterr().out
    assert all(f" {name} " in shown for name in kinds)


def test_demo_shows_faces_without_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "faces.png"
    few = ("--count", "3", "--few", "2", "--method", "universal")
    assert call("demo", "--prior", "faces", *few, "--out", picture, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["damage"] for row in rows} == {"negative", "stuck-pixels", "inpainting"}
    assert all("accuracy" not in row and row["psnr"] > 0 for row in rows)
    with Image.open(picture) as sheet:
        assert sheet.width > 3 * 64


def test_demo(
    tmp_path: Path,
    prior_folder: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mimicgan.models.classifier import FashionClassifier

    monkeypatch.setattr(
        "mimicgan.commands.demo.load_prior", lambda _: mimicgan.load_prior(prior_folder)
    )
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
        # PGD learns no damage to show.
        assert 3 * 3 * 56 < sheet.height < 3 * 4 * 60
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
    command: tuple[str | Path, ...] = (
        "train",
        "gan",
        "--data",
        data,
        "--out",
        out,
        *steps,
        "--json",
    )
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
    assert "no choice of width" in mistake(capsys, *command, "--width", "16")


def test_a_training_that_can_write_nothing_does_not_begin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "file"
    taken.touch()
    for name in ("gan", "classifier", "restorer", "bank", "supervised"):
        words = {"restorer": ("--prior", tmp_path), "bank": ("--prior", "fashion-mnist")}
        more = words.get(name, ("--task", "dropped") if name == "supervised" else ())
        line = mistake(capsys, "train", name, "--out", taken, *more)
        assert f"cannot write --out {taken}: Not a directory" in line


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("train gan --steps 0", "steps 0"),
        ("train gan --reconstruction 0", "give warmup 0"),
        (f"train gan --seed {2**64}", "out of range"),
        ("train gan --width -4", "width -4"),
        ("train gan --ema nan", "ema nan makes no sense; give 0 to 1"),
        ("train gan --learning-rate inf", "learning_rate inf makes no sense; give 0 or more"),
        (f"corrupt sample out --kind dropped --seed {2**64}", "out of range"),
        (f"demo --seed {2**64}", "out of range"),
        (f"train supervised --task dropped --once --draw {2**64}", "out of range"),
        (f"evaluate --seed {2**64}", "out of range"),
        ("train restorer --prior x --batch 0", "batch 0"),
        ("train supervised --task dropped --steps 0", "steps 0"),
        ("train classifier --steps -1", "steps -1"),
        ("reproduce robust-classification --threads 0", "threads"),
        ("reproduce robust-classification --threads 99999", "give 1 to 1024"),
        ("reproduce robust-classification --seeds 4 4", "given twice"),
    ],
)
def test_numbers_that_make_no_sense_are_told_before_any_work(
    words: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hint in mistake(capsys, *words.split())


def test_a_supervised_training_without_validation_images_does_not_begin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Too few for one in ten to be kept.
    write_images(tmp_path, ["a.png"], some((1, *GREY)))
    words = ("--task", "dropped", "--data", tmp_path, "--out", tmp_path / "out")
    assert "validation" in mistake(capsys, "train", "supervised", *words)
    assert listing(tmp_path) == ["a.png"]


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


def test_train_supervised_learns_a_known_damage_that_restore_takes(
    tmp_path: Path,
    fashion: fashion_mnist.FashionMnist,
    prior_folder: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, out, damaged = tmp_path / "photos", tmp_path / "out", tmp_path / "damaged"
    data.mkdir()
    write_images(data, [f"{i}.png" for i in range(60)], fashion.images[:60].float() / 255)
    source = ("--data", data, "--prior", prior_folder, "--out", out)
    steps = ("--steps", "60", "--batch", "8", "--learning-rate", "0.003")
    command = ("train", "supervised", "--task", "unseen:gamma:high", *source, *steps, "--json")
    assert call(*command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["psnr"] > told["psnr_observed"] + 1
    assert told["n_images"] < 60
    assert call("corrupt", data, damaged, "--kind", "unseen:gamma:high") == 0
    learnt = ("--prior", prior_folder, "--damage", told["damage"])
    assert call("restore", damaged, tmp_path / "restored", *learnt) == 0
    assert len(listing(tmp_path / "restored")) == 60 + 2
    report = json.loads((tmp_path / "restored" / "report.json").read_text())
    # Nothing says what the damage is that it was trained for.
    assert (report["understood"], report["misfit"]) == (None, None)
    assert "cannot be told" in report["message"]
    digest = hashlib.sha256(Path(told["damage"]).read_bytes()).hexdigest()
    assert report["damage"] == {"file": told["damage"], "sha256": digest}
    assert report["prior_sha256"] == load_prior(prior_folder).sha256()
    assert "other settings" in mistake(capsys, *command, "--once")
    (data / "0.png").write_bytes((data / "1.png").read_bytes())
    assert "on other images" in mistake(capsys, *command)
    assert "--list" in mistake(capsys, *command, "--task", "gama")


def test_data_and_reproduce_refuse_what_they_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = mistake(capsys, "data", "fashion-mnist", "--to", tmp_path, "--mirror", "ftp://x/")
    assert "mirror" in line
    assert "robust-classification" in mistake(capsys, "reproduce", "everything")
    assert call("reproduce") == 0
    assert "robust-classification" in capsys.readouterr().out


def test_a_gpu_is_refused_by_every_command_that_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mimicgan.commands.flags import ComputeFlags
    from mimicgan.commands.registry import COMMANDS

    words = {
        "restore": ("sample", tmp_path / "out"),
        "figures": (tmp_path / "out",),
        "train restorer": ("--prior", tmp_path),
        "train bank": ("--prior", tmp_path),
        "train supervised": ("--task", "dropped"),
    }
    monkeypatch.chdir(tmp_path)
    # Also where torch has one.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked = [name for name, kind in COMMANDS.items() if issubclass(kind, ComputeFlags)]
    plain = {"demo", "serve", "bench", "evaluate", "train gan", "train classifier"}
    assert plain | set(words) == set(asked)
    for name in asked:
        command = (*name.split(), *words.get(name, ()), "--device", "cuda")
        assert "leave --device out" in mistake(capsys, *command)
    assert listing(tmp_path) == []


@pytest.mark.usefixtures("fashion_files")
def test_evaluate_tells_how_near_a_prior_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "prior.json"
    few = ("evaluate", "--images", "8", "--steps", "20", "--json", "--out", out)
    assert call(*few) == 0
    told = json.loads(capsys.readouterr().out)["rows"]
    record = json.loads(out.read_text())
    assert record["rows"] == told
    assert record["prior"]["sha256"] == load_prior("fashion-mnist").sha256()
    inversion, box, typical, real = told
    assert inversion["n_images"] == 8
    assert 12 < inversion["psnr"] < 30
    assert inversion["accuracy_clean"] >= 0.75
    # The bank was chosen to look like the training images; no set is nearer than real ones.
    assert real["frechet"] < typical["frechet"] < box["frechet"]


def test_evaluate_with_few_images_does_what_it_can(
    tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path, [f"{i}.png" for i in range(60)], some((60, *GREY)))
    few = ("evaluate", "--prior", prior_folder, "--data", tmp_path, "--steps", "10", "--json")
    assert call(*few, "--images", "2") == 0
    told, said = capsys.readouterr()
    assert [row["method"] for row in json.loads(told)["rows"]] == ["clean-inversion"]
    assert "no Frechet distance" in said
    assert "too few for --images 50" in mistake(capsys, *few, "--images", "50")
    where = ("--data-dir", tmp_path)
    assert "leave one out" in mistake(capsys, *few, "--images", "2", *where)


def test_an_evaluation_of_an_own_generator_can_be_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clean").mkdir()
    write_images(tmp_path / "clean", [f"{i}.png" for i in range(30)], some((30, *GREY)))
    program, out = tmp_path / "g.pt", tmp_path / "out.json"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(TinyGenerator(), torch.zeros(1, 4)).save(str(program))
    own = ("--latent-size", "4", "--image-shape", *map(str, SHAPE), "--box", "-2", "2")
    few = ("--prior", program, "--data", tmp_path / "clean", "--images", "2", "--steps", "10")
    assert call("evaluate", *few, *own, "--out", out) == 0
    first = json.loads(out.read_text())
    again = shlex.split(first["command"])[1:]
    assert call(*again, "--out", out, "--json") == 0
    assert json.loads(out.read_text())["rows"] == first["rows"]


def test_a_restorer_is_not_trained_on_a_handful_of_images(
    tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path, [f"{i}.png" for i in range(12)], some((12, *GREY)))
    command = ("train", "restorer", "--prior", prior_folder, "--data", tmp_path)
    assert "give 20 or more" in mistake(capsys, *command, "--out", tmp_path / "out")


def test_the_bank_of_a_small_folder_is_no_single_latent(
    tmp_path: Path, prior_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, [f"{i}.png" for i in range(40)], some((40, *GREY)))
    # As the command does, of fewer draws.
    monkeypatch.setattr("mimicgan.training.herding.herded", partial(herded, count=30, draws=60))
    out = tmp_path / "out"
    command = ("train", "restorer", "--prior", prior_folder, "--data", tmp_path, "--out", out)
    assert call(*command, "--steps", "1", "--batch", "2") == 0
    bank = load_prior(out).bank
    assert bank is not None
    assert len(bank.unique(dim=0)) == 30
    again = tmp_path / "again"
    command = ("train", "bank", "--prior", out, "--data", tmp_path, "--out", again, "--seed", "3")
    assert call(*command) == 0
    first, second = load_prior(out), load_prior(again)
    assert second.bank is not None
    assert not torch.equal(bank, second.bank)
    assert second.restorer is not None
    x = some((2, *GREY)).float() / 127.5 - 1
    assert torch.equal(second.restorer(x), first.restorer(x))
    assert load_card(again).command.startswith(load_card(out).command + "; ")


def test_evaluate_refuses_what_makes_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--steps 5" in mistake(capsys, "evaluate", "--steps", "5")
    assert "--images 1" in mistake(capsys, "evaluate", "--images", "1")


def test_bench_refuses_before_it_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--repeats" in mistake(capsys, "bench", "--repeats", "0")
    assert "--folder" in mistake(capsys, "bench", "--folder", "10001")
    assert "name a file" in mistake(capsys, "bench", "--out", tmp_path)


@pytest.mark.parametrize("words", ["bench", "evaluate", "demo --count 4 --few 2"])
def test_a_result_that_cannot_be_written_is_told_before_anything_is_measured(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    line = mistake(capsys, *words.split(), "--out", tmp_path / "file" / "x.png")
    assert f"cannot write --out {tmp_path}/file/x.png: Not a directory; name" in line
    assert listing(tmp_path) == ["file"]


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


def test_a_system_without_file_locks_misses_large_jobs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Windows has neither module."""
    code = (
        "import sys, torch, PIL.Image, tyro, rich; sys.modules.update(fcntl=None, resource=None)\n"
        "from mimicgan.cli import main; sys.exit(main(['corrupt', '--list']))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (run.returncode, run.stderr) == (0, b"")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    write_images(tmp_path, ["a.png"], some((1, *GREY)))
    job = ("restore", tmp_path, tmp_path.with_name("out"), "--group-by", "none")
    assert "leave --group-by out" in mistake(capsys, *job)
    assert not tmp_path.with_name("out").exists()


def test_a_result_is_there_before_the_command_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(pipe))
    Screen(quiet=True, json=True).result({"address": "x"})
    assert pipe.getvalue() == b'{"address": "x"}\n'


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


INTERRUPTED_IN_EXEC = """
import os, signal, sys
from mimicgan import cli
from mimicgan.commands import registry

class Command:
    after_interrupt = "said once"

    def run(self):
        exec("os.kill(os.getpid(), signal.SIGTERM)\\nfor _ in range(9**9): pass")

registry.parse = lambda *_: Command()
sys.exit(cli.main([]))
"""


def test_an_interrupt_inside_exec_ends_as_any_other(tmp_path: Path) -> None:
    """Where torch is still importing (it makes dataclasses, by exec) when the signal comes."""
    (tmp_path / "interrupted.py").write_text(INTERRUPTED_IN_EXEC)
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "mimicgan: interrupted; said once\n")
