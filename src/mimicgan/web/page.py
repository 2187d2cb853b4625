"""The page itself: gradio's components, and what happens when somebody uses them."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from mimicgan.commands.corrupt import UNSEEN_PREFIX
from mimicgan.errors import UserError
from mimicgan.experiments.unseen_corruptions import STRENGTHS
from mimicgan.pictures import FORMATS
from mimicgan.prior import Prior
from mimicgan.restore import Settings
from mimicgan.web import render
from mimicgan.web.batch import Batch, Shape, damage_kinds, sampled, uploaded
from mimicgan.web.jobs import FAULT, Job, Runner, job_folder
from mimicgan.web.limits import Limits
from mimicgan.web.visitors import Visitor, Visitors

OWN, SAMPLE = "My pictures", "Samples"
EFFORT_LABELS = [
    ("Instant: learns nothing about the damage", "instant"),
    ("Quick: a minute or so for clothes", "quick"),
    ("Default: some minutes, and better", "default"),
]
FRESH = 0.5
"""Seconds between two looks at a job."""
INTRO = """# Restore damaged pictures
Give some 25 pictures that were all damaged in the **same unknown way**. You get clean ones back,
and what the damage was. Nothing leaves the computer that this page comes from.
"""
FOOTER = """Do not use it where a wrong detail does harm. What the damage destroyed is guessed from
what the prior knows. Uploads are removed after two minutes, results when you close the page."""
STYLE = (
    render.STYLE
    + """
