"""Programs that run without this package: torch.export and ONNX, against the restorer itself."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cli_cases import QUICK, call, listing, mistake
from image_cases import some
from mimicgan.damage import ComposedDamage
from mimicgan.errors import UserError
from mimicgan.learnt import Damage
from mimicgan.models.restorer import Restorer

COUNTS = (1, 2, 5, 64)


def damage_of(shape: tuple[int, int, int]) -> Damage:
    torch.manual_seed(0)
    return Damage(ComposedDamage(shape), Restorer(shape).requires_grad_(False))


def restored(damage: Damage, x: Tensor) -> Tensor:
    return (damage.restore(x * 2 - 1) + 1) / 2


@pytest.mark.filterwarnings("ignore")
def test_a_torch_program_is_the_restorer_for_any_number(tmp_path: Path) -> None:
    damage = damage_of((1, 28, 28))
    damage.export(tmp_path / "camera.pt2", (1, 28, 28))
    program = torch.export.load(tmp_path / "camera.pt2").module()
    for count in COUNTS:
        x = some((count, 1, 28, 28))
        torch.testing.assert_close(program(x), restored(damage, x), atol=1e-5, rtol=1e-5)


def run_onnx(path: Path, x: Tensor) -> Tensor:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (only,) = session.get_inputs()
    assert (only.name, only.shape) == ("images", ["n", *x.shape[1:]])
    return torch.from_numpy(session.run(["restored"], {"images": x.numpy()})[0])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 24)])
def test_an_onnx_file_is_the_restorer_for_any_number(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    pytest.importorskip("onnxscript")
    damage = damage_of(shape)
    damage.export(tmp_path / "camera.onnx", shape)
    # One file: weights beside it would be forgotten when it is copied.
    assert listing(tmp_path) == ["camera.onnx"]
    for count in COUNTS:
        x = some((count, *shape))
        torch.testing.assert_close(
            run_onnx(tmp_path / "camera.onnx", x), restored(damage, x), atol=1e-4, rtol=0
        )


def test_what_looked_undamaged_is_given_back_by_the_program(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    Damage(nn.Identity(), nn.Identity()).export(tmp_path / "same.onnx", (1, 8, 8))
    x = some((3, 1, 8, 8))
    torch.testing.assert_close(run_onnx(tmp_path / "same.onnx", x), x)


def test_other_suffixes_and_a_missing_exporter_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"\.pt2.*\.onnx"):
        damage_of((1, 28, 28)).export(tmp_path / "camera.pth", (1, 28, 28))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"mimicgan\[onnx\]"):
        damage_of((1, 28, 28)).export(tmp_path / "camera.onnx", (1, 28, 28))
    assert listing(tmp_path) == []


@pytest.mark.filterwarnings("ignore")
def test_restore_exports_what_it_restored_with(
    pictures: Path, tmp_path: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, program = tmp_path / "out", tmp_path / "camera.pt2"
    common = ("restore", pictures, out, "--prior", prior_folder)
    universal = (*common, "--method", "universal")
    assert call(*universal, "--export", program) == 0
    from mimicgan.image_files import read_images

    observed, made = (read_images(f, (1, 28, 28)).images for f in (pictures, out / "a.png"))
    again = torch.export.load(program).module()(observed)
    np.testing.assert_allclose(again[0].detach(), made[0], atol=0.51 / 255)

    assert "--overwrite" in mistake(
        capsys, *universal[:2], tmp_path / "b", *universal[3:], "--export", program
    )
    assert call(*universal, "--overwrite", "--export", out / "inside.pt2") == 0
    assert "inside.pt2" in listing(out)
    other = ("restore", pictures, tmp_path / "c", "--prior", prior_folder)
    assert "makes no restorer" in mistake(capsys, *other, *QUICK, "--export", tmp_path / "d.pt2")
    assert ".onnx" in mistake(capsys, *other, "--export", tmp_path / "d.pth")
    assert listing(tmp_path) == ["camera.pt2", "in", "out"]
