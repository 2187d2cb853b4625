"""What the page answers to what visitors do: values of its parts by name."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from mimicgan.errors import UserError
from mimicgan.prior import Prior
from mimicgan.restore import Settings
from mimicgan.web import render
from mimicgan.web.batch import Batch, Shape, sampled, uploaded
from mimicgan.web.jobs import Job, Runner, job_folder
from mimicgan.web.limits import Limits
from mimicgan.web.visitors import Visitor, Visitors

OWN, SAMPLE = "My pictures", "Samples"
GONE = dict.fromkeys(("verdict", "download", "cards", "losses", "details"), "")
"""The parts of the page that show a result, when it is there no more."""
FRESH = 0.5
"""Seconds between two looks at a job."""


class Answers:
    """Answers what visitors do; knows them by the session that gradio gives each open page."""

    def __init__(
        self,
        priors: Mapping[str, tuple[Shape, Callable[[], Prior]]],
        efforts: Mapping[str, Settings],
        limits: Limits,
        runner: Runner,
        visitors: Visitors,
    ) -> None:
        """``priors``: name -> shape (c, h, w) and what loads it."""
        self._priors, self._efforts, self._limits = priors, efforts, limits
        self._runner, self._visitors = runner, visitors
        self._shapes = list(dict.fromkeys(shape for shape, _ in priors.values()))

    def batch(
        self,
        visitor: Visitor,
        source: str,
        files: list[tuple[Path, str]],
        kind: str,
        strength: str,
        count: float,
        prior: str,
    ) -> Batch:
        """What is to be restored; UserError where that cannot be said."""
        if prior not in self._priors:
            raise UserError("there is no such prior here; choose another one")
        shape = self._priors[prior][0]
        if source == SAMPLE:
            most = min(self._limits.files, 500)
            return sampled(kind, strength, max(1, min(int(count), most)), shape)
        return uploaded(visitor.read(files, self._shapes, self._limits), shape)

    def shown(self, request: gr.Request, *choices: Any) -> str:
        """The preview after any choice."""
        visitor = self._visitors.of(request.session_hash)
        source, files = choices[0], choices[1]
        if source == OWN and not files:
            return render.box(
                "plain",
                "Add your pictures",
                "Drop them into the field, or choose Samples to try it without any.",
            )
        try:
            return render.preview(self.batch(visitor, *choices))
        except UserError as error:
            return render.box("bad", "This cannot be restored", f"{error}.")

    def restored(self, request: gr.Request, effort: str, *choices: Any) -> Iterator[dict[str, Any]]:
        """Run a restoration and report on it as it goes: parts of the page by name."""
        visitor = self._visitors.of(request.session_hash)
        try:
            if effort not in self._efforts:
                raise UserError("there is no such effort; choose another one")
            batch = self.batch(visitor, *choices)
            folder, load = job_folder(visitor.folder), self._priors[choices[-1]][1]
            job = Job(batch, load, self._efforts[effort], self._limits, folder)
            visitor.begin(job)
            self._runner.submit(job)
        except UserError as error:
            visitor.drop()
            yield over(render.box("bad", "Nothing was restored", f"{error}."), **GONE)
            return
        try:
            yield {"busy": True, "status": render.progress(job, self._runner.ahead(job)), **GONE}
            last: tuple[Any, ...] = ()
            while not job.finished:
                now = (len(job.losses), self._runner.ahead(job), job.state)
                if now != last:
                    last = now
                    yield self._progress(job)
                time.sleep(FRESH)
            visitor.seen = time.monotonic()
            yield _finished(job)
        finally:
            # Also where the visitor has gone.
            if not job.finished:
                job.cancel()

    def cancel(self, request: gr.Request) -> None:
        """Stop the visitor's restoration."""
        job = self._visitors.of(request.session_hash).job
        if job is not None:
            job.cancel()

    def leave(self, request: gr.Request) -> None:
        """The visitor closed the page."""
        self._visitors.leave(request.session_hash)

    def _progress(self, job: Job) -> dict[str, Any]:
        return {
            "busy": True,
            "status": render.progress(job, self._runner.ahead(job)),
            "preview": render.live(job),
            "losses": render.curve(job.losses),
        }


def over(status: str, **others: Any) -> dict[str, Any]:
    """The parts of the page when nothing is at work any more."""
    return {"busy": False, "status": status, **others}


def _finished(job: Job) -> dict[str, Any]:
    if job.state == "cancelled":
        return over(render.box("plain", "Cancelled", "Nothing was kept."), losses="")
    if job.outcome is None:
        return over(render.box("bad", "Nothing was restored", f"{job.error}."), losses="")
    made = job.outcome
    return over(
        render.left_out(job.batch.bad),
        preview="",
        verdict=render.verdict(made.result) + render.numbers(made.scores),
        download=str(made.archive),
        cards=render.comparison(job.batch, made.result),
        losses=render.curve(job.losses),
        details=render.learnt(made.picture),
    )
