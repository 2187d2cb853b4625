"""The journal of a large job: what is done, in files that appear whole.

A chunk's marker is written when all of its outputs are there, so that a job that was killed at any
moment knows where it was. It tells which files the chunk had: where files came, went or changed, or
one that was left out can be read, the chunk and those after it are done anew.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from mimicgan.chunk import Chunk, Known, Restored
from mimicgan.engine import Group
from mimicgan.errors import UserError
from mimicgan.files import UNWRITABLE, resolved
from mimicgan.learnt import Damage
from mimicgan.pictures import read_picture
from mimicgan.prior import Prior
from mimicgan.restore import Settings

JOURNAL = ".mimicgan"
LEARNT = re.compile(r"[A-Za-z0-9-]+\.safetensors")


@dataclass
class Journal:
    """What a job has done so far, and the only way in which it writes."""

    path: Path
    out: Path
    prior: Prior

    def put(self, path: Path, content: bytes) -> None:
        """Write a file that appears whole; a leftover of a killed run is overwritten."""
        partial = self.path / "partial"
        partial.write_bytes(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(path)

    def record(self, chunk: Chunk, restored: Restored) -> None:
        """Write what became of a chunk, and then its marker."""
        if restored.learnt is not None:
            self.put(self.path / restored.learnt.name, restored.learnt.content)
        for name, content in restored.outputs.items():
            self.put(self.out / name, content)
        for name in restored.bad:
            # It may have been a good picture before.
            (self.out / name).unlink(missing_ok=True)
        facts = {
            "files": chunk.digest,
            "damage": restored.damage,
            "misfit": restored.misfit,
            "own": restored.own,
            "bad": restored.bad,
        }
        self.put(self._marker(chunk), json.dumps(facts).encode())

    def group(self, chunks: list[Chunk]) -> Group:
        """The chunks of one source, as far as earlier runs have brought them."""
        settled, name = 0, ""
        while settled < len(chunks) and (facts := self.facts(chunks[settled])) is not None:
            if self._mended(chunks[settled], facts["bad"]):
                break
            settled, name = settled + 1, facts["damage"]
        self._forget(chunks, settled)
        if settled == len(chunks) or not name:
            return Group(chunks, settled)
        return Group(chunks, settled, earlier=lambda: self._known(name))

    def _mended(self, chunk: Chunk, bad: dict[str, str]) -> bool:
        """Whether a file that was left out, and has the size that it had, can be read now."""
        for name, path in chunk.files:
            if name in bad:
                with suppress(UserError):
                    read_picture(path, self.prior.image_shape)
                    return True
        return False

    def _known(self, name: str) -> Known:
        path = self.path / name
        try:
            content = path.read_bytes()
            Damage.parsed(content, path, self.prior)
        except (OSError, UserError) as error:
            raise UserError(
                f"{path}, which this job needs, is missing or damaged; choose a new folder for it"
            ) from error
        return Known(name, content)

    def _forget(self, chunks: list[Chunk], settled: int) -> None:
        """Take away the markers of all other chunks of a source, also of those that are no more:
        what is done from now on may write the same outputs."""
        for number in count(settled):
            marker = self._marker(Chunk(chunks[0].group, number, ()))
            if number >= len(chunks) and not marker.exists():
                return
            marker.unlink(missing_ok=True)

    def facts(self, chunk: Chunk) -> dict[str, Any] | None:
        """What the marker of a chunk says; None where it is not done, or was with other files.

        Raises UserError when the marker is damaged.
        """
        path = self._marker(chunk)
        if not path.exists():
            return None
        facts = read_marker(path)
        return facts if facts["files"] == chunk.digest else None

    def _marker(self, chunk: Chunk) -> Path:
        return self.path / f"{chunk.label}.json"


def read_marker(path: Path) -> dict[str, Any]:
    """A chunk's digest of its files, damage (the name of a file beside the marker, or ""), misfit,
    whether a restorer made for it restored, and bad files.

    UserError when the marker is damaged.
    """
    try:
        facts = json.loads(path.read_bytes())
        damage, misfit, bad = facts["damage"], facts["misfit"], facts["bad"]
        # Jobs of earlier versions did not note it.
        own = facts.get("own", True)
        if not (
            isinstance(facts["files"], str)
            and (damage == "" or LEARNT.fullmatch(damage))
            and isinstance(misfit, float | int | None)
            and isinstance(own, bool)
            and all(isinstance(text, str) for item in bad.items() for text in item)
        ):
            raise ValueError("no facts of a chunk")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged; delete it and run the same again: its part is then done anew"
        ) from error
    return {"files": facts["files"], "damage": damage, "misfit": misfit, "own": own, "bad": bad}


@contextmanager
def opened(
    out: Path, source: Path, prior: Prior, settings: Settings, group_by: str, chunk: int
) -> Iterator[Journal]:
    """The journal of a job in ``out``, held by this process alone.

    Raises UserError when ``out`` holds anything else, is in use, or cannot be written, and where
    the system has no locks on files.
    """
    try:
        # Imported here: Windows lacks it, and other commands do without.
        import fcntl
    except ImportError as error:
        raise UserError(
            "large jobs need the file locks of Linux or macOS; use those (WSL on Windows), or "
            "leave --group-by out"
        ) from error
    out = resolved(out)
    if out == source or source in out.parents or out in source.parents:
        raise UserError(f"{out} and {source} lie in each other; choose another output folder")
    path = out / JOURNAL
    facts = {
        "prior": {"name": prior.name, "sha256": prior.sha256()},
        "settings": asdict(settings),
        "group_by": group_by,
        "chunk": chunk,
        "source": str(source),
    }
    key = json.dumps(facts, sort_keys=True, indent=1)
    try:
        if out.exists() and any(out.iterdir()) and not path.is_dir():
            raise UserError(f"{out} holds other files; choose a new folder for the job")
        path.mkdir(parents=True, exist_ok=True)
        with (path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"another process works on {out}; wait until it is done") from error
            journal = Journal(path, out, prior)
            known = path / "job.json"
            if not known.exists():
                journal.put(known, key.encode())
            elif known.read_bytes() != key.encode():
                raise UserError(
                    f"{out} holds a job with other settings, another prior or another input; go "
                    "on with those, or choose a new folder"
                )
            yield journal
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise UserError(
            f"cannot write {out}: {error.strerror}; make room, then run the same again: what is "
            "done stays done"
        ) from error
