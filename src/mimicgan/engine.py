"""Where the chunks of a large job are worked on, and in which order they are handed over."""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from mimicgan.chunk import Chunk, Known, Restored, Work


class Engine(Protocol):
    """Where chunks are worked on."""

    def room(self, held: int) -> bool:
        """Whether to hand over one more while ``held`` are under way or wait for others before
        them; true for 0."""

    def submit(self, chunk: Chunk, known: Known | None) -> "Future[Restored]":
        """Start the job's work on a chunk."""


EngineOf = Callable[[Work], AbstractContextManager[Engine]]
"""How an engine is started for a job's work, and ended."""


class Here:
    """One chunk after the other, in this process."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def room(self, held: int) -> bool:
        return held == 0

    def submit(self, chunk: Chunk, known: Known | None) -> "Future[Restored]":
        done: Future[Restored] = Future()
        done.set_result(self._work(chunk, known))
        return done


@dataclass
class Group:
    """The chunks of one source, and how far they are.

    Once a damage is known, later chunks are tried with it before those between are done. Where
    one finds that the damage has changed, what was made of those after it does not count.
    """

    chunks: list[Chunk]
    settled: int = 0
    """Chunks that are done, with all before them."""
    known: Known | None = None
    """The damage in use."""
    earlier: Callable[[], Known] | None = None
    """Reads the damage in use after an earlier run, when the first chunk is handed over."""
    sent: int = field(init=False)
    """Chunks that were handed over."""
    turn: int = 0
    """How often the damage has changed; what was handed over before does not count."""
    waiting: dict[int, Restored] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sent = self.settled

    def next(self, *, learns: bool) -> Chunk | None:
        """The chunk to hand over next; none while the damage is being learnt."""
        if self.sent == len(self.chunks):
            return None
        if learns and self.known is None and self.sent > self.settled:
            return None
        if self.earlier is not None:
            self.known, self.earlier = self.earlier(), None
        return self.chunks[self.sent]

    def take(self, number: int, restored: Restored) -> Iterator[tuple[Chunk, Restored]]:
        """A chunk has come back: what is settled by it."""
        self.waiting[number] = restored
        while self.settled in self.waiting:
            first = self.waiting.pop(self.settled)
            if first.changed:
                self.known, self.sent, self.turn = None, self.settled, self.turn + 1
                self.waiting.clear()
                return
            self.known = first.learnt or self.known
            self.settled += 1
            yield self.chunks[self.settled - 1], first


def restored_chunks(
    groups: list[Group], engine: Engine, learns: bool
) -> Iterator[tuple[Chunk, Restored]]:
    """The chunks that are not done yet, as they are settled: in order within each group."""
    active = [group for group in groups if group.settled < len(group.chunks)]
    under_way: dict[Future[Restored], tuple[Group, int, int]] = {}
    waiting = 0
    while active:
        for group in active:
            while engine.room(len(under_way) + waiting) and (chunk := group.next(learns=learns)):
                group.sent += 1
                under_way[engine.submit(chunk, group.known)] = group, chunk.number, group.turn
            if not engine.room(len(under_way) + waiting):
                break
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            group, number, turn = under_way.pop(future)
            if turn == group.turn:
                waiting -= len(group.waiting)
                yield from group.take(number, future.result())
                waiting += len(group.waiting)
                if group.settled == len(group.chunks):
                    group.known = None
                    active.remove(group)
