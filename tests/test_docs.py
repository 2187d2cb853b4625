"""The documentation runs: every block of Python in it, and every example."""

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mimicgan.restore  # noqa: F401
from image_cases import GREY, some
from mimicgan.image_files import write_images
from mimicgan.match import match

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    if BLOCK.search(path.read_text(encoding="utf-8"))
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fits of a second or two: what the pages say is run, not how well it works."""
    few = {
        "bank": 96,
        "draws": 8,
        "rounds": 1,
        "parents": 2,
        "children": 2,
        "sample": 32,
        "starts": 1,
        "short_steps": 2,
        "long_steps": 2,
        "pruning_steps": 1,
        "attempts": 1,
        "restorer_steps": 2,
    }

    def quick(y: Any, prior: Any, settings: Any, *rest: Any) -> Any:
        return match(y, prior, replace(settings, **few), *rest)

    # The package's attribute of that name is the function.
    monkeypatch.setattr(sys.modules["mimicgan.restore"], "match", quick)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page: str) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for block in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        exec(compile(block, page, "exec"), names)


def _example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_folder_is_restored(tmp_path: Path) -> None:
    names = [f"{index}.png" for index in range(5)]
    write_images(tmp_path, names, some((5, *GREY)))
    _example("restore_folder").main(str(tmp_path / "*.png"), str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_algorithm_1_finds_blobs_under_a_contrast() -> None:
    assert _example("own_generator").main() < 0.06


def test_an_attack_is_worth_less_after_cleaning() -> None:
    bare, cleaned = _example("defend_classifier").main()
    assert bare + 0.2 < cleaned


def test_a_damage_is_kept() -> None:
    image = _example("keep_a_damage").main()
    assert image.shape == (1, 1, 28, 28)


def test_all_examples_are_tested() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    for path in (ROOT / "examples").glob("*.py"):
        assert f'_example("{path.stem}")' in tested
