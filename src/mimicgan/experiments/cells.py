"""What the tables have in common: cells, names, captions."""

from collections.abc import Iterable
from typing import Any

from mimicgan.experiments.record import outdated, seeds_of
from mimicgan.experiments.unseen import CONTROL
from mimicgan.experiments.unseen_corruptions import STRENGTHS

Row = dict[str, Any]
Record = dict[str, Any]

NAMES = {
    "observed": "observed (nothing done)",
    "pgd": "PGD",
    "median": "median filter",
    "jpeg": "JPEG",
    "adversarial-training": "adversarial training",
    "defense-gan": "Defense-GAN",
    "cowboy": "Cowboy",
    "mimicgan-table-1": "Algorithm 1, Table 1 for each task",
    "mimicgan": "MimicGAN (Algorithm 1)",
    "default": "default (matched distributions)",
    "hardened": "restorer hardened for the classifier",
    "universal": "universal restorer, nothing learnt",
    "supervised": "supervised, true damage known",
    "known-corruption": "inversion, true damage known",
    "clean-inversion": "inversion of the clean image",
}
BOUNDS = ("supervised", "known-corruption", "clean-inversion")
NONE = "–"
OLD = "†"
"""Marks what was measured with earlier settings."""


def percent(row: Row | None) -> str:
    """Accuracy in percent and half of its 95 % interval."""
    if row is None:
        return NONE
    low, high = row["accuracy_ci95"]
    return f"{100 * row['accuracy']:.1f} ± {50 * (high - low):.1f}{OLD if outdated(row) else ''}"


def number(row: Row | None, key: str, digits: int) -> str:
    """A number of the row, or a dash where it does not apply."""
    return NONE if row is None or key not in row else f"{row[key]:.{digits}f}"


def grid(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def indexed(rows: list[Row]) -> dict[tuple[str, str, str], Row]:
    return {(row["task"], row["variant"], row["method"]): row for row in rows}


def places_of(rows: list[Row]) -> list[tuple[str, str]]:
    order = {strength: rank for rank, strength in enumerate(STRENGTHS)}
    places = dict.fromkeys((row["task"], row["variant"]) for row in rows)
    tasks = list(dict.fromkeys(task for task, _ in places))
    return sorted(places, key=lambda p: (tasks.index(p[0]), order.get(p[1], 0)))


def methods_of(rows: list[Row]) -> list[str]:
    there = {row["method"] for row in rows}
    return [*(name for name in NAMES if name in there), *sorted(there - set(NAMES))]


def name_of(method: str) -> str:
    name = NAMES.get(method, method)
    return f"*{name}*" if method in BOUNDS else name


def words(task: str) -> str:
    return "undamaged" if task == CONTROL else task.replace("_", " ").replace("-", " ")


def span(values: Iterable[int]) -> str:
    found = sorted(set(values))
    return str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}"


def caption(record: Record) -> str:
    settings = record["settings"]
    split = "" if settings["split"] == "test" else f" **{settings['split']} images,**"
    missing = record.get("units_missing", 0)
    partly = f" **Not finished: {missing} portions are missing.**" if missing else ""
    counts = span(row["n_images"] for row in record["rows"])
    seeds = {tuple(seeds_of(row) or record["seeds"]) for row in record["rows"]}
    dates = sorted({row["date"] for row in record["rows"] if "date" in row})
    older = f" Some rows were measured before, from {dates[0]} on." if dates else ""
    if any(outdated(row) for row in record["rows"]):
        older += f" {OLD} with earlier settings of the method."
    many = span(map(len, seeds))
    drawn = f"{many} seed{'s, drawn independently' * (many != '1')}"
    if len(seeds) > 1:
        drawn += "; not the same seeds in all cells"
    if "–" in counts:
        # The portions that are missing may be the harder ones.
        drawn += "; where n differs, so do the images"
    shown = any("accuracy" in row for row in record["rows"])
    interval = ", ± is half of the 95 % interval" * shown
    return (
        f"{split} n = {counts} a cell ({drawn}){interval}. "
        f"`{record['command']}`, {record['date']}.{older}{partly}"
    ).strip()
