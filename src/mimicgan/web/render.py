"""What the page shows, as HTML without scripts; pictures are part of it as data."""

import base64
import math
from collections.abc import Sequence
from html import escape

from PIL import Image
from torch import Tensor

from mimicgan.commands.report import message
from mimicgan.image_files import as_pictures, counted, encoded
from mimicgan.restore import Restoration
from mimicgan.web.batch import Batch
from mimicgan.web.jobs import SHOWN, Job, Scores

STAGES = {
    "search": "1 of 3: searching for the damage",
    "fit": "2 of 3: fitting the damage",
    "restorer": "3 of 3: training a restorer for it",
    "sharpen": "3 of 3: looking for sharp images",
}
COLOURS = {"search": "#8b5cf6", "fit": "#2563eb", "restorer": "#1a7f5a", "sharpen": "#b45309"}
WIDE, HIGH, EDGE = 640, 190, 36
FIRST = 24
"""Comparisons that are seen without a click."""

STYLE = """
.mg { color: var(--body-text-color); }
.mg img { display: block; width: 100%; image-rendering: pixelated; border-radius: 4px; }
.mg figure { margin: 0; }
.mg figcaption, .mg .small { font-size: 12px; color: var(--body-text-color-subdued); }
.mg figcaption { text-align: center; padding-top: 2px; }
.mg-strip { display: grid; grid-template-columns: repeat(12, minmax(0, 1fr)); gap: 6px; }
@media (max-width: 720px) { .mg-strip { grid-template-columns: repeat(6, minmax(0, 1fr)); } }
.mg-cards { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); }
.mg-card { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 10px;
  background: var(--block-background-fill); min-width: 0; }
.mg-card .row { display: grid; gap: 6px; grid-auto-flow: column;
  grid-auto-columns: minmax(0, 1fr); }
.mg-card .name { font-size: 12px; margin-bottom: 6px; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; color: var(--body-text-color-subdued); }
.mg-box { border-left: 4px solid var(--border-color-accent); padding: 10px 14px; margin: 4px 0;
  background: var(--background-fill-secondary); border-radius: 0 8px 8px 0; }
.mg-box h3 { margin: 0 0 4px; font-size: 16px; }
.mg-box p { margin: 0; }
.mg-box.good { border-color: #1a7f5a; }
.mg-box.bad { border-color: #c2410c; }
.mg-bar { height: 8px; border-radius: 4px; background: var(--border-color-primary); margin: 8px 0;
  overflow: hidden; }
.mg-bar div { height: 100%; background: var(--button-primary-background-fill); }
.mg-bar .unknown { width: 30%; animation: mg-slide 1.6s infinite alternate ease-in-out; }
@keyframes mg-slide { from { margin-left: 0 } to { margin-left: 70% } }
@media (prefers-reduced-motion: reduce) { .mg-bar .unknown { animation: none; } }
.mg-numbers { display: flex; flex-wrap: wrap; gap: 12px; margin: 8px 0; }
.mg-numbers > div { flex: 1 1 150px; border: 1px solid var(--border-color-primary);
  border-radius: 10px; padding: 8px 12px; }
.mg-numbers b { font-size: 19px; display: block; }
.mg-learnt { max-width: 100%; width: auto !important; background: white; }
.mg-curve { display: block; width: 100%; height: auto; }
.mg-curve text { font-size: 11px; fill: var(--body-text-color-subdued); }
.mg-curve polyline { fill: none; stroke-width: 1.5; }
.mg summary { cursor: pointer; padding: 10px 0; }
"""


def box(kind: str, title: str, text: str) -> str:
    """A message: ``kind`` is good, bad or plain; title and text are escaped."""
    role = "alert" if kind == "bad" else "status"
    return _wrapped(
        f'<div class="mg-box {kind}" role="{role}"><h3>{escape(title)}</h3>'
        f"<p>{escape(text)}</p></div>"
    )


def preview(batch: Batch) -> str:
    """The images to restore, and what happened to those that cannot be."""
    found = batch.found
    parts = [f'<p class="small">{counted(len(found.images), "picture")}, ready to be restored</p>']
    parts += [f'<p class="small">{escape(note)}</p>' for note in found.notes]
    parts.append(strip(found.images[:FIRST], "picture to restore"))
    if len(found.images) > FIRST:
        parts.append(f'<p class="small">and {len(found.images) - FIRST} more</p>')
    return _wrapped("".join(parts)) + left_out(batch.bad)


