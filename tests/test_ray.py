"""Large jobs on Ray: a cluster of several nodes on this machine, lost workers and lost nodes."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cli_cases import call, listing, mistake
from mimicgan.adapters import ray as adapter
from mimicgan.errors import UserError
from mimicgan.job import JobReport, run_job
from mimicgan.models.restorer import Restorer
from mimicgan.prior import Prior
from mimicgan.restore import Settings
from test_job import SHAPE, TINY, make, outputs, tiny_prior

# Before Ray is imported: nothing is reported, and all nodes listen on the loopback address alone.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
pytest.importorskip("ray", reason="ray is not installed: pip install 'mimicgan[ray]'")
UNIVERSAL = Settings("universal")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one processor each."""
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=node)
    started.add_node(num_cpus=1)
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.fixture(scope="module")
def joined(cluster: Any) -> Any:
    """The cluster, which this process has joined, so that the tests share its workers."""
    import ray

    if not ray.is_initialized():
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        # The workers cannot import the tests.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return cluster


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three sources of one, two and four chunks."""
    for seed, (name, count) in enumerate({"a": 6, "b": 9, "c": 20}.items()):
        make(tmp_path / "in" / name, count, seed)
    return tmp_path


class Watched(Restorer):
    """A restorer that tells where it runs, and waits while there is a file ``hold``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(SHAPE)
        self.folder = folder

    def forward(self, x: Tensor) -> Tensor:
        import ray

        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else "here"
        (self.folder / f"{os.getpid()}.{node}").touch()
        while (self.folder / "hold").exists():
            time.sleep(0.02)
        return super().forward(x)


def watched(folder: Path) -> tuple[Prior, Path]:
    told = folder / "told"
    told.mkdir(exist_ok=True)
    torch.manual_seed(1)
    return replace(tiny_prior(), restorer=Watched(told)), told


def job(folder: Path, out: str, prior: Prior, settings: Settings, **more: Any) -> JobReport:
    # One thread, as a worker has unless told otherwise.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    more = {"group_by": "folder", "chunk": 6} | more
    try:
        return run_job(folder / "in", folder / out, prior, settings, **more)
    finally:
        torch.set_num_threads(threads)


def test_the_same_bytes_as_without_it(folder: Path, cluster: Any) -> None:
    (folder / "in" / "b" / "im0002.png").write_bytes(b"nothing")
    (folder / "in" / "b" / "im0003.png").unlink()
    (folder / "in" / "b" / "im0003.png").symlink_to(folder / "in")
    alone = job(folder, "alone", tiny_prior(), TINY)
    seen: list[tuple[int, int, str]] = []
    shared = job(
        folder,
        "shared",
        tiny_prior(),
        TINY,
        engine=adapter.on_ray(cluster.address),
        callback=lambda *at: seen.append(at),
    )
    assert shared == alone
    assert outputs(folder / "shared") == outputs(folder / "alone")
    assert len(outputs(folder / "shared")) == 33
    assert [at for at, _, _ in seen] == sorted(at for at, _, _ in seen)
    assert seen[-1][:2] == (34, 34)


def wait_for(told: Path, count: int) -> list[Path]:
    deadline = time.monotonic() + 90
    while len(found := [p for p in told.iterdir() if p.name != "hold"]) < count:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return sorted(found)


@pytest.mark.parametrize("lost", ["worker", "node"])
def test_what_a_lost_worker_was_doing_is_done_again(lost: str, folder: Path, joined: Any) -> None:
    prior, told = watched(folder)
    job(folder, "alone", prior, UNIVERSAL)
    next(told.iterdir()).unlink()
    (told / "hold").touch()
    extra = joined.add_node(num_cpus=1)
    nodes: set[str] = set()

    def strike() -> None:
        # Each of the three nodes has begun with a chunk.
        found = wait_for(told, 3)
        nodes.update(path.suffix for path in found)
        if lost == "node":
            joined.remove_node(extra, allow_graceful=False)
        else:
            os.kill(int(found[0].stem), signal.SIGKILL)
        (told / "hold").unlink()

    striker = threading.Thread(target=strike)
    striker.start()
    job(folder, "shared", prior, UNIVERSAL, engine=adapter.on_ray())
    striker.join()
    if lost == "worker":
        joined.remove_node(extra)
    assert len(nodes) == 3
    assert outputs(folder / "shared") == outputs(folder / "alone")
    assert len(outputs(folder / "shared")) == 35


def test_what_is_wrong_is_told_in_a_line(
    folder: Path, joined: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = adapter.on_ray(threads=2)
    with pytest.raises(UserError, match="has 2 processors; give fewer --threads"):
        job(folder, "out", tiny_prior(), UNIVERSAL, engine=on)
    on = adapter.on_ray()
    (folder / "in" / "c" / "im0007.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"im0007\.png is damaged or no picture"):
        job(folder, "out", tiny_prior(), UNIVERSAL, engine=on, strict=True)
    monkeypatch.setattr(adapter, "_versions", lambda: ("9.9", "2.0"))
    with pytest.raises(UserError, match=r"started the job mimicgan 9\.9 and torch 2\.0; install"):
        job(folder, "out", tiny_prior(), UNIVERSAL, engine=on)


def test_wrong_flags_are_refused(
    folder: Path, prior_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("restore", folder / "in", folder / "out", "--prior", prior_folder)
    large = (*common, "--group-by", "folder")
    assert "--group-by" in mistake(capsys, *common, "--engine", "ray")
    assert "--engine ray" in mistake(capsys, *large, "--address", "auto")
    for address in ("ray://127.0.0.1:10001", "somewhere", ":1"):
        told = mistake(capsys, *large, "--engine", "ray", "--address", address)
        assert "HOST:PORT" in told
    told = mistake(capsys, *large, "--engine", "ray", "--address", "127.0.0.1:1")
    assert "ray start --head" in told


def test_no_threads_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="threads 0"):
        adapter.on_ray(threads=0)


def test_a_missing_ray_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'mimicgan\[ray\]'"):
        adapter.on_ray()


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files with a name short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="r") as name:
        yield Path(name)


def test_interrupted_on_its_own_cluster_it_stops_and_goes_on(
    folder: Path, short: Path, prior_folder: str
) -> None:
    common = ("--prior", prior_folder, "--group-by", "prefix", "--method", "universal")
    for seed in range(3, 19):
        make(folder / "in" / f"more{seed}", 300, seed)
    command = [sys.executable, "-m", "mimicgan", "restore", folder / "in", folder / "out", *common]
    # A terminal sends Ctrl-C to all processes of the group.
    with subprocess.Popen(
        [*map(str, command), "--engine", "ray"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(short)},
        # A shell's background jobs ignore SIGINT, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        while running.poll() is None and not any((folder / "out").rglob("*.png")):
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGINT)
        struck = time.monotonic()
        shown, told = running.communicate(timeout=60)
    assert time.monotonic() - struck < 45
    assert running.returncode == 130
    wanted = "mimicgan: interrupted; what is done stays done; run the same again to go on\n"
    assert (shown, told) == ("", wanted)
    assert listing(short) == []
    assert 0 < len(outputs(folder / "out")) < 4835
    assert call("restore", folder / "in", folder / "out", *common, "--threads", "1") == 0
    assert call("restore", folder / "in", folder / "whole", *common, "--threads", "1") == 0
    made, whole = outputs(folder / "out"), outputs(folder / "whole")
    assert made.pop("report.json") != whole.pop("report.json")
    assert made == whole
