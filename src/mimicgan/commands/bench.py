"""``mimicgan bench``: what each method costs, measured in one run."""

import json
import resource
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.table import Table

import mimicgan
from mimicgan.commands.flags import ComputeFlags
from mimicgan.corruptions import corrupt
from mimicgan.data import fashion_mnist
from mimicgan.errors import UserError
from mimicgan.files import written_whole
from mimicgan.presets import DEFENSE_GAN
from mimicgan.pretrained import load_prior
from mimicgan.restore import Settings, restore

KINDS = {
    "default, 100 images": (Settings(), 100),
    "default, 25 images": (Settings(), 25),
    "Algorithm 1, 100 images": (Settings("mimicgan"), 100),
    "PGD, 100 images": (Settings("pgd"), 100),
    "Defense-GAN (200 x 10), 100 images": (Settings("mimicgan", mimic=DEFENSE_GAN), 100),
}
LATER = 10_000


@dataclass(frozen=True, kw_only=True)
class Bench(ComputeFlags):
    """Time the default method beside Algorithm 1, PGD and Defense-GAN on the same images.

    The methods take turns, --repeats times; medians are printed. Then the learnt damage is applied
    to 10,000 images more. Memory is the highest that the process had by then.

    Examples:
      mimicgan bench
      mimicgan bench --repeats 3 --out results/bench.json
    """

    repeats: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Turns of each method."""
    out: Path = Path("results/bench.json")
    """The result file."""

    def run(self) -> None:
        screen = self.screen()
        self.prepare()
        if self.repeats < 1:
            raise UserError(f"--repeats {self.repeats} measures nothing; give 1 or more")
        prior = load_prior("fashion-mnist")
        clean = fashion_mnist.sample().images[:100].float() / 255
        observed = corrupt("negative-blur", clean, torch.Generator().manual_seed(0))
        seconds: dict[str, list[float]] = {name: [] for name in KINDS}
        rows: dict[str, dict[str, Any]] = {}
        damage = None
        with screen.progress("bench", self.repeats * len(KINDS)) as advance:
            done = 0
            for turn in range(self.repeats):
                for name, (settings, count) in KINDS.items():
                    result = restore(observed[:count], prior, replace(settings, seed=turn))
                    damage = damage or result.damage
                    seconds[name].append(result.seconds)
                    rows[name] = {
                        "method": name,
                        "seconds": round(statistics.median(seconds[name]), 2),
                        "generator_passes_per_image": round(result.generator_passes / count, 1),
                        "peak_memory_mb": _peak(),
                    }
                    done += 1
                    advance(done, name)
        if damage is None:
            raise AssertionError("the default method comes first and always learns a damage")
        many = observed.repeat(LATER // len(observed), 1, 1, 1)
        started = time.perf_counter()
        restore(many, prior, damage=damage)
        rate = round(LATER / (time.perf_counter() - started))
        rows["later"] = {
            "method": f"default, {LATER} further images",
            "images_per_second": rate,
            "peak_memory_mb": _peak(),
        }
        table = Table("method", "s", "G passes / image", "peak MB", box=None)
        for row in rows.values():
            cost = row.get("seconds", f"{row.get('images_per_second')} images / s")
            passes = row.get("generator_passes_per_image", 0)
            table.add_row(row["method"], str(cost), str(passes), str(row["peak_memory_mb"]))
        screen.show(table)
        self._write(list(rows.values()))
        screen.result({"command": "bench", "result": str(self.out), "rows": list(rows.values())})

    def _write(self, rows: list[dict[str, Any]]) -> None:
        # Loads much that a bench does not time.
        from mimicgan.experiments.record import machine

        record = {
            "experiment": "bench",
            "settings": {name: asdict(settings) for name, (settings, _) in KINDS.items()},
            "repeats": self.repeats,
            "versions": {"mimicgan": mimicgan.__version__, "torch": torch.__version__},
            "machine": machine(),
            "rows": rows,
        }
        with written_whole(self.out) as partial:
            partial.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
