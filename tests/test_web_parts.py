"""Parts of the web page that need neither gradio nor a browser."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mimicgan.web.limits import Limits
from mimicgan.web.visitors import Visitors


def test_uploads_are_found_while_others_go_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitors = Visitors(tmp_path, Limits())
    for name in ("going", "staying", "results"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    listed = os.scandir

    def scandir(path: Any = ".") -> Any:
        if str(path).endswith("going"):
            shutil.rmtree(path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert visitors.uploads() == [tmp_path / "staying" / "a.png"]
