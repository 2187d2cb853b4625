"""Kills a large job again and again, at random moments; run as ``killed_job.py FOLDER KILLS``.

A process of its own: every job is a fork of this one, so that torch is imported once.
"""

import json
import os
import random
import signal
import sys
import time
from dataclasses import fields
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from mimicgan.cli import main
from mimicgan.commands import restore
from mimicgan.job import run_job
from mimicgan.journal import JOURNAL, read_marker
from mimicgan.models.restorer import Restorer
from mimicgan.prior import Prior
from test_job import TINY, outputs

REPORT = "report.json"
SHAPE = (1, 16, 16)


class Small(nn.Module):
    """Latents (n, 8) -> images (n, 1, 16, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 256)

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).tanh().view(-1, *SHAPE)


def start(source: Path, out: Path) -> int:
    """``mimicgan restore SOURCE OUT --group-by folder`` in a process; its id."""
    child = os.fork()
    if child:
        return child
    flags = [
        word
        for field in fields(TINY.match)
        for word in (
            f"--match.{field.name.replace('_', '-')}",
            str(getattr(TINY.match, field.name)),
        )
    ]
    code = 1
    try:
        code = main(["restore", str(source), str(out), "--group-by", "folder", "--quiet", *flags])
    finally:
        os._exit(code)


def killed(child: int, out: Path, chance: random.Random) -> bool:
    """Kill at a random moment, or right after a file has come; whether it was not too late."""
    moment = time.monotonic() + chance.uniform(0, 1.5)
    if chance.random() < 0.5:
        before, moment = files(out), time.monotonic() + 60
        for _ in range(chance.randint(1, 4)):
            while files(out) == before and time.monotonic() < moment and not ended(child):
                time.sleep(0.0005)
            before = files(out)
        moment = time.monotonic() + chance.uniform(0, 0.01)
    while time.monotonic() < moment and not ended(child):
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"the job ended with {status}"
    return status == signal.SIGKILL


def ended(child: int) -> bool:
    """Whether the process is at its end, which it can be asked for again."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def files(out: Path) -> list[tuple[str, int]]:
    return [(str(p), p.stat().st_mtime_ns) for p in (out, out / JOURNAL) if p.is_dir()]


def check(out: Path, wanted: dict[str, str]) -> None:
    """What lies there after a kill is whole, right, and nothing else."""
    for name, digest in outputs(out).items():
        assert name == REPORT or digest == wanted[name], name
    for path in out.rglob("*.png"):
        with Image.open(path) as picture:
            picture.load()
    for path in (out / JOURNAL).glob("*-*.json"):
        read_marker(path)


def check_done(out: Path, whole: Path, wanted: dict[str, str]) -> None:
    """A finished job is as one that was never killed."""
    assert {n: d for n, d in outputs(out).items() if n != REPORT} == wanted
    told, expected = (json.loads((folder / REPORT).read_text()) for folder in (out, whole))
    for key in ("images", "damages", "misfits", "bad"):
        assert told[key] == expected[key], key


def run(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    prior = Prior(Small(), 8, SHAPE, restorer=Restorer(SHAPE))
    restore.run_job = partial(run_job, chunk=6)  # type: ignore[attr-defined]
    restore.Restore.load = lambda *_: prior  # type: ignore[assignment,method-assign]
    source, whole = folder / "in", folder / "whole"
    os.waitpid(start(source, whole), 0)
    wanted = {name: digest for name, digest in outputs(whole).items() if name != REPORT}
    chance, done, jobs = random.Random(0), 0, 0
    out = folder / "out-0"
    while done < kills:
        if killed(start(source, out), out, chance):
            done += 1
            if out.exists():
                check(out, wanted)
            continue
        check_done(out, whole, wanted)
        jobs += 1
        out = folder / f"out-{jobs}"
    _, status = os.waitpid(start(source, out), 0)
    assert status == 0
    check_done(out, whole, wanted)
    sys.stdout.write(f"{done} kills, {jobs + 1} jobs\n")


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
