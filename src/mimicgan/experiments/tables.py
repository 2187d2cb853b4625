"""The tables of README.md and PAPER.md, each made from one result file."""

from collections.abc import Callable, Iterable
from typing import Any

from mimicgan.experiments import robust_classification as robust
from mimicgan.experiments.unseen import CONTROL
from mimicgan.experiments.unseen_corruptions import STRENGTHS

Row = dict[str, Any]
Record = dict[str, Any]

NAMES = {
    "observed": "observed (nothing done)",
    "pgd": "PGD",
    "mimicgan": "MimicGAN (Algorithm 1)",
    "default": "default (matched distributions)",
    "universal": "universal restorer, nothing learnt",
    "supervised": "supervised, true damage known",
    "known-corruption": "inversion, true damage known",
    "clean-inversion": "inversion of the clean image",
}
TASKS = {
    "binary": "Binary",
    "dropped": "70 % dropped",
    "negative-blur": "Negative + blur",
    "clean": "Undamaged",
}
BOUNDS = ("supervised", "known-corruption", "clean-inversion")
NONE = "–"


def percent(row: Row | None) -> str:
    """Accuracy in percent and half of its 95 % interval."""
    if row is None:
        return NONE
    low, high = row["accuracy_ci95"]
    return f"{100 * row['accuracy']:.1f} ± {50 * (high - low):.1f}"


def number(row: Row | None, key: str, digits: int) -> str:
    """A number of the row, or a dash where it does not apply."""
    return NONE if row is None or key not in row else f"{row[key]:.{digits}f}"


