"""The page itself: gradio's components, and which answer each of them asks for."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from mimicgan.commands.corrupt import UNSEEN_PREFIX
from mimicgan.experiments.unseen_corruptions import STRENGTHS
from mimicgan.pictures import FORMATS
from mimicgan.web import render
from mimicgan.web.answers import OWN, SAMPLE, Answers, over
from mimicgan.web.batch import damage_kinds
from mimicgan.web.jobs import FAULT
from mimicgan.web.limits import Limits

EFFORT_LABELS = [
    ("Instant: learns nothing about the damage", "instant"),
    ("Quick: a minute or so for clothes", "quick"),
    ("Default: some minutes, and better", "default"),
]
INTRO = """# Restore damaged pictures
Give some 25 pictures that were all damaged in the **same unknown way**. You get clean ones back,
and what the damage was. Nothing leaves the computer that this page comes from.
"""
FOOTER = """Do not use it where a wrong detail does harm. What the damage destroyed is guessed from
what the prior knows. Uploads are removed after two minutes, results when you close the page or do
nothing for {:g} minutes."""
STYLE = (
    render.STYLE
    + """
.gradio-container { max-width: 1280px !important; margin: 0 auto !important; }
#restore-row button { min-width: 120px; }
footer { display: none !important; }
label:has(input:focus-visible), button:focus-visible, summary:focus-visible {
  outline: 2px solid var(--body-text-color) !important; outline-offset: 2px; }
#files button:focus-visible { outline-offset: -2px; }
"""
)


def build(answers: Answers, priors: list[tuple[str, str]], limits: Limits) -> gr.Blocks:
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
        gr.Markdown(FOOTER.format(limits.keep_minutes))
        choices = [source, files, kind, strength, count, prior]
        for part in (effort, *choices):
            _fetch_nothing(part)
        places = {
            "preview": preview,
            "status": status,
            "verdict": verdict,
            "download": download,
            "cards": cards,
            "losses": losses,
            "details": details,
        }
        _wire(answers, blocks, choices, effort, start, stop, places, samples)
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
    # Of this one alone: for a subclass gradio writes a stub beside this file.
    files.preprocess = lambda payload: [
        (Path(f.path), f.orig_name or Path(f.path).name) for f in payload or ()
    ]
    return files


def _fetch_nothing(part: Any) -> None:
    """A value made by hand may be an address, which gradio would go and fetch for any part."""
    plain = part.async_move_resource_to_block_cache

    async def local_only(path: Any) -> Any:
        if "://" in str(path):
            raise gr.Error("upload a file", print_exception=False)
        return await plain(path)

    part.async_move_resource_to_block_cache = local_only


def _wire(
    answers: Answers,
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
        return _update(answers.shown(request, *values)), *[_update("")] * (len(places) - 1)

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
            for told in answers.restored(request, *values):
                yield _parts(told, places)
        except Exception:
            logging.getLogger(__name__).exception("the page could not show a restoration")
            yield _parts(over(render.box("bad", "Nothing was restored", f"{FAULT}.")), places)

    # Every visitor's is in the page's own queue, which knows how to tell and to stop them.
    start.click(
        restore,
        [effort, *choices],
        everything,
        trigger_mode="once",
        concurrency_limit=None,
        **quiet,
    )
    stop.click(answers.cancel, None, None, queue=False, **quiet)
    blocks.unload(answers.leave)


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
