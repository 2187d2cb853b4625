"""Runs an experiment: what is missing is measured, what is there is pooled and written."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mimicgan.errors import UserError
from mimicgan.experiments import units
from mimicgan.experiments.bench import Bench, load_bench
from mimicgan.experiments.cases import Case
from mimicgan.experiments.methods import METHODS
from mimicgan.experiments.options import Callback, ExperimentOptions, Progress
from mimicgan.experiments.record import (
    Measured,
    read_record,
    rows_of,
    with_earlier,
    write_record,
)
from mimicgan.experiments.units import Unit


@dataclass(frozen=True)
class Experiment:
    """A table of the paper, or of this project: damages and methods."""

    name: str
    cases: tuple[Case, ...]
    bench: Callable[[ExperimentOptions], Bench] = load_bench


def run(
    experiment: Experiment,
    options: ExperimentOptions,
    callback: Callback | None = None,
    bench: Bench | None = None,
) -> Path | None:
    """Do this share of the work, then write the result and return its path.

    None when other shares are not finished yet and ``options.partial`` is not set. Raises UserError
    for a method or a task that there is not, and where a result would be lost.
    """
    cases = chosen(experiment, options)
    with _threads(options.threads):
        bench = bench or experiment.bench(options)
        # A choice of settings on validation images must never pass for the result.
        name = experiment.name + ("" if options.split == "test" else f"-{options.split}")
        result = options.out / f"{name}.json"
        archive = options.out / "measurements" / f"{name}.jsonl"
        earlier = units.load_all(archive) if options.extend else {}
        if options.images > len(bench.images):
            raise UserError(
                f"there are only {len(bench.images)} images; give --images {len(bench.images)} or "
                "fewer"
            )
        wanted = units.units_of(cases, options)
        if not wanted:
            raise UserError(
                f"{options.images} images do not fill a portion; give --images "
                f"{min(case.batch or 1 for case in cases)} or more"
            )
        if result.exists() and not options.extend:
            refuse_loss(wanted, result)
        keys = {unit_id(unit): units.key_of(unit, bench, options) for unit in wanted}

        def path(unit: Unit) -> Path:
            return options.runs / experiment.name / f"{keys[unit_id(unit)]}.json"

        def known(unit: Unit) -> units.State | None:
            found = (units.load(path(unit)), earlier.get(keys[unit_id(unit)]))
            states = [state for state in found if state is not None]
            current = [state for state in states if state["code"] == units.code_of(unit)]
            old = states if options.trust_old_code else []
            return next(iter([*current, *old]), None)

        mine = share_of(wanted, [path(unit) for unit in wanted], options)
        missing = [unit for unit in mine if known(unit) is None]
        seconds: dict[str, list[float]] = defaultdict(list)
        for index, unit in enumerate(missing):
            started = time.perf_counter()
            units.save(path(unit), units.measure(unit, bench), unit)
            seconds[unit.method].append(time.perf_counter() - started)
            if callback is not None:
                done = len(mine) - len(missing) + index + 1
                left = _seconds_left(missing[index + 1 :], seconds)
                callback(Progress(done, len(mine), unit.label, left))
        found = [(unit, state) for unit in wanted if (state := known(unit)) is not None]
        if not found or (len(found) < len(wanted) and not options.partial):
            return None
        measured = [Measured(unit, units.measurement(state)) for unit, state in found]
        states = {keys[unit_id(unit)]: state for unit, state in found}
        # What another process added in the meantime stays.
        kept = units.load_all(archive) if options.extend else {}
        units.save_all(archive, kept | states)
        rows = rows_of(measured)
        if options.extend and result.exists():
            rows = with_earlier(rows, read_record(result), options.seeds)
        write_record(result, experiment.name, rows, options, bench, len(wanted) - len(found))
        return result


def refuse_loss(wanted: list[Unit], result: Path) -> None:
    """UserError when the file ``result`` has a row with more images than ``wanted`` measures."""
    planned: Counter[tuple[str, str, str]] = Counter()
    for unit in wanted:
        planned[unit.case.task, unit.case.variant, unit.method] += unit.stop - unit.start
    for row in read_record(result)["rows"]:
        if row["n_images"] > planned[row["task"], row["variant"], row["method"]]:
            raise UserError(
                f"{result} has more than this run would put in its place "
                f"({row['variant']}, {row['method']}: {row['n_images']} images); "
                "give --extend to add to it, or --out for another folder"
            )


def unit_id(unit: Unit) -> tuple[Any, ...]:
    """What tells the units of one experiment apart."""
    return unit.case.task, unit.case.variant, unit.method, unit.seed, unit.start


def chosen(experiment: Experiment, options: ExperimentOptions) -> tuple[Case, ...]:
    """The cases that the options ask for, with the methods that they ask for."""
    known = {name for case in experiment.cases for name in _names(case)}
    tasks = known if options.tasks is None else set(options.tasks)
    methods = set(METHODS) if options.methods is None else set(options.methods)
    _refuse_unknown("task", tasks, known)
    _refuse_unknown("method", methods, set(METHODS))
    cases = [
        replace(case, methods=tuple(name for name in case.methods if name in methods))
        for case in experiment.cases
        if _names(case) & tasks
    ]
    kept = tuple(case for case in cases if case.methods)
    if not kept:
        raise UserError(f"{experiment.name} has nothing of that kind; leave a filter out")
    return kept


def _names(case: Case) -> set[str]:
    return {case.task, case.variant, f"{case.task}/{case.variant}"}


def _refuse_unknown(what: str, asked: set[str], known: set[str]) -> None:
    wrong = sorted(asked - known)
    if wrong:
        plain = sorted(name for name in known if "/" not in name)
        raise UserError(f"no {what} {wrong[0]!r}; choose among: {', '.join(plain)}")


def share_of(wanted: list[Unit], paths: list[Path], options: ExperimentOptions) -> list[Unit]:
    """The units of this shard: dealt out in turn, method by method.

    Those that share a training stay together.
    """
    index, count = options.share()
    dealt: Counter[str] = Counter()
    owner: dict[Any, int] = {}
    mine = []
    seen: set[Path] = set()
    for unit, path in zip(wanted, paths, strict=True):
        if path in seen:
            continue
        seen.add(path)
        shared = METHODS[unit.method].shared_training and not unit.case.drawn_once
        group: Any = (unit.case.task, unit.case.variant, unit.method) if shared else path
        if group not in owner:
            owner[group] = dealt[unit.method] % count
            dealt[unit.method] += 1
        if owner[group] == index - 1:
            mine.append(unit)
    return mine


def _seconds_left(rest: list[Unit], seconds: dict[str, list[float]]) -> float | None:
    known = [value for values in seconds.values() for value in values]
    if not known:
        return None
    overall = sum(known) / len(known)
    means = {method: sum(values) / len(values) for method, values in seconds.items() if values}
    return sum(means.get(unit.method, overall) for unit in rest)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
