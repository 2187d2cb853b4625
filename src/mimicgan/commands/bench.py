"""``mimicgan bench``: what each method costs, measured in one run."""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import tyro
from rich.table import Table
from torch import Tensor

from mimicgan.commands.flags import ComputeFlags, check_result
from mimicgan.commands.sources import invented
from mimicgan.corruptions import corrupt
from mimicgan.data import fashion_mnist
from mimicgan.errors import UserError
from mimicgan.files import written_whole
from mimicgan.image_files import read_images, write_images
from mimicgan.images import to_internal
from mimicgan.learnt import Damage
from mimicgan.metrics import accuracy, wilson
from mimicgan.presets import DEFENSE_GAN
from mimicgan.pretrained import load_classifier, load_prior
from mimicgan.prior import Prior
from mimicgan.restore import Settings, restore

CLOTHES, FACES = "fashion-mnist", "faces"
KINDS = {
    "default, 100 images": (Settings(), 100, CLOTHES),
    "default, 25 images": (Settings(), 25, CLOTHES),
    "Algorithm 1, 100 images": (Settings("mimicgan"), 100, CLOTHES),
    "PGD, 100 images": (Settings("pgd"), 100, CLOTHES),
    "Defense-GAN (200 x 10), 100 images": (Settings("mimicgan", mimic=DEFENSE_GAN), 100, CLOTHES),
    "default, 25 generated faces": (Settings(), 25, FACES),
}
FIRST = 100
"""Images of the folder whose accuracy is told apart: those of one batch."""


