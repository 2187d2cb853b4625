"""Large folders: one learnt damage for each source, chunk by chunk, resumable at any moment.

A chunk's marker in the journal is written when all of its outputs are there; every output appears
whole. Which damage a chunk gets depends on the images and the settings alone, so that a job that
was killed and run again ends as one that was not.
"""

import fcntl
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mimicgan.damage import ComposedDamage
from mimicgan.errors import UserError
from mimicgan.files import UNWRITABLE
from mimicgan.image_files import as_pictures, encoded
from mimicgan.images import rounded, to_internal, to_user
from mimicgan.learnt import Damage
from mimicgan.pictures import FORMATS, read_picture
from mimicgan.prior import Prior
from mimicgan.restore import Settings, restore
from mimicgan.set_distance import SetDistance, random_corners

GroupBy = Literal["folder", "prefix", "none"]
JOURNAL = ".mimicgan"
SAMPLE, COMPARED, SLIGHT = 100, 64, 0.03


@dataclass(frozen=True)
class JobReport:
    """What a job did, in this run and in those before it."""

    images: int = 0
    chunks_done_before: int = 0
    damages: dict[str, list[str]] = field(default_factory=dict)
    """Group -> the damages learnt for it, in order; more than one where the damage changed."""
    misfits: dict[str, float | None] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    """File -> why it was left out."""


def groups_of(source: Path, group_by: GroupBy) -> dict[str, list[Path]]:
    """The pictures below ``source``, by where they come from; sorted. UserError without any.

    folder: each folder is a source; prefix: what a name has before its first digit; none: all.
    """
    if not source.is_dir():
        raise UserError(f"{source} is no folder; --group-by is for folders of pictures")
    groups: dict[str, list[Path]] = {}
    for path in sorted(source.rglob("*")):
        inner = path.relative_to(source)
        hidden = any(part.startswith(".") for part in inner.parts)
        if hidden or path.suffix.lower() not in FORMATS or not path.is_file():
            continue
        prefix = re.split(r"\d", path.stem)[0].rstrip("-_. ")
        name = {"folder": str(inner.parent), "prefix": prefix, "none": "."}[group_by]
        groups.setdefault(name, []).append(path)
    if not groups:
        raise UserError(f"{source} holds no picture; give one of {', '.join(FORMATS)}")
    return dict(sorted(groups.items()))


def run_job(
    source: Path,
    out: Path,
    prior: Prior,
    settings: Settings,
    *,
    group_by: GroupBy,
    chunk: int = 256,
    strict: bool = False,
    callback: Callable[[int, int, str], None] | None = None,
) -> JobReport:
    """Restore every picture below ``source`` to the same relative name below ``out``.

    ``callback`` gets images done, images in all, and the group. Raises UserError when ``out``
    belongs to another job, is in use, or cannot be written, and with ``strict`` for a bad file.
    """
    source = source.resolve()
    groups = groups_of(source, group_by)
    total = sum(len(files) for files in groups.values())
    report = JobReport()
    bank = rounded(prior.typical(COMPARED * 4, torch.Generator().manual_seed(settings.seed)))
    done = before = 0
    with _journal(out, source, prior, settings, group_by, chunk) as journal:
        for group, files in groups.items():
            current: _Current | None = None
            for number, start in enumerate(range(0, len(files), chunk)):
                part = files[start : start + chunk]
                marker = journal.path / f"{_slug(group)}-{number:06d}.json"
                if marker.exists():
                    facts = json.loads(marker.read_text(encoding="utf-8"))
                    before += 1
                else:
                    current = current or journal.current(group, number, prior, bank, settings)
                    current, facts = _restored(
                        part, group, number, current, journal, prior, bank, settings, strict
                    )
                    journal.put(marker, json.dumps(facts).encode())
                used = report.damages.setdefault(group, [])
                if facts["damage"] and facts["damage"] not in used:
                    used.append(facts["damage"])
                report.misfits[group] = facts["misfit"]
                report.bad.update(facts["bad"])
                done += len(part)
                if callback is not None:
                    callback(done, total, group)
    return JobReport(total - len(report.bad), before, report.damages, report.misfits, report.bad)


@dataclass
class _Current:
    """The damage in use, and what observations under it should look like."""

    name: str
    damage: Damage
    simulated: Tensor
    usual: float
    noise: float

    def changed(self, y: Tensor) -> bool:
        """Whether y (n, c, h, w) in [-1, 1] no longer looks like this damage."""
        if len(y) < COMPARED:
            return False
        shape = (y.shape[1], y.shape[2], y.shape[3])
        corners = random_corners(shape, torch.Generator().manual_seed(0))
        apart = SetDistance(y[:COMPARED], corners)(self.simulated).item()
        return apart - self.usual > SLIGHT + 4 * self.noise