def left_out(bad: Sequence[str]) -> str:
    """Files that cannot be used, and why; nothing where there are none."""
    if not bad:
        return ""
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    title = "1 file was left out" if len(bad) == 1 else f"{len(bad)} files were left out"
    return box("bad", title, "; ".join(bad[:5]) + more)


def strip(images: Tensor, what: str) -> str:
    """Images (n, c, h, w) in [0, 1] in rows."""
    cells = "".join(_image(data, f"{what} {i + 1}") for i, data in enumerate(_data(images)))
    return f'<div class="mg-strip">{cells}</div>'


def progress(job: Job, ahead: int) -> str:
    """Where a job is, for people who wait."""
    count = len(job.batch.found.images)
    if job.state == "waiting":
        who = "1 restoration comes" if ahead == 1 else f"{ahead} restorations come"
        title = f"Waiting: {who} first" if ahead else "Starting"
        return _bar(title, None, "You can leave this page open; it goes on by itself.")
    done, total, left = len(job.losses), job.total, job.seconds_left()
    if not done:
        return _bar(f"Restoring {counted(count, 'picture')}", None, "just begun")
    stage = STAGES[job.losses[-1][0]]
    share = min(0.99, done / total) if total else None
    told = f"step {done} of about {max(total or 0, done)}, loss {job.losses[-1][1]:.4f}"
    eta = f"{duration(left)} left" if left is not None else "a little longer"
    return _bar(stage, share, f"{told}; {eta if done >= 5 else 'just begun'}")


