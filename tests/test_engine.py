"""Chunks that come back in any order end as they do one after the other."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from mimicgan.chunk import Chunk, Known, Restored
from mimicgan.engine import Engine, Group, Here, restored_chunks


class Plan:
    """Work whose damages are known beforehand: one letter a chunk, "-" for one without pictures."""

    def __init__(self, plan: list[str]) -> None:
        self.plan = plan

    def groups(self, settled: int = 0) -> list[Group]:
        chunks = [
            [Chunk(str(g), k, ()) for k in range(len(letters))]
            for g, letters in enumerate(self.plan)
        ]
        return [Group(each, min(settled, len(each))) for each in chunks]

    def __call__(self, chunk: Chunk, known: Known | None) -> Restored:
        letter = self.plan[int(chunk.group)][chunk.number]
        if letter == "-":
            return Restored(damage=known.name if known else "")
        if known is None:
            known = Known(f"{letter}{chunk.number}", b"")
            return Restored({chunk.label: b""}, damage=known.name, learnt=known)
        if known.name[0] != letter:
            return Restored(changed=True)
        return Restored({chunk.label: b""}, damage=known.name)


class Threads:
    """Up to seven chunks at a time, each of which takes a moment of its own."""

    def __init__(self, work: Plan, pool: ThreadPoolExecutor, chance: random.Random) -> None:
        self._work, self._pool, self._chance, self.most = work, pool, chance, 0

    def room(self, held: int) -> bool:
        self.most = max(self.most, held)
        return held < 7

    def submit(self, chunk: Chunk, known: Known | None) -> "Future[Restored]":
        return self._pool.submit(self._late, chunk, known, self._chance.uniform(0, 0.004))

    def _late(self, chunk: Chunk, known: Known | None, moment: float) -> Restored:
        time.sleep(moment)
        return self._work(chunk, known)


@contextmanager
def threads(work: Plan, seed: int) -> Iterator[Threads]:
    with ThreadPoolExecutor(7) as pool:
        yield Threads(work, pool, random.Random(seed))


def settled(groups: list[Group], engine: Engine) -> dict[tuple[str, int], tuple[str, list[str]]]:
    """What was settled; it must be once for each chunk, and in order in each group."""
    found: dict[tuple[str, int], tuple[str, list[str]]] = {}
    for chunk, restored in restored_chunks(groups, engine, learns=True):
        assert not restored.changed
        assert chunk.number == len([1 for group, _ in found if group == chunk.group])
        found[chunk.group, chunk.number] = restored.damage, list(restored.outputs)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_any_order_ends_as_one_after_the_other(seed: int) -> None:
    chance = random.Random(seed)
    # Damages last for some chunks, then change.
    plan = [
        "".join(chance.choice("aab-") * chance.randint(1, 5) for _ in range(chance.randint(1, 5)))
        for _ in range(4)
    ]
    work: Any = Plan(plan)
    alone = settled(work.groups(), Here(work))
    assert len(alone) == sum(map(len, plan))
    with threads(work, seed) as engine:
        assert settled(work.groups(), engine) == alone
    assert 1 < engine.most <= 7


def test_what_is_done_is_not_handed_over_again() -> None:
    work: Any = Plan(["aaa", "a"])
    found: list[Chunk] = []
    for chunk, _ in restored_chunks(work.groups(settled=1), Here(work), learns=True):
        found.append(chunk)
    assert [(chunk.group, chunk.number) for chunk in found] == [("0", 1), ("0", 2)]


def test_the_damage_of_an_earlier_run_is_read_when_its_group_begins() -> None:
    work: Any = Plan(["aaa", "aa"])
    groups, events = work.groups(settled=1), []
    for name, group in enumerate(groups):

        def read(name: int = name) -> Known:
            events.append(f"read {name}")
            return Known("a0", b"")

        group.earlier = read
    for chunk, restored in restored_chunks(groups, Here(work), learns=True):
        assert restored.learnt is None
        events.append(f"done {chunk.group}")
    assert events == ["read 0", "done 0", "done 0", "read 1", "done 1"]


def test_without_learning_nothing_waits() -> None:
    work: Any = Plan(["-" * 7])

    class Counted(Here):
        sent: list[int] = []  # noqa: RUF012

        def room(self, held: int) -> bool:
            self.sent.append(held)
            return True

    settled_numbers = [c.number for c, _ in restored_chunks(work.groups(), Counted(work), False)]
    assert settled_numbers == list(range(7))
    assert max(Counted.sent) == 7


def test_an_error_ends_the_job() -> None:
    class Broken(Plan):
        def __call__(self, chunk: Chunk, known: Known | None) -> Restored:
            if chunk.number == 2:
                raise OSError("no")
            return super().__call__(chunk, known)

    work = Broken(["aaaa"])
    with threads(work, 0) as engine, pytest.raises(OSError, match="no"):
        settled(work.groups(), engine)