def grid(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def robust_short(record: Record) -> str:
    """Table 3b: the readings nearest to the paper's, ours beside the paper's."""
    rows = record["rows"]
    readings = robust.paper_readings(rows)
    found = _index(rows)
    head = ["Accuracy, %"]
    for task, variant in readings.items():
        head += [f"{TASKS[task]} (`{variant}`)", "paper"]
    clean = ("clean", "clean", "observed") in found
    if clean:
        head += [TASKS["clean"], "paper"]
    lines = []
    for method in _methods(rows):
        line = [_name(method)]
        for task, variant in readings.items():
            paper = robust.PAPER[task].get(method)
            line += [
                percent(found.get((task, variant, method))),
                NONE if paper is None else f"{100 * paper:.1f}",
            ]
        if clean:
            known = f"{100 * robust.PAPER_CLEAN:.1f}" if method == "observed" else NONE
            line += [percent(found.get(("clean", "clean", method))), known]
        lines.append(line)
    return grid(head, lines) + "\n\n" + _caption(record)


def robust_long(record: Record) -> str:
    """Every reading of the three corruptions, with all measures."""
    rows = record["rows"]
    readings = robust.paper_readings(rows)
    lines = []
    for row in rows:
        paper = " (nearest to the paper)" if readings.get(row["task"]) == row["variant"] else ""
        lines.append(
            [
                f"`{row['variant']}`{paper}",
                row["method"],
                percent(row),
                number(row, "psnr", 2),
                number(row, "ssim", 3),
                number(row, "misfit", 2),
                number(row, "seconds_per_image", 3),
                number(row, "generator_passes_per_image", 0),
                str(row["n_images"]),
            ]
        )
    head = ["Damage", "Method", "Accuracy, %", "PSNR, dB", "SSIM", "Misfit"]
    return grid([*head, "s / image", "G passes / image", "n"], lines) + "\n\n" + _caption(record)


def unseen_summary(record: Record) -> str:
    """What the unseen damages say about the default method, in sentences."""
    found, better, total = _index(record["rows"]), 0, 0
    worst: tuple[float, str] | None = None
    lost = flagged_lost = kept = flagged_kept = 0
    for task, variant in _places(record["rows"]):
        own = found.get((task, variant, "default"))
        seen = found.get((task, variant, "observed"))
        if own is None or seen is None:
            continue
        gain = own["accuracy"] - seen["accuracy"]
        if worst is None or gain < worst[0]:
            worst = (gain, f"{_words(task)}, {variant}")
        flagged = own.get("understood", 1.0) < 0.5
        if gain < 0:
            lost, flagged_lost = lost + 1, flagged_lost + flagged
        else:
            kept, flagged_kept = kept + 1, flagged_kept + flagged
        if variant == "middle" and task != CONTROL:
            pgd = found.get((task, variant, "pgd"))
            total += 1
            better += gain > 0 and (pgd is None or own["accuracy"] > pgd["accuracy"])
    if worst is None:
        return "The default method was not measured."
    return (
        "At the middle strength the default method is more accurate than both the observation and "
        f"PGD on {better} of {total} damages. Over all damages and strengths its worst change "
        f"against the observation is {100 * worst[0]:+.1f} points ({worst[1]}). It is below the "
        f"observation in {lost} cases, {flagged_lost} of which its failure score flags; it flags "
        f"{flagged_kept} of the {kept} others.\n\n{_caption(record)}"
    )


def unseen_middle(record: Record) -> str:
    """The middle strength of every unseen damage."""
    return _unseen(record, ("middle",))


def unseen_long(record: Record) -> str:
    """Every unseen damage at every strength."""
    return _unseen(record, STRENGTHS)


def observations(record: Record) -> str:
    """Accuracy and PSNR against the number of observations."""
    rows = record["rows"]
    found = _index(rows)
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    counts = sorted({row["observations"] for row in rows})
    methods = _methods(rows)
    head = ["Observations"]
    for task in tasks:
        head += [f"{TASKS.get(task, task)}, {method}" for method in methods]
        head += ["PSNR of default, dB"]
    lines = []
    for count in counts:
        line = [str(count)]
        for task in tasks:
            line += [percent(found.get((task, f"n={count}", method))) for method in methods]
            line += [number(found.get((task, f"n={count}", "default")), "psnr", 2)]
        lines.append([*line, _range(r["n_images"] for r in rows if r["observations"] == count)])
    return grid([*head, "n"], lines) + "\n\n" + _caption(record)


def sweep(record: Record) -> str:
    """Accuracy of Algorithm 1 under each of its settings."""
    rows = record["rows"]
    found = _index(rows)
    places = _places(rows)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = [
        [method.removeprefix("mimicgan: "), *(percent(found.get((*p, method))) for p in places)]
        for method in methods
    ]
    return grid(["Accuracy, %", *(f"`{v}`" for _, v in places)], lines) + "\n\n" + _caption(record)


TABLES: dict[str, tuple[str, Callable[[Record], str]]] = {
    "robust-classification": (robust.NAME, robust_short),
    "robust-classification-all": (robust.NAME, robust_long),
    "unseen-summary": ("unseen", unseen_summary),
    "unseen": ("unseen", unseen_middle),
    "unseen-all": ("unseen", unseen_long),
    "observations": ("observations", observations),
    "sweep": ("sweep-validation", sweep),
}
"""Name between the markers -> experiment, and what makes the table of its record."""


def _unseen(record: Record, strengths: Iterable[str]) -> str:
    strengths, rows = tuple(strengths), record["rows"]
    found, methods = _index(rows), _methods(rows)
    lines = []
    for task, variant in _places(rows):
        if variant not in strengths:
            continue
        own = found.get((task, variant, "default"))
        name = _words(task) + (f", {variant}" if len(strengths) > 1 and task != CONTROL else "")
        cells = [percent(found.get((task, variant, method))) for method in methods]
        flag = NONE
        if own is not None and "understood" in own:
            flag = f"{100 * (1 - own['understood']):.0f}"
        misfit = number(own, "misfit", 2)
        lines.append([name, *cells, number(own, "psnr", 2), misfit, flag])
    head = ["Damage", *methods, "PSNR of default, dB", "misfit", "flagged, % of batches"]
    return grid(head, lines) + "\n\n" + _caption(record)


def _index(rows: list[Row]) -> dict[tuple[str, str, str], Row]:
    return {(row["task"], row["variant"], row["method"]): row for row in rows}


def _places(rows: list[Row]) -> list[tuple[str, str]]:
    order = {strength: rank for rank, strength in enumerate(STRENGTHS)}
    places = dict.fromkeys((row["task"], row["variant"]) for row in rows)
    tasks = list(dict.fromkeys(task for task, _ in places))
    return sorted(places, key=lambda p: (tasks.index(p[0]), order.get(p[1], 0)))


def _methods(rows: list[Row]) -> list[str]:
    there = {row["method"] for row in rows}
    return [*(name for name in NAMES if name in there), *sorted(there - set(NAMES))]


def _name(method: str) -> str:
    name = NAMES.get(method, method)
    return f"*{name}*" if method in BOUNDS else name


def _words(task: str) -> str:
    return "undamaged" if task == CONTROL else task.replace("_", " ")


def _range(values: Iterable[int]) -> str:
    found = sorted(set(values))
    return str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}"


def _caption(record: Record) -> str:
    settings = record["settings"]
    split = "" if settings["split"] == "test" else f" **{settings['split']} images,**"
    missing = record.get("units_missing", 0)
    partly = f" **Not finished: {missing} portions are missing.**" if missing else ""
    counts = _range(row["n_images"] for row in record["rows"])
    seeds = len(record["seeds"])
    drawn = "1 seed" if seeds == 1 else f"{seeds} seeds, drawn independently"
    return (
        f"{split} n = {counts} a cell ({drawn}), "
        f"± is half of the 95 % interval. `{record['command']}`, {record['date']}.{partly}"
    ).strip()
