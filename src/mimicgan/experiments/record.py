"""The result file of an experiment: rows pooled over seeds, and how they came about."""

import json
import os
import platform
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mimicgan
from mimicgan.experiments.bench import Bench
from mimicgan.experiments.methods import METHODS
from mimicgan.experiments.options import ExperimentOptions
from mimicgan.experiments.units import Measurement, Unit
from mimicgan.files import written_whole
from mimicgan.metrics import wilson

Row = dict[str, Any]
PLACES = {"out", "runs", "data_dir", "shard", "threads", "trust_old_code", "extend"}
"""Options that say where and how the work was done, not what was done."""


@dataclass(frozen=True)
class Measured:
    """A unit with its outcome."""

    unit: Unit
    outcome: Measurement


def rows_of(measured: list[Measured]) -> list[Row]:
    """One row a task, variant and method, in the order of their first units; the seeds pooled."""
    groups: dict[tuple[str, str, str], list[Measured]] = defaultdict(list)
    for item in sorted(measured, key=lambda item: (item.unit.seed, item.unit.start)):
        groups[item.unit.case.task, item.unit.case.variant, item.unit.method].append(item)
    order = dict.fromkeys((m.unit.case.task, m.unit.case.variant, m.unit.method) for m in measured)
    return [_row(key, groups[key]) for key in order]


def _row(key: tuple[str, str, str], items: list[Measured]) -> Row:
    task, variant, method = key
    outcomes = [item.outcome for item in items]
    total = sum(o.images for o in outcomes)
    row: Row = {
        "task": task,
        "variant": variant,
        "method": method,
        **items[0].unit.case.extra,
        "seeds": sorted({item.unit.seed for item in items}),
        "n_images": total,
        **_accuracy(items),
        "psnr": round(sum(o.psnr_sum for o in outcomes) / total, 4),
        "ssim": round(sum(o.ssim_sum for o in outcomes) / total, 5),
        "seconds_per_image": round(sum(o.seconds for o in outcomes) / total, 6),
        "generator_passes_per_image": round(sum(o.generator_passes for o in outcomes) / total, 3),
        "batches": len(items),
    }
    features = [o.feature_sum for o in outcomes if o.feature_sum is not None]
    if features:
        row["feature_distance"] = round(sum(features) / total, 5)
    if len(items) > 1:
        means = np.array([o.psnr_sum / o.images for o in outcomes])
        row["psnr_batch_sd"] = round(float(means.std(ddof=1)), 4)
    misfits = [o.misfit for o in outcomes if o.misfit is not None]
    if misfits:
        row["misfit"] = round(sum(misfits) / len(misfits), 4)
        row["misfit_max"] = round(max(misfits), 4)
    judged = [o.understood for o in outcomes if o.understood is not None]
    if judged:
        row["understood"] = round(sum(judged) / len(judged), 4)
    return row


def _accuracy(items: list[Measured]) -> Row:
    known = [(item.unit.seed, item.outcome) for item in items]
    counts = [(str(seed), o.correct, o.images) for seed, o in known if o.correct is not None]
    if not counts:
        return {}
    interval = wilson(sum(c for _, c, _ in counts), sum(n for *_, n in counts))
    by_seed: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for seed, correct, images in counts:
        by_seed[seed][0] += correct
        by_seed[seed][1] += images
    return {
        "accuracy": round(interval.value, 6),
        "accuracy_ci95": [round(interval.low, 6), round(interval.high, 6)],
        "accuracy_by_seed": {seed: round(c / n, 6) for seed, (c, n) in by_seed.items()},
    }


def with_earlier(rows: list[Row], record: dict[str, Any], seeds: tuple[int, ...]) -> list[Row]:
    """``rows``, and those of an earlier record that these do not replace, each with its origin.

    An earlier row stays where there is none now, or where it is of more images, has all ``seeds``
    and is not of earlier settings: the rows of a table should be of the same draws.
    """
    kept = {_place(row): row for row in rows}
    origin = {"date": record["date"], "command": record["command"]}
    origin["weights"] = record["settings"]["weights"]
    for row in with_own_settings(record)["rows"]:
        # What was kept before says for itself where it comes from.
        before = row if "date" in row else origin | row
        now = kept.get(_place(row))
        same = set(seeds) <= set(seeds_of(row)) and not outdated(before)
        if now is None or (same and row["n_images"] > now["n_images"]):
            kept[_place(row)] = before
    order = dict.fromkeys([*map(_place, record["rows"]), *map(_place, rows)])
    return [kept[place] for place in order]


def outdated(row: Row) -> bool:
    """Whether a row was measured with other settings of its method than the present ones."""
    method = METHODS.get(row.get("method", ""))
    if method is None or "settings" not in row:
        return False
    now: Any = json.loads(json.dumps(method.settings(), default=str))
    return bool(row["settings"] != now)


def with_own_settings(record: dict[str, Any]) -> dict[str, Any]:
    """``record`` with the settings of its run in the rows of that run, as kept rows have theirs."""
    methods = record["settings"].get("methods", {})
    rows = [
        {**row, "settings": methods[row["method"]]}
        if "date" not in row and methods.get(row["method"])
        else row
        for row in record["rows"]
    ]
    return {**record, "rows": rows}


def seeds_of(row: Row) -> list[int]:
    """The seeds of a row's images."""
    return row.get("seeds") or [int(seed) for seed in row.get("accuracy_by_seed", {})]


def _place(row: Row) -> tuple[str, str, str]:
    return row["task"], row["variant"], row["method"]


def write_record(
    path: Path,
    experiment: str,
    rows: list[Row],
    options: ExperimentOptions,
    bench: Bench,
    units_missing: int = 0,
) -> None:
    """Write results/<experiment>.json whole; what does not apply is left out."""
    used = list(dict.fromkeys(row["method"] for row in rows))
    chosen = {k: v for k, v in asdict(options).items() if k not in PLACES | {"seeds", "partial"}}
    record: dict[str, Any] = {
        "experiment": experiment,
        "settings": {
            **{key: value for key, value in chosen.items() if value is not None},
            "methods": {name: METHODS[name].settings() for name in used},
            "weights": bench.weights,
            "note": "the images of the seeds are drawn independently and may overlap; "
            "the interval is Wilson's on the pooled count",
        },
        "seeds": list(options.seeds),
        **origin(command(experiment, options)),
        "rows": rows,
    }
    if units_missing:
        record["units_missing"] = units_missing
    with written_whole(path) as partial:
        text = json.dumps(record, indent=1, allow_nan=False, default=str)
        partial.write_text(text + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """A result file."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def command(experiment: str, options: ExperimentOptions) -> str:
    """The command that repeats the experiment: options unlike the default, without places."""
    default = asdict(ExperimentOptions())
    chosen = {k: v for k, v in asdict(options).items() if k not in PLACES and v != default[k]}
    return command_line(["reproduce", experiment], chosen)


def command_line(words: Sequence[str], options: Mapping[str, Any]) -> str:
    """``mimicgan``, the words and the options that are given (not None), as one types them."""
    line = ["mimicgan", *words]
    for name, value in options.items():
        if value is not None:
            flag = f"--{name.replace('_', '-')}"
            line += [flag] if value is True else [flag, *map(str, _listed(value))]
    return shlex.join(line)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]


def origin(command: str) -> dict[str, Any]:
    """What every result file says of how it came about: versions, machine, date and command."""
    return {
        "versions": {
            "mimicgan": mimicgan.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
    }


def machine() -> dict[str, Any]:
    """What speeds depend on; no host name and no paths."""
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
