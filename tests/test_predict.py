"""Clean and predict: classifiers from files, and the table of what they say."""

import csv
from io import StringIO
from pathlib import Path

import pytest
import torch
from torch import nn

from cli_cases import call, listing, mistake, process
from mimicgan.data.fashion_mnist import CLASSES
from mimicgan.errors import UserError
from mimicgan.models.restorer import Restorer
from mimicgan.predict import any_classifier, predictions, table
from mimicgan.prior import Prior
from mimicgan.purify import Purified
from mimicgan.user_classifier import check_classifier
from prior_cases import untrained_generator

SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def prior() -> Prior:
    torch.manual_seed(0)
    return Prior(untrained_generator(), 100, SHAPE, restorer=Restorer(SHAPE))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 4)).eval()


def exported(model: nn.Module, path: Path, only: int | None = None) -> Path:
    """``model`` in a .pt2, .pt or .onnx file, for any number of images or ``only`` for so many."""
    images = torch.zeros(only or 3, *SHAPE)
    shapes = None if only else ({0: torch.export.Dim("n", min=1, max=4096)},)
    if path.suffix == ".pt":
        torch.jit.trace(model, images).save(path)
    elif path.suffix == ".onnx":
        for needs in ("onnxscript", "onnxruntime"):
            pytest.importorskip(needs)
        torch.onnx.export(model, (images,), path, dynamic_shapes=shapes, verbose=False)
    else:
        torch.export.save(torch.export.export(model, (images,), dynamic_shapes=shapes), path)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("images_in", [(0, 1), (-1, 1)])
@pytest.mark.parametrize("suffix", [".pt2", ".pt", ".onnx"])
def test_a_classifier_from_a_file_gets_its_own_range(
    prior, model, tmp_path, images_in, suffix
) -> None:
    found = any_classifier(str(exported(model, tmp_path / f"m{suffix}")), prior, images_in)
    x = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    wanted = model(x if images_in == (0, 1) else x * 2 - 1)
    torch.testing.assert_close(found(x), wanted, atol=1e-5, rtol=1e-5)


class Elsewhere(torch.Tensor):
    """Images that say that they are on another device until they are brought here."""

    device = torch.device("meta")

    def cpu(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)

    def to(self, _device: torch.device) -> torch.Tensor:
        return self.cpu()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".pt2", ".pt", ".onnx"])
def test_a_file_answers_where_the_images_are(prior, model, tmp_path, suffix) -> None:
    found = any_classifier(str(exported(model, tmp_path / f"m{suffix}")), prior)
    logits = found(torch.rand(2, *SHAPE).as_subclass(Elsewhere))
    assert type(logits) is torch.Tensor
    assert (logits.device.type, logits.shape) == ("meta", (2, 4))


@pytest.mark.filterwarnings("ignore")
def test_an_onnx_file_says_that_it_has_no_gradient(prior, model, tmp_path) -> None:
    found = any_classifier(str(exported(model, tmp_path / "m.onnx")), prior)
    x = torch.rand(2, *SHAPE, requires_grad=True)
    for network in (found, Purified(found, prior)):
        with pytest.raises(UserError, match=r"no gradient.*\.pt2"):
            network(x)
    with torch.no_grad():
        torch.testing.assert_close(found(x), model(x), atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize("only", [1, 8])
def test_a_file_for_one_number_of_images_is_refused(prior, model, tmp_path, suffix, only) -> None:
    path = exported(model, tmp_path / f"m{suffix}", only)
    with pytest.raises(UserError, match="dynamic first dimension") as told:
        any_classifier(str(path), prior)
    assert "\n" not in str(told.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".pt2", ".pt", ".onnx"])
def test_a_file_for_other_images_is_refused(model, tmp_path, suffix) -> None:
    faces = Prior(nn.Linear(5, 5), 5, (3, 8, 8))
    faces.generator.forward = lambda z: torch.zeros(len(z), 3, 8, 8)
    with pytest.raises(UserError, match=r"3, 8, 8.*same images"):
        any_classifier(str(exported(model, tmp_path / f"m{suffix}")), faces)


