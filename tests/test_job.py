"""Large jobs: groups, resuming after a kill, bad files, a damage that changes half way."""

import copy
import errno
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from mimicgan.chunk import Chunk, Restored, Work, _judged
from mimicgan.damage import ComposedDamage
from mimicgan.errors import UserError
from mimicgan.job import JobReport, _report, groups_of, run_job
from mimicgan.journal import JOURNAL
from mimicgan.learnt import Damage
from mimicgan.match_settings import MatchSettings
from mimicgan.models.restorer import Restorer
from mimicgan.prior import Prior
from mimicgan.restore import Settings
from prior_cases import untrained_generator

SHAPE = (1, 28, 28)
TINY = Settings(
    match=MatchSettings(
        bank=80,
        draws=6,
        rounds=1,
        parents=2,
        children=2,
        sample=24,
        starts=1,
        short_steps=1,
        long_steps=2,
        pruning_steps=1,
        attempts=1,
        restorer_steps=1,
        restorer_batch=8,
    )
)


def tiny_prior() -> Prior:
    torch.manual_seed(0)
    return Prior(untrained_generator(), 100, SHAPE, restorer=Restorer(SHAPE))


def make(folder: Path, count: int, seed: int, *, invert: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = torch.rand(count, 28, 28, generator=torch.Generator().manual_seed(seed)) * 90
    pixels[:, 8:20, 8:20] += 120
    if invert:
        pixels = 255 - pixels
    for k, x in enumerate(pixels.byte().numpy()):
        Image.fromarray(x).save(folder / f"im{k:04d}.png")


def outputs(out: Path) -> dict[str, str]:
    return {
        str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(out.rglob("*"))
        if p.is_file() and JOURNAL not in p.parts
    }


def job(source: Path, out: Path, settings: Settings = TINY, **more) -> JobReport:
    more.setdefault("group_by", "folder")
    return run_job(source, out, tiny_prior(), settings, chunk=6, **more)


def test_groups(tmp_path: Path) -> None:
    for name in ("a/x1.png", "a/x2.png", "b/y-001.jpg", "z9.png", ".h/q.png", "a/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    names = {g: [p.name for p in files] for g, files in groups_of(tmp_path, "folder")[0].items()}
    assert names == {".": ["z9.png"], "a": ["x1.png", "x2.png"], "b": ["y-001.jpg"]}
    assert set(groups_of(tmp_path, "prefix")[0]) == {"x", "y", "z"}
    assert len(groups_of(tmp_path, "none")[0]["."]) == 4
    assert groups_of(tmp_path / ".h" / "..", "none")[0]
    with pytest.raises(UserError, match="no picture"):
        groups_of(_empty(tmp_path), "none")


def test_links_to_folders_are_told_and_not_followed(places: tuple[Path, Path]) -> None:
    source, out = places
    elsewhere = source.parent / "elsewhere"
    make(elsewhere, 2, 1)
    (source / "link").symlink_to(elsewhere)
    (source / "round").symlink_to(source)
    report = job(source, out)
    assert sorted(report.bad) == ["link", "round"]
    assert "not followed" in report.bad["link"]
    assert not any("link" in name for name in outputs(out))
    only = source.parent / "only"
    only.mkdir()
    (only / "link").symlink_to(elsewhere)
    with pytest.raises(UserError, match=r"link is a link to a folder and not followed"):
        groups_of(only, "folder")


def test_a_picture_that_was_changed_is_restored_anew(places: tuple[Path, Path]) -> None:
    source, out = places
    # Without compression: as large, whatever it shows.
    changed = source / "x.bmp"
    for grey in (40, 200):
        Image.new("L", (28, 28), grey).save(changed)
        os.utime(changed, ns=(grey, grey))
        report = job(source, out)
        if grey == 40:
            before, size = outputs(out), changed.stat().st_size
    assert changed.stat().st_size == size
    assert report.chunks_done_before == 2
    assert {name for name, content in outputs(out).items() if content != before[name]} == {"x.bmp"}


def test_a_folder_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("open", "shut"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").touch()
    scan = os.scandir

    def locked(path: str) -> Any:
        if Path(path).name == "shut":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    # The tests may run as root, whom no folder is shut to.
    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(UserError, match=r"shut: Permission denied; check it"):
        groups_of(tmp_path, "folder")


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def test_every_image_once_under_its_own_name_and_nothing_twice(tmp_path: Path) -> None:
    make(tmp_path / "in" / "day1", 8, 1)
    make(tmp_path / "in" / "day2", 7, 2)
    first = job(tmp_path / "in", tmp_path / "out")
    assert first.images == 15
    assert set(first.damages) == {"day1", "day2"}
    made = outputs(tmp_path / "out")
    assert set(made) == {
        str(p.relative_to(tmp_path / "in")) for p in (tmp_path / "in").rglob("*.png")
    }
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}
    again = job(tmp_path / "in", tmp_path / "out")
    assert again.chunks_done_before == 4
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}


def quick_damage(observed: Tensor, prior: Prior, settings: Settings) -> Damage:
    """A damage and a restorer that depend on the observations, and take no time."""
    own = copy.deepcopy(prior.restorer)
    with torch.no_grad():
        next(own.parameters()).mul_(1 + observed.mean())
    return Damage(ComposedDamage(SHAPE).requires_grad_(False), own, 0.0)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A folder of 14 pictures whose damage is learnt in no time, and an output folder."""
    monkeypatch.setattr("mimicgan.chunk.learnt_damage", quick_damage)
    make(tmp_path / "in", 14, 1)
    return tmp_path / "in", tmp_path / "out"


def test_files_that_came_went_or_changed_are_noticed(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    source, out = places

    def again(settled: int) -> None:
        report = job(source, out)
        pictures = [p.name for p in source.iterdir()]
        assert (report.images, report.chunks_done_before) == (len(pictures), settled)
        fresh = tmp_path / f"fresh-{len(list(tmp_path.iterdir()))}"
        job(source, fresh)
        wanted = outputs(fresh)
        assert set(wanted) == set(pictures)
        assert {name: outputs(out)[name] for name in wanted} == wanted
        assert job(source, out).chunks_done_before == -(-len(pictures) // 6)

    again(0)
    first = (source / "im0000.png").read_bytes()
    # It moves every other file to another place, and some to another chunk.
    (source / "a.png").write_bytes(first)
    again(0)
    (source / "im0012.png").unlink()
    (source / "im0013.png").unlink()
    again(2)
    Image.new("L", (28, 28), 9).save(source / "im0006.png")
    again(1)
    (source / "a.png").unlink()
    again(0)


def test_what_another_set_of_files_left_half_done_is_not_taken(places: tuple[Path, Path]) -> None:
    source, out = places
    job(source, out)
    wanted = outputs(out)

    first = {path: path.read_bytes() for path in sorted(source.iterdir())[:6]}
    for path in first:
        path.unlink()
    # The same outputs by another damage, over fewer chunks.
    assert job(source, out).images == 8
    assert outputs(out) != wanted
    for path, content in first.items():
        path.write_bytes(content)

    def stop(done: int, *_: object) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job(source, out, callback=stop)
    assert job(source, out).chunks_done_before == 2
    assert outputs(out) == wanted


def test_another_prior_of_the_same_name_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "in", 5, 1)
    universal = Settings("universal")
    job(tmp_path / "in", tmp_path / "out", universal)
    prior = tiny_prior()
    for other in (replace(prior, box=(-0.5, 0.5)), replace(prior, bank=torch.zeros(1, 100))):
        with pytest.raises(UserError, match="another prior"):
            run_job(tmp_path / "in", tmp_path / "out", other, universal, group_by="folder", chunk=6)
    with torch.no_grad():
        next(prior.restorer.parameters()).add_(0.1)
    assert prior.name == tiny_prior().name
    with pytest.raises(UserError, match="another prior"):
        run_job(tmp_path / "in", tmp_path / "out", prior, universal, group_by="folder", chunk=6)


def test_a_bad_file_is_left_out_and_named_or_stops_a_strict_job(tmp_path: Path) -> None:
    make(tmp_path / "in", 8, 1)
    (tmp_path / "in" / "im0003.png").write_bytes(b"nothing")
    report = job(tmp_path / "in", tmp_path / "out")
    assert report.images == 7
    assert list(report.bad) == ["im0003.png"]
    assert "im0003.png" not in outputs(tmp_path / "out")
    with pytest.raises(UserError, match=r"im0003\.png"):
        job(tmp_path / "in", tmp_path / "strict", strict=True)


def test_a_file_that_was_left_out_is_tried_again(places: tuple[Path, Path]) -> None:
    source, out = places
    late = source / "im0007.png"
    whole = late.read_bytes()
    # Of the same size, as one that only could not be read.
    late.write_bytes(b"x" * len(whole))
    assert list(job(source, out).bad) == [late.name]
    assert job(source, out).chunks_done_before == 3
    with pytest.raises(UserError, match=late.name):
        job(source, out, strict=True)
    late.write_bytes(whole)
    again = job(source, out, strict=True)
    assert (again.bad, again.chunks_done_before) == ({}, 1)
    assert late.name in outputs(out)
    late.write_bytes(whole[:40])
    assert list(job(source, out).bad) == [late.name]
    assert late.name not in outputs(out)


def test_a_small_group_that_nothing_restores_does_not_stop_the_others(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = places

    def learnt(observed: Tensor, *_: object) -> Damage:
        return quick_damage(observed, tiny_prior(), TINY)

    monkeypatch.setattr("mimicgan.chunk.learnt_damage", learnt)
    make(source / "a few", 3, 2)
    prior = replace(tiny_prior(), restorer=None)
    report = run_job(source, out, prior, TINY, group_by="folder", chunk=6)
    assert report.images == 14
    assert sorted(report.bad) == [f"a few/im000{k}.png" for k in range(3)]
    assert all("train restorer" in reason for reason in report.bad.values())
    assert not any("a few" in name for name in outputs(out))
    with pytest.raises(UserError, match=r"a few/im0000\.png is one of fewer than 4"):
        run_job(source, out, prior, TINY, group_by="folder", chunk=6, strict=True)


def test_what_is_in_the_way_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "in", 5, 1)
    with pytest.raises(UserError, match="lie in each other"):
        job(tmp_path / "in", tmp_path / "in" / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(UserError, match="other files"):
        job(tmp_path / "in", tmp_path / "full")
    job(tmp_path / "in", tmp_path / "out", Settings("universal"))
    with pytest.raises(UserError, match="other settings"):
        job(tmp_path / "in", tmp_path / "out", Settings("universal", seed=3))
    with pytest.raises(UserError, match="realism"):
        job(tmp_path / "in", tmp_path / "new", Settings("universal", output="realism"))


def test_a_damage_that_changes_half_way_is_learnt_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mimicgan.chunk.COMPARED", 6)
    make(tmp_path / "in", 12, 1)
    make(tmp_path / "in" / "later", 6, 3, invert=True)
    for k, path in enumerate(sorted((tmp_path / "in" / "later").iterdir())):
        path.rename(tmp_path / "in" / f"jm{k:04d}.png")
    (tmp_path / "in" / "later").rmdir()

    def fake(observed, prior, settings):
        plain = ComposedDamage(SHAPE).requires_grad_(False)
        # What the untrained generator makes is grey: brought to the mean of what is observed.
        plain.offset.copy_((observed * 2 - 1).mean(dim=0))
        plain.gain.fill_(-0.9)
        return Damage(plain, prior.restorer, 0.0)

    monkeypatch.setattr("mimicgan.chunk.learnt_damage", fake)
    # The fake damage lies 2 from the first images and 17 from the inverted ones.
    monkeypatch.setattr("mimicgan.chunk.SLIGHT", 5.0)
    report = job(tmp_path / "in", tmp_path / "out")
    assert len(report.damages["."]) == 2
    assert report.damages["."][1].endswith("-000002.safetensors")


def test_a_damaged_journal_is_told_and_never_taken_for_another(tmp_path: Path) -> None:
    make(tmp_path / "in", 18, 1)
    job(tmp_path / "in", tmp_path / "out")
    wanted, journal = outputs(tmp_path / "out"), tmp_path / "out" / JOURNAL
    first, second, last = sorted(journal.glob("*-*.json"))
    (learnt,) = journal.glob("*-*.safetensors")
    for path in (first, second, learnt, journal / "job.json"):
        whole = path.read_bytes()
        for content in (whole[: len(whole) // 2], b"", b"\xff\xfe", whole[:-9] + b"7" + whole[-8:]):
            last.unlink(missing_ok=True)
            path.write_bytes(content)
            with pytest.raises(UserError) as caught:
                job(tmp_path / "in", tmp_path / "out")
            named = str(tmp_path / "out") if path.name == "job.json" else str(path)
            assert named in str(caught.value)
            path.write_bytes(whole)
    learnt.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="missing or damaged; choose a new folder"):
        job(tmp_path / "in", tmp_path / "out")
    (tmp_path / "elsewhere").rename(learnt)
    # The remedy works: without its marker a part is done anew.
    second.unlink()
    again = job(tmp_path / "in", tmp_path / "out")
    assert again.chunks_done_before == 1
    assert outputs(tmp_path / "out") == wanted


def test_pictures_in_order_of_their_kind_are_no_other_damage(fashion) -> None:
    x = fashion.images.float() / 127.5 - 1
    damage = Damage(ComposedDamage(SHAPE).requires_grad_(False), torch.nn.Identity())
    judged = _judged(damage, x[:256], TINY)
    in_order = x[256:][fashion.labels[256:].argsort()]
    assert not judged.changed(in_order)
    assert judged.changed(-in_order)


def test_a_file_that_changes_during_the_work_is_done_anew(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = places
    late = sorted(source.iterdir())[0]
    whole = late.read_bytes()
    late.write_bytes(whole[:40])
    work = Work.__call__

    def during(self: Work, *arguments: object) -> Restored:
        made = work(self, *arguments)
        late.write_bytes(whole)
        return made

    monkeypatch.setattr(Work, "__call__", during)
    assert list(job(source, out).bad) == [late.name]
    again = job(source, out)
    assert again.bad == {}
    assert again.chunks_done_before == 0
    assert late.name in outputs(out)


def test_the_worst_misfit_of_a_group_and_who_restored_it_are_told() -> None:
    chunks = [Chunk("a", number, ()) for number in range(4)] + [
        Chunk("b", 0, ()),
        Chunk("c", 0, ()),
    ]
    # Of the last one too few images were there to learn from.
    facts = [
        {"damage": "a-0", "misfit": 0.1, "own": True},
        {"damage": "a-1", "misfit": 9.0, "own": True},
        {"damage": "a-1", "misfit": 0.2, "own": True},
        {"damage": "a-1", "misfit": None, "own": True},
        {"damage": "b-0", "misfit": 0.7, "own": False},
        {"damage": "", "misfit": None, "own": False},
    ]
    told = dict(zip(chunks, facts, strict=True))

    class Told:
        def facts(self, chunk: Chunk) -> dict:
            return told[chunk] | {"bad": {}}

    report = _report(chunks, 0, Told())
    assert report.misfits == {"a": 9.0, "b": 0.7, "c": None}
    assert report.refused == ["b"]


def test_a_refused_damage_is_told_by_this_run_and_by_the_next(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: Any) -> Damage:
        return replace(quick_damage(*given), own=False)

    monkeypatch.setattr("mimicgan.chunk.learnt_damage", refused)
    source, out = places
    assert job(source, out).refused == ["."]
    again = job(source, out)
    assert (again.refused, again.chunks_done_before) == (["."], 3)