.gradio-container { max-width: 1280px !important; margin: 0 auto !important; }
#restore-row button { min-width: 120px; }
footer { display: none !important; }
"""
)


class Page:
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
            yield _over(render.box("bad", "Nothing was restored", f"{error}."))
            return
        try:
            yield {"busy": True, "status": render.progress(job, self._runner.ahead(job))}
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


def build(page: Page, priors: list[tuple[str, str]], limits: Limits) -> gr.Blocks:
    """The page; ``priors`` are (label, name)."""
    with gr.Blocks(title="mimicgan", analytics_enabled=False) as blocks:
        gr.Markdown(INTRO)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                source = gr.Radio([OWN, SAMPLE], value=OWN, label="What to restore")
                files = _drop(limits)
                with gr.Group(visible=False) as samples:
                    kind = gr.Dropdown(
                        [(label, kind) for kind, (label, _) in damage_kinds().items()],
                        value="dropped",
                        label="Damage",
                    )
                    strength = gr.Radio(
                        list(STRENGTHS), value="middle", label="Strength", visible=False
                    )
                    most = min(100, limits.files)
                    count = gr.Slider(
                        min(4, most), most, value=min(25, most), step=1, label="Pictures"
                    )
                prior = gr.Radio(priors, value=priors[0][1], label="The pictures show")
                effort = gr.Radio(EFFORT_LABELS, value="quick", label="Effort")
                with gr.Row(elem_id="restore-row"):
                    start = gr.Button("Restore", variant="primary", elem_id="restore")
                    stop = gr.Button("Cancel", variant="stop", visible=False, elem_id="cancel")
            with gr.Column(scale=5, min_width=320):
                status = gr.HTML(visible=False, elem_id="status")
                preview = gr.HTML(elem_id="preview")
                verdict = gr.HTML(visible=False, elem_id="verdict")
                download = gr.DownloadButton(
                    "Download everything (zip)",
                    variant="primary",
                    visible=False,
                    elem_id="download",
                )
                cards = gr.HTML(visible=False, elem_id="cards")
                losses = gr.HTML(visible=False, elem_id="losses")
                details = gr.HTML(visible=False, elem_id="details")
        gr.Markdown(FOOTER)
        choices = [source, files, kind, strength, count, prior]
        places = {
            "preview": preview,
            "status": status,
            "verdict": verdict,
            "download": download,
            "cards": cards,
            "losses": losses,
            "details": details,
        }
        _wire(page, blocks, choices, effort, start, stop, places, samples)
    return blocks


def _drop(limits: Limits) -> Any:
    """A place for pictures; its value is (path, the visitor's name for it) of each."""
    files = gr.File(
        label=f"Pictures: at most {limits.files}, {limits.megabytes} MB in all",
        file_count="multiple",
        file_types=list(FORMATS),
        height=220,
        elem_id="files",
    )
    plain = files.async_move_resource_to_block_cache

    async def uploaded_only(path: Any) -> Any:
        # A value made by hand may be an address, which gradio would go and fetch.
        if "://" in str(path):
            raise gr.Error("upload a file", print_exception=False)
        return await plain(path)

    # Of this one alone: for a subclass gradio writes a stub beside this file.
    files.async_move_resource_to_block_cache = uploaded_only
    files.preprocess = lambda payload: [
        (Path(f.path), f.orig_name or Path(f.path).name) for f in payload or ()
    ]
    return files


def _wire(
    page: Page,
    blocks: gr.Blocks,
    choices: list[Any],
    effort: Any,
    start: Any,
    stop: Any,
    places: Mapping[str, Any],
    samples: Any,
) -> None:
    source, files, kind, strength, count, _ = choices
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    source.change(
        lambda chosen: (gr.update(visible=chosen == OWN), gr.update(visible=chosen == SAMPLE)),
        source,
        [files, samples],
        queue=False,
        **quiet,
    )
    kind.change(
        lambda chosen: gr.update(visible=chosen.startswith(UNSEEN_PREFIX)),
        kind,
        strength,
        queue=False,
        **quiet,
    )

    def show(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        # What was restored before belongs to other choices.
        return _update(page.shown(request, *values)), *[_update("")] * (len(places) - 1)

    gr.on(
        [blocks.load, count.release, *(part.change for part in choices if part is not count)],
        show,
        choices,
        list(places.values()),
        trigger_mode="always_last",
        concurrency_limit=4,
        **quiet,
    )
    everything = [start, stop, *places.values()]

    def restore(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        try:
            for told in page.restored(request, *values):
                yield _parts(told, places)
        except Exception:
            logging.getLogger(__name__).exception("the page could not show a restoration")
            yield _parts(_over(render.box("bad", "Nothing was restored", f"{FAULT}.")), places)

    # Every visitor's is in the page's own queue, which knows how to tell and to stop them.
    start.click(
        restore,
        [effort, *choices],
        everything,
        trigger_mode="once",
        concurrency_limit=None,
        **quiet,
    )
    stop.click(page.cancel, None, None, queue=False, **quiet)
    blocks.unload(page.leave)


def _parts(told: Mapping[str, Any], places: Mapping[str, Any]) -> list[Any]:
    """Both buttons, then every place."""
    busy = told["busy"]
    buttons = [gr.update(interactive=not busy), gr.update(visible=busy)]
    return [*buttons, *(_update(told.get(name)) for name in places)]


def _update(value: str | None) -> Any:
    """What a part of the page becomes: nothing new, gone, or shown with a value."""
    if value is None:
        return gr.skip()
    return gr.update(value=value or None, visible=bool(value))


def _over(status: str, **others: Any) -> dict[str, Any]:
    return {"busy": False, "status": status, **others}


def _finished(job: Job) -> dict[str, Any]:
    if job.state == "cancelled":
        return _over(render.box("plain", "Cancelled", "Nothing was kept."), losses="")
    if job.outcome is None:
        return _over(render.box("bad", "Nothing was restored", f"{job.error}."), losses="")
    made = job.outcome
    return _over(
        render.left_out(job.batch.bad),
        preview="",
        verdict=render.verdict(made.result) + render.numbers(made.scores),
        download=str(made.archive),
        cards=render.comparison(job.batch, made.result),
        losses=render.curve(job.losses),
        details=render.learnt(made.picture),
    )
