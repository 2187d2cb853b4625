"""What the page remembers of each visitor, apart from all others, and until they leave."""

import os
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mimicgan.web.batch import Picture, Shape, read_upload, refuse_much
from mimicgan.web.jobs import Job, job_folder
from mimicgan.web.limits import Limits

STALE = 120.0
"""Seconds after which an uploaded file, long since read, is removed."""


@dataclass
class Visitor:
    """One open page."""

    folder: Path
    """Of its results; need not exist."""
    pictures: dict[str, Picture] = field(default_factory=dict)
    """Uploaded file -> what was read from it."""
    job: Job | None = None
    seen: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(
        self, files: Sequence[tuple[Path, str]], shapes: Sequence[Shape], limits: Limits
    ) -> list[tuple[str, Picture]]:
        """The pictures in ``files`` (path, name); each is read once. Raises UserError."""
        refuse_much([path for path, _ in files], limits)
        with self.lock:
            self.pictures = {
                str(path): self.pictures.get(str(path)) or read_upload(path, name, shapes, limits)
                for path, name in files
            }
            return [(name, self.pictures[str(path)]) for path, name in files]

    def begin(self, job: Job) -> None:
        """``job`` takes the place of the one before, whose results go."""
        self.drop()
        self.job = job

    def drop(self) -> None:
        """Stop what runs for this visitor, and remove its results."""
        if self.job is not None:
            self.job.cancel()
            self.job = None
        shutil.rmtree(self.folder, ignore_errors=True)


class Visitors:
    """All open pages, by the key that each has."""

    def __init__(self, root: Path, limits: Limits) -> None:
        """``root`` holds uploads and, in a folder of their own, results."""
        self.root, self.results, self._limits = root, root / "results", limits
        self._open: dict[str, Visitor] = {}
        self._lock = threading.Lock()

    def of(self, key: str) -> Visitor:
        """The visitor of this key, new or known."""
        with self._lock:
            visitor = self._open.setdefault(key, Visitor(job_folder(self.results)))
            visitor.seen = time.monotonic()
            return visitor

    def leave(self, key: str) -> None:
        """The page of this key was closed."""
        with self._lock:
            visitor = self._open.pop(key, None)
        if visitor is not None:
            visitor.drop()

    def sweep(self) -> None:
        """Remove old uploads, and visitors who have done nothing for long."""
        idle = time.monotonic() - 60 * self._limits.keep_minutes
        with self._lock:
            gone = [
                key
                for key, visitor in self._open.items()
                if visitor.seen < idle and (visitor.job is None or visitor.job.finished)
            ]
        for key in gone:
            self.leave(key)
        for path in self.uploads():
            try:
                if time.time() - path.stat().st_mtime > STALE:
                    path.unlink()
                    if path.parent != self.root:
                        path.parent.rmdir()
            except OSError:
                # Gone already, or its folder holds others.
                continue

    def uploads(self) -> list[Path]:
        """Uploaded files that are still there."""
        found: list[Path] = []
        # Path.rglob fails where a folder goes away meanwhile.
        for folder, inner, names in os.walk(self.root):
            inner[:] = [name for name in inner if Path(folder, name) != self.results]
            found += [Path(folder, name) for name in names]
        return found

    def close(self) -> None:
        """Everybody leaves."""
        for key in list(self._open):
            self.leave(key)
