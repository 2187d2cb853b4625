"""A large job that is killed at any moment, again and again, ends as one that was not.

MIMICGAN_KILLS is how often; `make test-kills` asks for 200.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from test_job import make

KILLS = int(os.environ.get("MIMICGAN_KILLS", "20"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
@pytest.mark.timeout(120 + 15 * KILLS)
def test_kill_9_at_any_moment_and_the_same_result_in_the_end(tmp_path: Path) -> None:
    make(tmp_path / "in" / "a", 15, 1)
    make(tmp_path / "in" / "b", 9, 2)
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_job.py"), tmp_path, str(KILLS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"{KILLS} kills, ")
