"""Large folders: one learnt damage for each source, chunk by chunk, resumable at any moment.

Outputs and journal are written here, by one process, wherever the chunks are worked on. Which
damage a chunk gets depends on the images and the settings alone, so that a job that was killed and
run again ends as one that was not.
"""

import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mimicgan.chunk import Chunk, Work
from mimicgan.engine import EngineOf, Here, restored_chunks
from mimicgan.errors import UserError
from mimicgan.files import resolved
from mimicgan.journal import Journal, opened
from mimicgan.pictures import FORMATS
from mimicgan.prior import Prior
from mimicgan.restore import Settings

GroupBy = Literal["folder", "prefix", "none"]


@dataclass(frozen=True)
class JobReport:
    """What a job did, in this run and in those before it."""

    images: int = 0
    chunks_done_before: int = 0
    damages: dict[str, list[str]] = field(default_factory=dict)
    """Group -> the damages learnt for it, in order; more than one where the damage changed."""
    misfits: dict[str, float | None] = field(default_factory=dict)
    """Group -> the worst misfit of its damages; None where nothing was learnt."""
    refused: list[str] = field(default_factory=list)
    """Groups of which a damage was learnt, and left restoring to the universal restorer."""
    bad: dict[str, str] = field(default_factory=dict)
    """File, or link to a folder -> why it was left out."""


def groups_of(source: Path, group_by: GroupBy) -> tuple[dict[str, list[Path]], list[Path]]:
    """The pictures below ``source``, by where they come from, and links to folders, which may lead
    anywhere and are not followed; all sorted and without what is hidden. UserError where there is
    no picture, or a folder cannot be read.

    folder: each folder is a source; prefix: what a name has before its first digit; none: all.
    """
    if not source.is_dir():
        raise UserError(f"{source} is no folder; --group-by is for folders of pictures")
    found: list[Path] = []
    links: list[Path] = []
    # Not by rglob, which passes over folders that it cannot read.
    for folder, folders, names in os.walk(source, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links += [path for name in folders if (path := Path(folder, name)).is_symlink()]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    groups: dict[str, list[Path]] = {}
    for path in sorted(found):
        inner = path.relative_to(source)
        if path.suffix.lower() not in FORMATS or not path.is_file():
            continue
        prefix = re.split(r"\d", path.stem)[0].rstrip("-_. ")
        name = {"folder": str(inner.parent), "prefix": prefix, "none": "."}[group_by]
        groups.setdefault(name, []).append(path)
    if not groups:
        told = _linked(links[0]) if links else f"give one of {', '.join(FORMATS)}"
        raise UserError(f"{source} holds no picture; {told}")
    return dict(sorted(groups.items())), sorted(links)


def _linked(path: Path) -> str:
    return f"{path} is a link to a folder and not followed; restore that folder by itself"


def _refuse(error: OSError) -> None:
    raise UserError(
        f"cannot read the folder {error.filename}: {error.strerror}; check it or take it away"
    ) from error


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
    engine: EngineOf | None = None,
) -> JobReport:
    """Restore every picture below ``source`` to the same relative name below ``out``.

    ``callback`` gets images done, images in all, and the group. ``engine`` is where the work is
    done, this process unless given. Raises UserError when ``out`` belongs to another job, is in
    use, or cannot be written, and with ``strict`` for a bad file.
    """
    if settings.by_latents:
        raise UserError("large jobs need --method auto or universal; choose one of them")
    if settings.output == "realism":
        raise UserError("large jobs give what the restorer makes; leave --output realism out")
    source = resolved(source)
    found, links = groups_of(source, group_by)
    sources = [
        [_chunk(source, name, files, k, chunk) for k in range(-(-len(files) // chunk))]
        for name, files in found.items()
    ]
    chunks = [each for part in sources for each in part]
    total = sum(len(each.files) for each in chunks)
    done = before = 0

    def count(each: Chunk) -> None:
        nonlocal done
        done += len(each.files)
        if callback is not None:
            callback(done, total, each.group)

    with opened(out, source, prior, settings, group_by, chunk) as journal:
        groups = [journal.group(part) for part in sources]
        for group in groups:
            before += group.settled
            for each in group.chunks[: group.settled]:
                if strict and (facts := journal.facts(each)):
                    for reason in facts["bad"].values():
                        raise UserError(reason)
                count(each)
        if before < len(chunks):
            work = Work(prior, settings, strict=strict)
            with nullcontext(Here(work)) if engine is None else engine(work) as running:
                for each, restored in restored_chunks(groups, running, work.learns):
                    journal.record(each, restored)
                    count(each)
        report = _report(chunks, before, journal)
    report.bad.update({str(path.relative_to(source)): _linked(path) for path in links})
    return report


def _chunk(source: Path, group: str, files: list[Path], number: int, size: int) -> Chunk:
    part = files[number * size : (number + 1) * size]
    return Chunk(group, number, tuple((str(path.relative_to(source)), path) for path in part))


def _report(chunks: list[Chunk], before: int, journal: Journal) -> JobReport:
    report = JobReport()
    for chunk in chunks:
        facts = journal.facts(chunk)
        if facts is None:
            raise AssertionError("a chunk is not done")
        used = report.damages.setdefault(chunk.group, [])
        if facts["damage"] and facts["damage"] not in used:
            used.append(facts["damage"])
        known = [report.misfits.get(chunk.group), facts["misfit"]]
        report.misfits[chunk.group] = max((m for m in known if m is not None), default=None)
        if facts["damage"] and not facts["own"] and chunk.group not in report.refused:
            report.refused.append(chunk.group)
        report.bad.update(facts["bad"])
    images = sum(len(chunk.files) for chunk in chunks) - len(report.bad)
    return replace(report, images=images, chunks_done_before=before)