def duration(seconds: float) -> str:
    """About how long, in words."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min"


def live(job: Job) -> str:
    """Observed images, and below them the restored ones so far."""
    so_far = job.so_far
    if so_far is None:
        return _wrapped(strip(job.batch.found.images[:SHOWN], "damaged picture"))
    pairs = zip(_data(job.batch.found.images[:SHOWN]), _data(so_far), strict=False)
    cells = [
        f"<figure>{_image(a, f'damaged picture {i + 1}')}"
        f'<div style="height:4px"></div>{_image(b, f"restored so far {i + 1}")}</figure>'
        for i, (a, b) in enumerate(pairs)
    ]
    return _wrapped(
        '<p class="small">above: as given; below: restored so far</p>'
        f'<div class="mg-strip">{"".join(cells)}</div>'
    )


def verdict(result: Restoration) -> str:
    """What the misfit says, in plain words."""
    told = message(result)
    sentence = f"{told[0].upper()}{told[1:]}."
    if result.understood is None:
        return box(
            "plain",
            "Restored without learning the damage",
            f"{sentence} With {result.settings.match.fewest} pictures or more, choose quick or "
            "default to have it learnt.",
        )
    if result.damage is not None and result.damage.undamaged:
        return box("good", "These pictures look undamaged", f"{sentence}")
    if result.understood:
        return box(
            "good",
            "The damage was understood",
            f"{sentence} What the damage destroyed is guessed, not recovered: a convincing detail "
            "can be wrong.",
        )
    if result.misfit is not None and result.misfit <= result.settings.match.misfit_limit:
        return box("plain", "The damage was not understood", f"{sentence}")
    return box("bad", "The damage was not understood", f"{sentence} Do not rely on this result.")


def numbers(scores: Scores | None) -> str:
    """Accuracy and PSNR before and after, where the truth is known."""
    if scores is None:
        return ""
    (before, after), (sure, surer) = scores.psnr, scores.accuracy
    interval = f"95 % interval {surer.low:.0%} to {surer.high:.0%}"
    return _wrapped(
        '<div class="mg-numbers">'
        f"<div><b>{sure.value:.0%} → {surer.value:.0%}</b>recognised by a classifier of clothes"
        f'<div class="small">{counted(surer.count, "picture")}, {interval}</div></div>'
        f"<div><b>{before:.1f} → {after:.1f} dB</b>PSNR against the undamaged pictures"
        '<div class="small">higher is nearer</div></div></div>'
    )


def comparison(batch: Batch, result: Restoration) -> str:
    """A card for each picture: as given, under the learnt damage, restored, the truth if known."""
    columns = [("given", batch.found.images), ("restored", result.images)]
    told = ""
    if result.understood is not None:
        columns.insert(1, ("simulated", result.simulated))
        told = '<p class="small">simulated: the learnt damage applied to the restored picture</p>'
    if batch.clean is not None:
        columns.append(("truth", batch.clean))
    data = [(label, _data(images)) for label, images in columns]
    cards = []
    for index, name in enumerate(batch.found.names):
        cells = "".join(
            f"<figure>{_image(images[index], f'{name}: {label}')}"
            f"<figcaption>{label}</figcaption></figure>"
            for label, images in data
        )
        cards.append(
            f'<div class="mg-card"><div class="name" title="{escape(name)}">{escape(name)}</div>'
            f'<div class="row">{cells}</div></div>'
        )
    shown = f'<div class="mg-cards">{"".join(cards[:FIRST])}</div>'
    if cards[FIRST:]:
        shown += (
            f"<details><summary>{len(cards) - FIRST} more</summary>"
            f'<div class="mg-cards">{"".join(cards[FIRST:])}</div></details>'
        )
    return _wrapped(told + shown)


def curve(losses: Sequence[tuple[str, float]]) -> str:
    """The loss of every update (stage, loss) as a curve on a logarithmic scale; "" for none."""
    losses = [(stage, loss) for stage, loss in losses if loss > 0]
    if len(losses) < 2:
        return ""
    logs = [math.log10(loss) for _, loss in losses]
    low, high = math.floor(min(logs)), max(math.ceil(max(logs)), math.floor(min(logs)) + 1)
    across, down = (WIDE - 2 * EDGE) / (len(logs) - 1), (HIGH - 2 * EDGE) / (high - low)
    lines = [
        f'<text x="2" y="{EDGE + down * (high - k) + 4:.0f}">{10.0**k:g}</text>'
        f'<path d="M{EDGE} {EDGE + down * (high - k):.1f}H{WIDE - EDGE}" '
        'stroke="var(--border-color-primary)"/>'
        for k in range(low, high + 1)
    ]
    best = math.inf
    points: dict[str, list[str]] = {}
    for step, ((stage, _), log) in enumerate(zip(losses, logs, strict=True)):
        # Of what the search tries, the best so far says how it goes.
        best = min(best, log)
        height = best if stage == "search" else log
        points.setdefault(stage, []).append(
            f"{EDGE + across * step:.1f},{EDGE + down * (high - height):.1f}"
        )
    for index, (stage, places) in enumerate(points.items()):
        colour = COLOURS[stage]
        lines.append(f'<polyline points="{" ".join(places)}" stroke="{colour}"/>')
        lines.append(
            f'<text x="{EDGE + 90 * index}" y="{HIGH - 6}">'
            f'<tspan style="fill: {colour}">■</tspan> {escape(stage)}</text>'
        )
    return _wrapped(
        f'<h3>Loss</h3><svg class="mg-curve" viewBox="0 0 {WIDE} {HIGH}" role="img" '
        f'aria-label="loss by update, now {losses[-1][1]:.4f}">{"".join(lines)}</svg>'
    )


def learnt(picture: Image.Image | None) -> str:
    """The learnt damage; nothing where none was learnt."""
    if picture is None:
        return ""
    data = base64.b64encode(encoded(picture, ".png")).decode()
    return _wrapped(
        "<h3>The learnt damage</h3>"
        f'<img class="mg-learnt" alt="the learnt damage" src="{PNG}{data}">'
    )


PNG = "data:image/png;base64,"


def _data(images: Tensor) -> list[str]:
    return [base64.b64encode(encoded(p, ".png")).decode() for p in as_pictures(images)]


def _image(data: str, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="{PNG}{data}">'


def _bar(title: str, share: float | None, text: str) -> str:
    inner = '<div class="unknown"></div>'
    known = ""
    if share is not None:
        inner = f'<div style="width:{share:.1%}"></div>'
        known = f' aria-valuenow="{share * 100:.0f}" aria-valuemin="0" aria-valuemax="100"'
    return _wrapped(
        f'<div class="mg-box"><h3>{escape(title)}</h3>'
        f'<div class="mg-bar" role="progressbar" aria-label="progress"{known}>{inner}</div>'
        f"<p>{escape(text)}</p></div>"
    )


def _wrapped(html: str) -> str:
    return f'<div class="mg">{html}</div>'