def test_a_classifier_that_gives_up_later_is_told_in_a_line(model) -> None:
    class Few(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert len(x) < 4
            return model(x)

    dark = torch.zeros(5, *SHAPE)
    with pytest.raises(UserError, match="does not take"):
        predictions(Few(), dark)
    assert len(predictions(Few(), dark, batch=3)) == 5


@pytest.mark.filterwarnings("ignore")
def test_a_classifier_for_fewer_images_fails_before_the_restoration(
    model, tmp_path, monkeypatch, capsys
) -> None:
    path = tmp_path / "m.pt2"
    few = torch.export.Dim("n", min=1, max=8)
    program = torch.export.export(model, (torch.zeros(3, *SHAPE),), dynamic_shapes=({0: few},))
    torch.export.save(program, path)
    command = ("restore", "sample", tmp_path / "out", "--method", "universal", "--classify", path)
    assert call(*command, "--count", "8") == 0
    monkeypatch.setattr("mimicgan.commands.restore.restore", None)
    told = mistake(capsys, *command, "--overwrite", "--count", "9")
    assert "does not take (9, 1, 28, 28)" in told
    assert listing(tmp_path) == ["m.pt2", "out"]


def test_one_row_of_logits_for_each_image(prior) -> None:
    with pytest.raises(UserError, match="4 rows of logits for 8 images"):
        check_classifier(lambda _: torch.zeros(4, 10), prior)
    with pytest.raises(UserError, match=r"logits \(n, classes\)"):
        check_classifier(lambda x: torch.randn(len(x), 10).squeeze(), prior)


@pytest.mark.filterwarnings("ignore")
def test_what_is_no_classifier_is_refused(prior, model, tmp_path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        any_classifier(str(tmp_path / "none.pt2"), prior)
    with pytest.raises(UserError, match="does not exist"):
        any_classifier(str(tmp_path / "none.onnx"), prior)
    for name in ("m.pt", "m.pth", "m.ckpt", "m.pkl"):
        torch.save(model.state_dict(), tmp_path / name)
        with pytest.raises(UserError, match=r"pickle.*torch\.export\.save"):
            any_classifier(str(tmp_path / name), prior)
    probable = exported(nn.Sequential(model, nn.Softmax(dim=1)), tmp_path / "p.pt2")
    with pytest.raises(UserError, match="probabilities"):
        any_classifier(str(probable), prior)
    with pytest.raises(UserError, match="0 1"):
        any_classifier(str(tmp_path / "m.pt"), prior, (0, 255))


def test_the_table_has_a_row_for_each_file() -> None:
    class Bright(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean = x.flatten(1).mean(dim=1)
            return torch.stack([torch.zeros_like(mean), 4 * mean - 2], dim=1)

    dark, light = torch.zeros(2, *SHAPE), torch.ones(2, *SHAPE)
    before, after = (predictions(Bright(), images, batch=1) for images in (dark, light))
    rows = list(csv.DictReader(StringIO(table(["a", "b,c"], before, after))))
    assert [row["file"] for row in rows] == ["a", "b,c"]
    assert "name_after" not in rows[0]
    assert (rows[1]["before"], rows[1]["after"]) == ("0", "1")
    assert float(rows[0]["confidence_before"]) == pytest.approx(1 / (1 + 2.718281828**-2), abs=1e-4)


def test_the_command_writes_predictions(tmp_path: Path) -> None:
    done = process(
        "restore",
        "sample",
        tmp_path / "out",
        "--count",
        "5",
        "--method",
        "universal",
        "--classify",
        "fashion-mnist",
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "predictions.csv").read_text()
    rows = list(csv.DictReader(StringIO(text)))
    assert len(rows) == 5
    assert all(row["name_after"] == CLASSES[int(row["after"])] for row in rows)