@dataclass
class _Journal:
    path: Path
    out: Path
    source: Path

    def put(self, path: Path, content: bytes) -> None:
        """Write a file that appears whole; a leftover of a killed run is overwritten."""
        partial = self.path / "partial"
        partial.write_bytes(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(path)

    def current(
        self, group: str, number: int, prior: Prior, bank: Tensor, settings: Settings
    ) -> _Current | None:
        """The damage that the chunk before used, where there is one."""
        if number == 0:
            return None
        marker = self.path / f"{_slug(group)}-{number - 1:06d}.json"
        name = json.loads(marker.read_text(encoding="utf-8"))["damage"]
        if not name:
            return None
        return _judged(name, Damage.load(self.path / name, prior), bank, settings)


@contextmanager
def _journal(
    out: Path, source: Path, prior: Prior, settings: Settings, group_by: str, chunk: int
) -> Iterator[_Journal]:
    out = out.resolve()
    if out == source or source in out.parents or out in source.parents:
        raise UserError(f"{out} and {source} lie in each other; choose another output folder")
    path = out / JOURNAL
    facts = {
        "prior": prior.name,
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
            journal = _Journal(path, out, source)
            known = path / "job.json"
            if not known.exists():
                journal.put(known, key.encode())
            elif known.read_text(encoding="utf-8") != key:
                raise UserError(
                    f"{out} holds a job with other settings or another input; go on with those, "
                    "or choose a new folder"
                )
            yield journal
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise UserError(
            f"cannot write {out}: {error.strerror}; make room, then run the same again: what is "
            "done stays done"
        ) from error


def _restored(
    files: list[Path],
    group: str,
    number: int,
    current: _Current | None,
    journal: _Journal,
    prior: Prior,
    bank: Tensor,
    settings: Settings,
    strict: bool,
) -> tuple[_Current | None, dict[str, Any]]:
    """Restore one chunk; the damage in use after it, and the facts for its marker."""
    bad: dict[str, str] = {}
    kept, images = [], []
    for path in files:
        try:
            images.append(read_picture(path, prior.image_shape)[0])
            kept.append(path)
        except UserError as error:
            if strict:
                raise
            bad[str(path.relative_to(journal.source))] = str(error)
    if not images:
        return current, {"damage": current.name if current else "", "misfit": None, "bad": bad}
    observed = torch.stack(images)
    if current is None or current.changed(to_internal(observed)):
        result = restore(observed[:SAMPLE], prior, settings)
        if result.damage is None:
            raise UserError("large jobs need --method auto or universal; choose one of them")
        name = f"{_slug(group)}-{number:06d}.safetensors"
        if settings.method == "auto" and isinstance(result.damage.surrogate, ComposedDamage):
            partial = journal.path / "partial.safetensors"
            result.damage.save(partial)
            partial.replace(journal.path / name)
            # As a resumed job has it.
            current = _judged(name, Damage.load(journal.path / name, prior), bank, settings)
        else:
            current = _Current("", result.damage, observed[:0], float("inf"), 0.0)
    clean = to_user(current.damage.restore(to_internal(observed)))
    for path, picture in zip(kept, as_pictures(clean), strict=True):
        target = journal.out / path.relative_to(journal.source)
        journal.put(target, encoded(picture, path.suffix))
    return current, {"damage": current.name, "misfit": current.damage.misfit, "bad": bad}


def _judged(name: str, damage: Damage, bank: Tensor, settings: Settings) -> _Current:
    generator = torch.Generator().manual_seed(settings.seed)
    half = len(bank) // 2
    simulated = to_internal(to_user(damage.simulate(bank, generator)))
    shape = (bank.shape[1], bank.shape[2], bank.shape[3])
    corners = random_corners(shape, torch.Generator().manual_seed(0))
    null = []
    for _ in range(8):
        order = torch.randperm(len(simulated), generator=generator)
        drawn, others = simulated[order[:COMPARED]], simulated[order[half:]]
        null.append(SetDistance(drawn, corners)(others))
    values = torch.stack(null)
    noise = float(values.std())
    # A damage that was not quite understood is no further away now than it was then.
    usual = float(values.mean()) + max(0.0, damage.misfit or 0.0) * (SLIGHT + 2 * noise)
    return _Current(name, damage, simulated[half:], usual, noise)


def _slug(group: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9]+", "-", group).strip("-")[:40] or "all"
    return f"{plain}-{hashlib.sha256(group.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
