"""The tables of attacks and of faces."""

from mimicgan.experiments import defence
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
    words,
)


def defence_short(record: Record) -> str:
    """Table 4b in the reading nearest to it: guessed labels, eps 0.3; the paper's in brackets."""
    rows = record["rows"]
    found = indexed(rows)
    places = [p for p in places_of(rows) if p[1] in ("guessed-0.3", "guessed", "clean", "true")]
    # Where an attack was made with guessed labels, those with true ones are in the long table.
    guessed = {task for task, variant in places if variant.startswith("guessed")}
    places = [p for p in places if p[1] != "true" or p[0] not in guessed]
    lines = []
    for method in methods_of(rows):
        line = [name_of(method)]
        for task, variant in places:
            cell = percent(found.get((task, variant, method)))
            paper = defence.PAPER.get(task, {}).get(method)
            line.append(cell if paper is None else f"{cell} ({100 * paper:.1f})")
        lines.append(line)
    theirs = (defence.PAPER.get(task, {}).get("mimicgan") for task, _ in places)
    cells = (NONE if number is None else f"{100 * number:.1f}" for number in theirs)
    lines.append(["*MimicGAN in the paper*", *cells])
    head = ["Accuracy, %", *(words(task) if task != "clean" else "clean" for task, _ in places)]
    return grid(head, lines) + "\n\n" + caption(record)


def accuracies(record: Record) -> str:
    """Every damage or attack, every method: accuracy, and what it cost."""
    lines = [
        [
            f"{row['task']} `{row['variant']}`",
            row["method"],
            percent(row),
            number(row, "psnr", 2),
            number(row, "seconds_per_image", 3),
            number(row, "generator_passes_per_image", 0),
            str(row["n_images"]),
        ]
        for row in record["rows"]
    ]
    head = ["Damage", "Method", "Accuracy, %", "PSNR, dB", "s / image", "G passes / image", "n"]
    return grid(head, lines) + "\n\n" + caption(record)


def adaptive_short(record: Record) -> str:
    """Each adaptive attack and eps: what is left of the restorer that it was made against."""
    found = indexed(record["rows"])
    places = [p for p in places_of(record["rows"]) if not p[0].endswith("-hardened")]
    lines = [
        [
            f"{words(task)}, {variant.replace('=', ' ')}",
            percent(found.get((task, variant, "universal"))),
            percent(found.get((f"{task}-hardened", variant, "hardened"))),
        ]
        for task, variant in places
    ]
    head = ["Accuracy, %, of the restorer that is attacked", "universal", "hardened"]
    return grid(head, lines) + "\n\n" + caption(record)


def recovery_short(record: Record) -> str:
    """Mean PSNR of the six tasks on faces."""
    rows = record["rows"]
    found = indexed(rows)
    places = [p for p in places_of(rows) if p[0] == p[1]]
    lines = [
        [name_of(m), *(number(found.get((*p, m)), "psnr", 2) for p in places)]
        for m in methods_of(rows)
    ]
    head = ["PSNR, dB", *(words(task) for task, _ in places)]
    return grid(head, lines) + "\n\n" + caption(record)


def recovery_long(record: Record) -> str:
    """Every task and method on faces, with all measures."""
    lines = [
        [
            f"`{row['variant']}`",
            row["method"],
            number(row, "psnr", 2),
            number(row, "ssim", 3),
            number(row, "feature_distance", 4),
            number(row, "misfit", 2),
            number(row, "seconds_per_image", 2),
            str(row["n_images"]),
        ]
        for row in record["rows"]
    ]
    head = ["Damage", "Method", "PSNR, dB", "SSIM", "Feature distance", "Misfit", "s / image", "n"]
    return grid(head, lines) + "\n\n" + caption(record)
