"""The wheel, built from the source distribution: what is in it, and that it runs on its own.

Slow: `make test-wheel`. Nothing is fetched.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import mimicgan

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "src" / "mimicgan"


def run(*command: str | Path, where: Path) -> subprocess.CompletedProcess[str]:
    """Run from another folder, with nothing of this project on the way."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=where,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel made from it."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, PROJECT, where=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_and_nothing_else(contents: dict[str, bytes]) -> None:
    expected = {
        str(path.relative_to(PACKAGE.parent))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    about = {name for name in contents if ".dist-info/" in name}
    assert set(contents) - about == expected
    for needed in (
        "py.typed",
        "data/fashion_mnist_sample.npz",
        "data/fashion_mnist_sample.LICENSE.txt",
        "weights/fashion-mnist/prior.json",
        "weights/fashion-mnist/classifier.safetensors",
        "weights/faces/bank.safetensors",
    ):
        assert f"mimicgan/{needed}" in contents
    suffixes = {Path(name).suffix for name in expected}
    # No picture but the sample's, no checkpoint, nothing of a run.
    assert suffixes <= {".py", ".typed", ".npz", ".txt", ".json", ".safetensors", ".html", ".css"}


def test_every_weight_in_the_wheel_is_what_its_card_says(contents: dict[str, bytes]) -> None:
    checked = set()
    for name in contents:
        if name.startswith("mimicgan/weights/") and name.endswith(".json"):
            card = json.loads(contents[name])
            assert card["licence"]
            of = {"sha256": name.replace(".json", ".safetensors")}
            of["bank_sha256"] = str(Path(name).with_name("bank.safetensors"))
            for key, weights in of.items():
                if key in card:
                    assert hashlib.sha256(contents[weights]).hexdigest() == card[key]
                    checked.add(weights)
    assert checked == {name for name in contents if name.endswith(".safetensors")}


def test_version_licences_and_extras_are_told(contents: dict[str, bytes]) -> None:
    (told,) = (content for name, content in contents.items() if name.endswith("/METADATA"))
    facts = message_from_bytes(told)
    assert facts["Version"] == mimicgan.__version__
    assert facts["License-Expression"] == "MIT"
    licences = [name for name in contents if ".dist-info/licenses/" in name]
    assert {Path(name).name for name in licences} == {
        "LICENSE",
        "fashion_mnist_sample.LICENSE.txt",
    }
    assert facts.get_all("License-File") is not None
    # Every extra that a message tells users to install is there.
    named = {
        extra
        for path in PACKAGE.rglob("*.py")
        for extra in re.findall(r'needed\(\s*"[\w.]+",\s*"([\w-]+)"', path.read_text())
    }
    assert named
    assert named <= set(facts.get_all("Provides-Extra", []))


def test_the_source_distribution_can_be_built_and_tested(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "LICENSE", "README.md", "pyproject.toml"} <= names
    assert {"tests/conftest.py", "tests/provide-fashion-mnist", ".ci/run"} <= names
    assert any(name.startswith("results/") for name in names)
    assert not any(name.split("/")[0] in ("runs", "out", ".venv", "dist") for name in names)


def test_the_wheel_runs_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    run(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python),
        *("install", "--quiet", "--no-deps", "--no-index", wheel),
        where=tmp_path,
    )
    # The dependencies are borrowed, after what was installed; an editable mimicgan is not.
    purelib = sysconfig.get_paths(vars={"base": str(home)})["purelib"]
    (Path(purelib) / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    where = run(python, "-c", "import mimicgan; print(mimicgan.__file__)", where=tmp_path).stdout
    assert Path(where.strip()).is_relative_to(home)
    program = home / "bin" / "mimicgan"
    version = run(program, "--version", where=tmp_path).stdout
    assert version == f"mimicgan {mimicgan.__version__}\n"
    assert "mimicgan demo" in run(program, "demo", "--help", where=tmp_path).stdout
    run(
        *(program, "restore", "sample", "out", "--count", "3", "--method", "universal"),
        *("--classify", "fashion-mnist"),
        where=tmp_path,
    )
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"sample-000.png", "sample-002.png", "report.json", "predictions.csv"} <= made
