"""Training by two processes: what comes out is what one process makes of the same batches."""

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from cli_cases import listing, mistake
from image_cases import GREY, some
from mimicgan.image_files import write_images
from mimicgan.training.gan import GanProgress, GanTraining
from mimicgan.training.ranks import Ranks
from test_gan_training import states
from tiny_gan import SETTINGS
from tiny_gan import pictures as tiny_pictures

LONGER = replace(SETTINGS, steps=30, warmup=12)
TWO = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from mimicgan.training import checkpoint
from mimicgan.training.ranks import joined_ranks
from test_ranks import followed

folder, stop = Path(sys.argv[1]), int(sys.argv[2])
with joined_ranks() as ranks:
    if not ranks.first:
        # Nothing that the second process does may touch a file.
        checkpoint.save = None
    state = followed(folder / "state.pt", stop, ranks)
    torch.save(state, folder / f"rank{ranks.rank}.pt")
# A thread of gloo's that outlives its group may abort the interpreter at its end.
names = [p.read_text() for p in Path("/proc/self/task").glob("*/comm")]
assert not [name for name in names if "gloo" in name], names
"""


def followed(path: Path, stop: int, ranks: Ranks | None = None) -> dict[str, Any]:
    """Train up to step ``stop``: the losses on the way, and every tensor at the end.

    In double precision, since Adam makes a step of every rounding error of a gradient near 0.
    """
    losses: list[GanProgress] = []

    class Stopped(Exception):  # noqa: N818
        pass

    def see(progress: GanProgress) -> None:
        losses.append(progress)
        if progress.step == stop:
            raise Stopped

    torch.set_default_dtype(torch.float64)
    try:
        training = GanTraining(LONGER, ranks)
        with contextlib.suppress(Stopped), patch.object(Tensor, "float", Tensor.double):
            training.run(tiny_pictures(), path, every=5, callback=see)
    finally:
        torch.set_default_dtype(torch.float32)
    return {"losses": [list(vars(p).values()) for p in losses], "states": states(training)}


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine, which talk by the loopback device alone."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    local = [
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        "127.0.0.1:0",
        "--local-addr",
        "127.0.0.1",
    ]
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    own = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    return subprocess.run(
        [*command, *local, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **own},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def assert_close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=1e-6, atol=1e-7, msg=name)


def test_two_processes_train_as_one_and_go_on(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO)
    (tmp_path / "alone").mkdir()
    alone = followed(tmp_path / "alone" / "state.pt", 30)
    # Cut short after the discriminator has joined, between two checkpoints.
    done = torchrun(script, tmp_path, "17")
    assert done.returncode == 0, done.stderr
    first = torch.load(tmp_path / "rank0.pt")
    done = torchrun(script, tmp_path, "30")
    assert done.returncode == 0, done.stderr
    then, second = (torch.load(tmp_path / f"rank{k}.pt") for k in (0, 1))
    assert [row[0] for row in then["losses"]] == list(range(16, 31))
    together = first["losses"][:15] + then["losses"]
    torch.testing.assert_close(
        torch.tensor(together), torch.tensor(alone["losses"]), rtol=1e-6, atol=1e-7
    )
    assert all(torch.equal(v, second["states"][k]) for k, v in then["states"].items())
    assert_close(then["states"], alone["states"])
    # One process goes on where two have stopped.
    assert GanTraining(LONGER).resume(tmp_path / "state.pt")


def test_the_command_by_torchrun(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    write_images(photos, [f"p{k}.png" for k in range(24)], some((24, *GREY)))
    train = ("-m", "mimicgan", "train", "gan", "--data", photos, "--out", tmp_path / "out")
    quick = ("--steps", "2", "--warmup", "1", "--json")
    done = torchrun(*train, *quick, "--batch", "4")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
    assert done.stderr.count("use it with --prior") == 1
    assert {"checkpoint.pt", "prior.safetensors", "prior.json"} <= set(listing(tmp_path / "out"))


def test_a_batch_that_cannot_be_split_is_a_mistake(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "mimicgan.commands.train_gan.joined_ranks", lambda: contextlib.nullcontext(Ranks(0, 2))
    )
    write_images(pictures, [f"p{k}.png" for k in range(9)], some((9, *GREY)))
    told = mistake(capsys, "train", "gan", "--data", pictures, "--batch", "5")
    assert "give a multiple of 2" in told
    assert torch.equal(Ranks(1, 3).part(torch.arange(9)), torch.tensor([3, 4, 5]))
    with pytest.raises(ValueError, match="8 rows"):
        Ranks(1, 3).part(torch.arange(8))
