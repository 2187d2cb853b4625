"""Ray: the chunks of a large job on all processors of a machine, or of many machines.

The machine that starts the job reads the pictures and writes the outputs and the journal; the
others get and give bytes, so that they need no shared folder. The networks go to each machine
once. What a lost worker was doing is done again by another one.
"""

import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

import mimicgan
from mimicgan.chunk import Chunk, Known, Restored, Work
from mimicgan.engine import Engine, EngineOf
from mimicgan.errors import UserError, at_least, needed

RETRIES = 5
"""How often a chunk is tried again after its worker was lost."""
AHEAD = 2
"""Chunks handed over for each that can be worked on, so that no worker waits for the next."""
IN_FLIGHT = 2**30
"""Bytes of pictures beyond which no further chunk is handed over."""
LONGEST = 20
"""Letters of a folder for temporary files, with which the names of Ray's sockets are not too long
for the system."""
AGAIN = "what is done stays done; run the same again to go on"


def on_ray(address: str | None = None, threads: int = 1) -> EngineOf:
    """The engine of ``run_job`` that uses Ray: a cluster for this run on this machine alone, the
    one at ``address`` (HOST:PORT, or auto), or the one that ``ray.init`` was called for before.

    Each chunk takes ``threads`` processors. Raises UserError when Ray is missing or cannot be
    reached, when a machine has another version, or none so many processors; ValueError for fewer
    threads than one.
    """
    at_least(1, threads=threads)
    # Ray reads its settings when it is imported.
    if "ray" not in sys.modules:
        # Nothing is reported to its makers.
        own = {"RAY_USAGE_STATS_ENABLED": "0"}
        for name, value in (own if address else own | _private()).items():
            os.environ.setdefault(name, value)
    needed("ray", "ray")
    if address is not None:
        _check_address(address)
    return partial(_running, address=address, threads=threads)


def _private() -> dict[str, str]:
    """Settings of a cluster that no one else can use: its ports are those of the loopback device
    (the first setting, in spite of its name), and it asks for a token that is nowhere written."""
    own = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    if "RAY_AUTH_MODE" in os.environ:
        return own
    return {**own, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def _running(work: Work, *, address: str | None, threads: int) -> Iterator[Engine]:
    ray = needed("ray", "ray")
    with ExitStack() as stack:
        if not ray.is_initialized():
            _connect(ray, stack, address, threads)
        engine = _Ray(ray, work, threads)
        stack.callback(engine.stop)
        try:
            engine.check()
            yield engine
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            if not isinstance(cause, ray.exceptions.RayError | ImportError):
                raise cause from error
            reason = str(cause).strip().partition("\n")[0]
            absent = "No module named" in reason
            remedy = "install the same mimicgan on all of its machines" if absent else AGAIN
            raise UserError(f"Ray could not finish the job ({reason}); {remedy}") from error


def _connect(ray: Any, stack: ExitStack, address: str | None, threads: int) -> None:
    """Join a cluster, or start one that ends with the ``stack``."""
    options: dict[str, Any] = {"address": address}
    if address is None:
        root = tempfile.gettempdir()
        folder = tempfile.TemporaryDirectory(
            prefix="mimicgan-",
            dir=root if len(root) <= LONGEST else "/tmp",
            ignore_cleanup_errors=True,
        )
        options = {
            "address": "local",
            "num_cpus": max(threads, _processors()),
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": stack.enter_context(folder),
        }
    stack.callback(ray.shutdown)
    previous = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"cannot start Ray on this machine ({reason}); leave --engine out"
            if address is None
            else f"cannot join the Ray cluster {address} ({reason}); see what `ray status` "
            "says, and if it asks for a token, set RAY_AUTH_MODE=token"
        ) from error
    finally:
        # Ray's own handler would end the program without a word.
        with suppress(ValueError, TypeError):
            signal.signal(signal.SIGTERM, previous)


def _check_address(address: str) -> None:
    """UserError at once where Ray would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise UserError(
            f"{address} is no HOST:PORT of a Ray cluster's first machine; give that, or auto on a "
            "machine of the cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({error}); start one with `ray start --head`, or "
            "leave --address out"
        ) from error


class _Ray:
    """Chunks as Ray tasks."""

    def __init__(self, ray: Any, work: Work, threads: int) -> None:
        self._ray, self._threads = ray, threads
        self._shared = ray.put((work.prior, work.settings, work.strict))
        self._known: WeakKeyDictionary[Known, Any] = WeakKeyDictionary()
        # With the bytes of its pictures: Ray's own thread takes out what has landed.
        self._under_way: dict[Future[Restored], tuple[Any, int]] = {}
        self._task = ray.remote(_restored).options(
            num_cpus=threads, max_retries=RETRIES, scheduling_strategy="SPREAD"
        )

    def check(self) -> None:
        """UserError unless a machine of the cluster can take a chunk."""
        if not self._slots():
            raise UserError(
                f"no machine of the Ray cluster has {self._threads} processors; "
                "give fewer --threads"
            )

    def room(self, held: int) -> bool:
        size = sum(size for _, size in list(self._under_way.values()))
        return held == 0 or (held < AHEAD * self._slots() and size < IN_FLIGHT)

    def submit(self, chunk: Chunk, known: Known | None) -> "Future[Restored]":
        contents = {name: _content(path) for name, path in chunk.files}
        size = sum(len(c) for c in contents.values() if isinstance(c, bytes))
        if known is not None and known not in self._known:
            self._known[known] = self._ray.put(known)
        ref = self._task.remote(
            # In a list, Ray hands over the reference: a worker opens the networks once.
            [self._shared],
            _versions(),
            self._threads,
            chunk,
            None if known is None else self._known[known],
            contents,
        )
        future: Future[Restored] = ref.future()
        self._under_way[future] = (ref, size)
        future.add_done_callback(lambda done: self._under_way.pop(done, None))
        return future

    def stop(self) -> None:
        """End what is still under way."""
        for ref, _ in list(self._under_way.values()):
            self._ray.cancel(ref, force=True)

    def _slots(self) -> int:
        nodes = (node["Resources"] for node in self._ray.nodes() if node["Alive"])
        return sum(int(resources.get("CPU", 0)) // self._threads for resources in nodes)


def _restored(
    shared: list[Any],
    versions: tuple[str, str],
    threads: int,
    chunk: Chunk,
    known: Known | None,
    contents: Mapping[str, bytes | OSError],
) -> Restored:
    """The task: one chunk, in a worker."""
    if versions != _versions():
        told = "mimicgan {} and torch {}"
        raise UserError(
            f"{os.uname().nodename} has {told.format(*_versions())}, the machine that started the "
            f"job {told.format(*versions)}; install the same on all of them"
        )
    torch.set_num_threads(threads)
    return _work(shared[0])(chunk, known, contents)


@lru_cache(maxsize=1)
def _work(shared: Any) -> Work:
    prior, settings, strict = needed("ray", "ray").get(shared)
    return Work(prior, settings, strict=strict)


def _versions() -> tuple[str, str]:
    return mimicgan.__version__, str(torch.__version__)


def _content(path: Path) -> bytes | OSError:
    try:
        return path.read_bytes()
    except OSError as error:
        return error


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
