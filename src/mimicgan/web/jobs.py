"""Restorations for visitors, one at a time in order of arrival; to be watched and stopped."""

import logging
import queue
import secrets
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from mimicgan.commands.progress import expected_steps
from mimicgan.commands.summary import learnt_picture, write_summary
from mimicgan.errors import UserError
from mimicgan.image_files import write_images
from mimicgan.images import to_internal, to_user
from mimicgan.metrics import Accuracy, accuracy, psnr
from mimicgan.mimic import Step
from mimicgan.pretrained import load_classifier
from mimicgan.prior import Prior
from mimicgan.restore import Restoration, Settings, restore
from mimicgan.web.batch import Batch
from mimicgan.web.limits import Limits

State = Literal["waiting", "running", "done", "failed", "cancelled"]
STAGES = {"search": "search", "restorer": "restorer", "latent": "sharpen"}
"""Kind of update -> what is going on; the fit of the damage for all others."""
SHOWN = 12
DAMAGE_FILE = "damage.safetensors"
FAULT = "something went wrong in this program; its log tells more. Please try again"


@dataclass(frozen=True)
class Scores:
    """How near images come to the truth, before and after."""

    psnr: tuple[float, float]
    """Mean, in dB."""
    accuracy: tuple[Accuracy, Accuracy]
    """Of a classifier that knows clean images only."""


@dataclass(frozen=True)
class Outcome:
    """What a finished restoration gives."""

    result: Restoration
    picture: Image.Image | None
    """The learnt damage to look at."""
    scores: Scores | None
    archive: Path
    """A zip of everything."""


class _Stop(Exception):  # noqa: N818
    """Leaves a solver from within its callback."""