@dataclass(frozen=True, kw_only=True)
class Bench(ComputeFlags):
    """Time the default method beside Algorithm 1, PGD and Defense-GAN on the same images, and alone
    on faces that their prior invents.

    The methods take turns, --repeats times; medians are printed. Then as many further images as the
    folder has are restored by the damage that the default method learnt, and `mimicgan restore
    --group-by none` does the folder, damaged test images, from start to end in a process of its
    own. Memory is the highest that the process had by then.

    Examples:
      mimicgan bench
      mimicgan bench --repeats 3 --out results/bench.json
      mimicgan bench --folder 1000
    """

    repeats: Annotated[int, tyro.conf.arg(metavar="INT")] = 1
    """Turns of each method."""
    folder: Annotated[int, tyro.conf.arg(metavar="INT")] = 10_000
    """Images in the folder, test images of Fashion-MNIST (where that is not installed, the shipped
    500 of them again and again)."""
    out: Path = Path("results/bench.json")
    """The result file."""

    def run(self) -> None:
        screen = self.screen()
        self.prepare()
        if self.repeats < 1:
            raise UserError(f"--repeats {self.repeats} measures nothing; give 1 or more")
        if not FIRST <= self.folder <= 10_000:
            raise UserError(f"--folder {self.folder} makes no sense; give {FIRST} to 10000")
        check_result(self.out)
        priors = {name: load_prior(name) for name in (CLOTHES, FACES)}
        clean = fashion_mnist.sample().images[:100].float() / 255
        faces = invented(priors[FACES], 25, self.repeats)
        generator = torch.Generator().manual_seed(0)
        observed = {
            CLOTHES: corrupt("negative-blur", clean, generator),
            FACES: corrupt("negative", faces, generator),
        }
        seconds: dict[str, list[float]] = {name: [] for name in KINDS}
        rows: dict[str, dict[str, Any]] = {}
        learnt: Damage | None = None
        with screen.progress("bench", self.repeats * len(KINDS) + 2) as advance:
            damaged, labels, distinct = self._damaged()
            # First: a process that is started counts the memory of this one as its own.
            folder = self._folder(priors[CLOTHES], damaged, labels, distinct)
            done = 1
            advance(done, "folder")
            for turn in range(self.repeats):
                for name, (settings, count, kind) in KINDS.items():
                    y = observed[kind][:count]
                    result = restore(y, priors[kind], replace(settings, seed=turn))
                    learnt = learnt or result.damage
                    seconds[name].append(result.seconds)
                    middle = statistics.median(seconds[name])
                    rows[name] = {
                        "method": name,
                        "n_images": count,
                        "seconds": round(middle, 2),
                        "seconds_per_image": middle / count,
                        "generator_passes_per_image": round(result.generator_passes / count, 1),
                        "peak_memory_mb": _peak(),
                    }
                    done += 1
                    advance(done, name)
            further = restore(damaged, priors[CLOTHES], damage=learnt)
            rows["further"] = {
                "method": f"{len(damaged)} further images, damage learnt before",
                "n_images": len(damaged),
                "seconds": round(further.seconds, 2),
                "seconds_per_image": further.seconds / len(damaged),
                "peak_memory_mb": _peak(),
            }
            advance(done + 1, "further images")
        slow = rows["Algorithm 1, 100 images"]["seconds_per_image"]
        rows["folder"] = folder | {
            "faster_than_algorithm_1": round(slow / folder["seconds_per_image"], 1)
        }
        table = Table("method", "s", "s / image", "G passes / image", "peak MB", box=None)
        for row in rows.values():
            passes = row.get("generator_passes_per_image", "")
            per_image = f"{row['seconds_per_image']:.4f}"
            cost = (str(row["seconds"]), per_image, str(passes), str(row["peak_memory_mb"] or ""))
            table.add_row(row["method"], *cost)
        screen.show(table)
        screen.say(
            "The folder took {faster_than_algorithm_1} times less for an image than Algorithm 1; "
            "accuracy {accuracy:.1%} of all, {accuracy_first:.1%} of the first 100.".format(
                **rows["folder"]
            )
        )
        self._write(list(rows.values()))
        screen.result({"command": "bench", "result": str(self.out), "rows": list(rows.values())})

    def _damaged(self) -> tuple[Tensor, Tensor, int]:
        """Damaged test images (n, c, h, w) in [0, 1], their labels (n,), how many are distinct."""
        try:
            fashion_mnist.find()
        except UserError:
            data = fashion_mnist.sample()
        else:
            data = fashion_mnist.load("test")
        index = torch.arange(self.folder) % len(data.images)
        clean, labels = data.images[index].float() / 255, data.labels[index]
        damaged = corrupt("negative-blur", clean, torch.Generator().manual_seed(1))
        return damaged, labels, min(self.folder, len(data.images))

    def _folder(
        self, prior: Prior, damaged: Tensor, labels: Tensor, distinct: int
    ) -> dict[str, Any]:
        """The command from start to end on a folder of pictures, and what came out of it."""
        with TemporaryDirectory() as place:
            source, out = Path(place, "in"), Path(place, "out")
            source.mkdir()
            names = [f"{k:05}.png" for k in range(len(damaged))]
            write_images(source, names, damaged)
            words = [sys.executable, "-m", "mimicgan", "restore", str(source), str(out)]
            words += ["--group-by", "none", "--json", "--quiet"]
            words += ["--threads", str(torch.get_num_threads())]
            started = time.perf_counter()
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - started
            if done.returncode:
                raise UserError(f"mimicgan restore failed: {done.stderr.strip()}; run it by itself")
            images = read_images(out, prior.image_shape).images
        classifier = load_classifier("fashion-mnist")
        with torch.no_grad():
            parts = [classifier(to_internal(part)) for part in torch.split(images, 1000)]
        logits = torch.cat(parts)
        every, first = accuracy(logits, labels), accuracy(logits[:FIRST], labels[:FIRST])
        # Images that come again and again make an interval no narrower.
        once = wilson(round(every.value * distinct), distinct)
        return {
            "method": f"default, folder of {self.folder} images",
            "n_images": self.folder,
            "seconds": round(seconds, 2),
            "seconds_per_image": seconds / self.folder,
            "peak_memory_mb": _peak(children=True),
            "accuracy": every.value,
            "accuracy_ci95": [once.low, once.high],
            "distinct_images": distinct,
            "accuracy_first": first.value,
            "accuracy_first_ci95": [first.low, first.high],
        }

    def _write(self, rows: list[dict[str, Any]]) -> None:
        # Loads much that a bench does not time.
        from mimicgan.experiments.record import command_line, origin

        chosen = {"repeats": self.repeats, "folder": self.folder, "threads": self.threads}
        record = {
            "experiment": "bench",
            "settings": {name: asdict(settings) for name, (settings, *_) in KINDS.items()},
            "repeats": self.repeats,
            "seeds": list(range(self.repeats)),
            **origin(command_line(["bench"], chosen)),
            "rows": rows,
        }
        with written_whole(self.out) as partial:
            partial.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")


def _peak(*, children: bool = False) -> int | None:
    """Highest memory in MB so far, of this process or of those it waited for; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    # In bytes on macOS, in thousands of them elsewhere.
    return resource.getrusage(who).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)
