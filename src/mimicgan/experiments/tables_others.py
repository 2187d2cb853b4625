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
    shown = ("guessed-0.3", "guessed", "clean", "n=1", "n=10", "true")
    places = [p for p in places_of(rows) if p[1] in shown]
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
        full = [row for row in rows if row["method"] == method and row["variant"][:2] != "n="]
        passes = [row.get("generator_passes_per_image", 0.0) for row in full]
        lines.append([*line, f"{sum(passes) / len(passes):.0f}"])
    theirs = (defence.PAPER.get(task, {}).get("mimicgan") for task, _ in places)
    cells = (NONE if number is None else f"{100 * number:.1f}" for number in theirs)
    lines.append(["*MimicGAN in the paper*", *cells, NONE])
    named = (f"clean, {v}" if v.startswith("n=") else words(task) for task, v in places)
    head = ["Accuracy, %", *named, "G passes / image"]
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
    """Each adaptive attack, on the universal and on the hardened restorer if there are two."""
    found = indexed(record["rows"])
    places = [p for p in places_of(record["rows"]) if not p[0].endswith("-hardened")]
    lines = []
    for task, variant in places:
        hardened = found.get((f"{task}-hardened", variant, "hardened"))
        line = [f"{words(task)}, {variant.replace('=', ' ')}"]
        line += [percent(found.get((task, variant, method))) for method in ("universal", "default")]
        lines.append([*line, percent(hardened or found.get((task, variant, "hardened")))])
    head = ["Accuracy, %", "universal", "default", "hardened"]
    return grid(head, lines) + "\n\n" + caption(record)


def universal_short(record: Record) -> str:
    """Figure 4a: accuracy under a universal perturbation, against its scale."""
    rows = record["rows"]
    found, methods = indexed(rows), methods_of(rows)
    lines = [
        [variant.replace("=", " "), *(percent(found.get((task, variant, m))) for m in methods)]
        for task, variant in places_of(rows)
    ]
    return grid(["Accuracy, %", *methods], lines) + "\n\n" + caption(record)


def bench(record: Record) -> str:
    """What each method costs, and a folder of many images."""
    rows = record["rows"]
    lines = [
        [
            row["method"],
            f"{row['seconds']:.1f}",
            number(row, "seconds_per_image", 4),
            number(row, "generator_passes_per_image", 0),
            str(row["peak_memory_mb"]),
        ]
        for row in rows
    ]
    head = ["Method", "s", "s / image", "G passes / image", "Peak memory, MB"]
    folder = next(row for row in rows if "accuracy" in row)
    first = {"accuracy": folder["accuracy_first"], "accuracy_ci95": folder["accuracy_first_ci95"]}
    threads = record["machine"]["threads"]
    return (
        f"{grid(head, lines)}\n\nThe folder took {folder['faster_than_algorithm_1']:.0f} times "
        f"less for an image than Algorithm 1. Accuracy: {percent(folder)} of all its images, "
        f"{percent(first)} of the first 100 (negative + blur; ± is half of the 95 % interval). "
        f"`{record['command']}`, {record['date']}, {threads} thread{'s' * (threads > 1)} of "
        f"{record['machine']['cpu']}."
    )


def prior_quality(record: Record) -> str:
    """What `mimicgan evaluate` says of a prior."""
    lines = []
    for row in record["rows"]:
        low, high = row.get("psnr_ci95", (0.0, 0.0))
        near = f"{row['psnr']:.2f} ± {(high - low) / 2:.2f}" if "psnr" in row else NONE
        cells = [near, number(row, "ssim", 3), percent(row) if "accuracy" in row else NONE]
        frechet = number(row, "frechet", 2)
        lines.append([row["variant"], *cells, frechet, str(row["n_images"])])
    head = ["Images", "PSNR, dB", "SSIM", "Accuracy, %", "Frechet distance", "n"]
    return grid(head, lines) + f"\n\n`{record['command']}`, {record['date']}."


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


def calibration(record: Record) -> str:
    """What the default method makes of damages and images that it cannot explain."""
    found = indexed(record["rows"])
    lines = []
    for task, variant in places_of(record["rows"]):
        seen, own = (found.get((task, variant, name)) for name in ("observed", "default"))
        cells = [percent(row) if row and "accuracy" in row else NONE for row in (seen, own)]
        cells += [number(row, "psnr", 2) for row in (seen, own)]
        flag = f"{100 * (1 - own['understood']):.0f}" if own and "understood" in own else NONE
        lines.append([words(task), words(variant), *cells, number(own, "misfit", 2), flag])
    head = [
        "Images",
        "Damage",
        "Observed, %",
        "Default, %",
        "Observed, dB",
        "Default, dB",
        "Misfit",
    ]
    return grid([*head, "Not understood, % of batches"], lines) + "\n\n" + caption(record)