class Job:
    """One restoration: what to do, and how far it is. Read by one thread, written by another."""

    def __init__(
        self,
        batch: Batch,
        prior: Callable[[], Prior],
        settings: Settings,
        limits: Limits,
        folder: Path,
        every: float = 2.0,
    ) -> None:
        """``folder`` gets the zip; ``every`` so many seconds the images so far are looked at."""
        self.batch, self.settings, self.limits = batch, settings, limits
        self.state: State = "waiting"
        self.error = ""
        self.outcome: Outcome | None = None
        self.losses: list[tuple[str, float]] = []
        """Stage and loss of every update."""
        self.so_far: Tensor | None = None
        """The first restored images, (n, c, h, w) in [0, 1]."""
        self.over = threading.Event()
        """Whether the processor is free of it again."""
        self._prior, self._folder, self._every = prior, folder, every
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._started = self._looked = 0.0
        self._first: float | None = None

    def cancel(self) -> None:
        """Stop as soon as may be; nothing is kept."""
        self._end("cancelled")
        self._cancelled.set()

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to come."""
        return self.state not in ("waiting", "running")

    @property
    def begun(self) -> bool:
        """Whether its turn has come."""
        return self._started > 0

    @property
    def total(self) -> int | None:
        """About how many updates there will be; None where there are none."""
        return expected_steps(self.settings, self.batch.found.images)

    def seconds_left(self) -> float | None:
        """About how long it will take yet; None where nobody knows."""
        done, total, first = len(self.losses), self.total, self._first
        if total is None or first is None or done < 5 or done >= total:
            return None
        return (time.monotonic() - first) / done * (total - done)

    def run(self) -> None:
        """Do it, unless it was cancelled; errors become its state."""
        with self._lock:
            if self.state != "waiting":
                return
            self.state = "running"
        self._started = time.monotonic()
        kept = False
        try:
            prior = self._prior()
            result = restore(self.batch.found.images, prior, self.settings, callback=self._see)
            self._refuse_to_go_on()
            outcome = self._packed(result, prior)
        except _Stop:
            return
        except (UserError, ValueError) as error:
            self._end("failed", str(error))
        except OSError as error:
            logging.getLogger(__name__).exception("restoration for a visitor failed")
            self._end("failed", f"the results could not be written ({error.strerror}); try later")
        except Exception:
            logging.getLogger(__name__).exception("restoration for a visitor failed")
            self._end("failed", FAULT)
        else:
            self.outcome = outcome
            kept = self._end("done")
        finally:
            if not kept:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _see(self, step: Step) -> None:
        self._refuse_to_go_on()
        now = time.monotonic()
        self._first = self._first or now
        self.losses.append((STAGES.get(step.kind, "fit"), step.loss))
        # The page shows the first images; later ones are not them.
        due = now - self._looked >= self._every
        if step.estimate is not None and not step.first and due:
            self.so_far = to_user(step.estimate()[:SHOWN].cpu())
            self._looked = time.monotonic()

    def _refuse_to_go_on(self) -> None:
        if self._cancelled.is_set():
            raise _Stop
        if time.monotonic() - self._started > 60 * self.limits.minutes:
            raise UserError(
                f"this took more than {self.limits.minutes:g} minutes and was stopped; choose "
                "less effort, or give fewer pictures"
            )

    def _end(self, state: State, error: str = "") -> bool:
        """Whether this is how it ended, and not otherwise before."""
        with self._lock:
            if self.finished:
                return False
            self.state, self.error = state, error
            return True

    def _packed(self, result: Restoration, prior: Prior) -> Outcome:
        found = self.batch.found
        scores = _scores(self.batch, result.images)
        self._folder.mkdir(parents=True, exist_ok=True)
        archive = self._folder / "restored.zip"
        with tempfile.TemporaryDirectory(dir=self._folder) as made:
            to = Path(made)
            (to / "restored").mkdir()
            write_images(to / "restored", found.names, result.images)
            write_summary(to, found, result, prior, {"source": self.batch.source})
            if result.damage is not None and self.settings.method == "auto":
                result.damage.save(to / DAMAGE_FILE)
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
                for path in sorted(to.rglob("*")):
                    if path.is_file():
                        file.write(path, path.relative_to(to))
        return Outcome(result, learnt_picture(result, prior), scores, archive)


class Runner:
    """Runs jobs, one after another, in a thread of its own."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs: list[Job] = []
        self._lock = threading.Lock()
        self._todo: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True, name="restorations")
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Have ``job`` run in its turn; UserError when too many wait already."""
        with self._lock:
            self._jobs = [other for other in self._jobs if not other.over.is_set()]
            waiting = sum(other.state == "waiting" for other in self._jobs)
            busy = any(not other.finished for other in self._jobs)
            if busy and waiting >= self._limits.queue:
                raise UserError(
                    f"{waiting} restorations wait here already; try again in a few minutes"
                )
            self._jobs.append(job)
        self._todo.put(job)

    def ahead(self, job: Job) -> int:
        """How many jobs come before ``job``, the running one included."""
        with self._lock:
            before = self._jobs[: self._jobs.index(job)] if job in self._jobs else []
            # A cancelled one takes no time, unless it is running and has not noticed yet.
            return sum(not o.over.is_set() and (o.begun or not o.finished) for o in before)

    def close(self) -> None:
        """Cancel everything, and wait for the running one to notice."""
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        self._todo.put(None)
        # A thread that is still in torch when the interpreter ends aborts the process.
        self._thread.join()

    def _work(self) -> None:
        while (job := self._todo.get()) is not None:
            try:
                job.run()
            finally:
                job.over.set()


def job_folder(root: Path) -> Path:
    """A path for one job's results that nobody can guess."""
    return root / secrets.token_urlsafe(24)


def _scores(batch: Batch, restored: Tensor) -> Scores | None:
    if batch.clean is None or batch.labels is None:
        return None
    classifier = load_classifier("fashion-mnist")
    pairs = []
    for images in (batch.found.images, restored):
        with torch.no_grad():
            logits = classifier(to_internal(images))
        pairs.append((_decibels(images, batch.clean), accuracy(logits, batch.labels)))
    (before, sure), (after, surer) = pairs
    return Scores((before, after), (sure, surer))


def _decibels(images: Tensor, clean: Tensor) -> float:
    # Images that came through unchanged have infinite PSNR; as files they are equal.
    return float(psnr(images, clean).clamp(max=60).mean())
