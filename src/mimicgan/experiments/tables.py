"""The tables of README.md and PAPER.md, each made from one result file."""

from collections.abc import Callable, Iterable

from mimicgan.experiments import defence
from mimicgan.experiments import robust_classification as robust
from mimicgan.experiments.cells import (
    NONE,
    Record,
    caption,
    grid,
    indexed,
    methods_of,
    name_of,
    number,
    percent,
    places_of,
    span,
    words,
)
from mimicgan.experiments.tables_others import (
    accuracies,
    adaptive_short,
    bench,
    calibration,
    defence_short,
    prior_quality,
    recovery_long,
    recovery_short,
    universal_short,
)
from mimicgan.experiments.unseen import CONTROL, LISTED
from mimicgan.experiments.unseen_corruptions import STRENGTHS

TASKS = {
    "binary": "Binary",
    "dropped": "70 % dropped",
    "negative-blur": "Negative + blur",
    "clean": "Undamaged",
}


def robust_short(record: Record) -> str:
    """Table 3b: the readings nearest to the paper's, ours beside the paper's."""
    rows = record["rows"]
    readings = robust.paper_readings(rows)
    found = indexed(rows)
    head = ["Accuracy, %"]
    for task, variant in readings.items():
        head += [f"{TASKS[task]} (`{variant}`)", "paper"]
    clean = ("clean", "clean", "observed") in found
    if clean:
        head += [TASKS["clean"], "paper"]
    lines = []
    for method in methods_of(rows):
        line = [name_of(method)]
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
    return grid(head, lines) + "\n\n" + caption(record)


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
    return grid([*head, "s / image", "G passes / image", "n"], lines) + "\n\n" + caption(record)


def unseen_summary(record: Record) -> str:
    """What the unseen damages say about the default method, in sentences."""
    found, better, total = indexed(record["rows"]), 0, 0
    learnt_more = compared = 0
    worst: tuple[float, str] | None = None
    lost = flagged_lost = kept = flagged_kept = 0
    for task, variant in places_of(record["rows"]):
        own = found.get((task, variant, "default"))
        seen = found.get((task, variant, "observed"))
        if own is None or seen is None:
            continue
        gain = own["accuracy"] - seen["accuracy"]
        if worst is None or gain < worst[0]:
            worst = (gain, f"{words(task)}, {variant}")
        flagged = own.get("understood", 1.0) < 0.5
        if gain < 0:
            lost, flagged_lost = lost + 1, flagged_lost + flagged
        else:
            kept, flagged_kept = kept + 1, flagged_kept + flagged
        if variant == "middle" and task != CONTROL:
            pgd = found.get((task, variant, "pgd"))
            total += 1
            better += gain > 0 and (pgd is None or own["accuracy"] > pgd["accuracy"])
            if (plain := found.get((task, variant, "universal"))) is not None:
                compared += 1
                learnt_more += own["accuracy"] > plain["accuracy"]
    if worst is None:
        return "The default method was not measured."
    by_pgd = any(row["method"] == "pgd" for row in record["rows"])
    rivals = "both the observation and PGD" if by_pgd else "the observation (PGD was not run)"
    beside = ""
    if compared:
        beside = (
            ", and than the universal restorer, which learns nothing from the observations, on "
            f"{learnt_more} of {compared}"
        )
    return (
        f"At the middle strength the default method is more accurate than {rivals} "
        f"on {better} of {total} damages{beside}. Over the {lost + kept} damages and strengths "
        "that were run its worst change "
        f"against the observation is {100 * worst[0]:+.1f} points ({worst[1]}). It is below the "
        f"observation in {lost} cases, {flagged_lost} of which it reports as not understood; it "
        f"reports so {flagged_kept} of the {kept} others.\n\n{caption(record)}"
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
    found = indexed(rows)
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    counts = sorted({row["observations"] for row in rows})
    methods = methods_of(rows)
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
        lines.append([*line, span(r["n_images"] for r in rows if r["observations"] == count)])
    return grid([*head, "n"], lines) + "\n\n" + caption(record)


def sweep(record: Record) -> str:
    """Accuracy of Algorithm 1 under each of its settings."""
    rows = record["rows"]
    found = indexed(rows)
    places = places_of(rows)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = [
        [method.removeprefix("mimicgan: "), *(percent(found.get((*p, method))) for p in places)]
        for method in methods
    ]
    return grid(["Accuracy, %", *(f"`{v}`" for _, v in places)], lines) + "\n\n" + caption(record)


TABLES: dict[str, tuple[str, Callable[[Record], str]]] = {
    "robust-classification": (robust.NAME, robust_short),
    "robust-classification-all": (robust.NAME, robust_long),
    "unseen-summary": ("unseen", unseen_summary),
    "unseen": ("unseen", unseen_middle),
    "unseen-all": ("unseen", unseen_long),
    "observations": ("observations", observations),
    "sweep": ("sweep-validation", sweep),
    "calibration": ("calibration-validation", calibration),
    "defence": (defence.NAME, defence_short),
    "defence-all": (defence.NAME, accuracies),
    "adaptive": ("adaptive", adaptive_short),
    "adaptive-all": ("adaptive", accuracies),
    "universal": ("universal", universal_short),
    "universal-perturbation": ("universal", accuracies),
    "bench": ("bench", bench),
    "prior": ("prior-fashion-mnist", prior_quality),
    "prior-plain": ("prior-plain", prior_quality),
    "prior-faces": ("prior-faces", prior_quality),
    "recovery": ("recovery", recovery_short),
    "recovery-all": ("recovery", recovery_long),
}
"""Name between the markers -> experiment, and what makes the table of its record."""


def _unseen(record: Record, strengths: Iterable[str]) -> str:
    strengths, rows = tuple(strengths), record["rows"]
    found, methods = indexed(rows), methods_of(rows)
    lines = []
    for task, variant in places_of(rows):
        if variant not in (*strengths, LISTED):
            continue
        own = found.get((task, variant, "default"))
        told = variant == LISTED or (len(strengths) > 1 and task != CONTROL)
        name = words(task) + (f", {variant}" if told else "")
        cells = [percent(found.get((task, variant, method))) for method in methods]
        flag = NONE
        if own is not None and "understood" in own:
            flag = f"{100 * (1 - own['understood']):.0f}"
        misfit = number(own, "misfit", 2)
        lines.append([name, *cells, number(own, "psnr", 2), misfit, flag])
    head = ["Damage", *methods, "PSNR of default, dB", "misfit", "not understood, % of batches"]
    return grid(head, lines) + "\n\n" + caption(record)
