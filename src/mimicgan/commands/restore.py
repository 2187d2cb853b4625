"""``mimicgan restore``: clean images from images that share one unknown damage."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from torch import Tensor

from mimicgan.commands.flags import INTEGER, PATH, PriorFlags
from mimicgan.commands.report import write_report
from mimicgan.commands.screen import Advance, Screen
from mimicgan.commands.sources import images_of, inputs_of, written_names
from mimicgan.commands.summary import DAMAGE, OVERVIEW, REPORT, write_summary
from mimicgan.engine import EngineOf
from mimicgan.errors import UserError
from mimicgan.files import output_folder, written_whole
from mimicgan.image_files import write_like
from mimicgan.images import to_user
from mimicgan.job import run_job
from mimicgan.learnt import Damage
from mimicgan.mimic import Step
from mimicgan.overview import grid
from mimicgan.predict import any_classifier, predictions
from mimicgan.prior import Prior
from mimicgan.restore import Restoration, Settings, restore

PREDICTIONS = "predictions.csv"


@dataclass(frozen=True, kw_only=True)
class Restore(PriorFlags):
    """Restore images that were all damaged in the same unknown way (some 25 are enough).

    OUT gets the restored images under the names of IN, report.json, overview.png and, where a
    damage was learnt, damage.png; it appears whole or not at all. Pictures are made to fit the
    prior's size; arrays must fit it.

    Examples:
      mimicgan restore damaged restored
      mimicgan restore 'scans/*.png' restored --prior my-prior --seed 3
      mimicgan restore damaged.npy restored --method mimicgan --mimic.iterations 30
      mimicgan restore day1 restored1 --save-damage camera.safetensors
      mimicgan restore day2 restored2 --damage camera.safetensors
      mimicgan restore archive restored --group-by folder
      mimicgan restore damaged restored --watch preview.png
      mimicgan restore archive restored --group-by folder --engine ray --address auto
      mimicgan restore damaged restored --classify my-classifier.pt2
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """A folder of images, a pattern in quotes, a .npy, .npz or IDX file, or the word sample."""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """A new folder for the restored images."""
    count: Annotated[int | None, INTEGER] = None
    """Only the first so many images."""
    overwrite: bool = False
    """Replace OUT (and the file of --save-damage) if it exists."""
    save_damage: Annotated[Path | None, PATH] = None
    """Write the learnt damage and its restorer to this file (method auto)."""
    watch: Annotated[Path | None, PATH] = None
    """Rewrite this picture (.png) every few seconds while the restoration builds up."""
    damage: Annotated[Path | None, PATH] = None
    """Use the damage that --save-damage wrote, for new images (even one) of the same source."""
    group_by: Annotated[
        Literal["folder", "prefix", "none"] | None, tyro.conf.arg(metavar="folder|prefix|none")
    ] = None
    """For large folders, subfolders included: learn one damage for each folder, for each prefix of
    the names, or for all; apply it chunk by chunk into OUT. Killed at any moment, the same command
    goes on where it was."""
    engine: Literal["here", "ray"] = "here"
    """With --group-by: work in this process, or by Ray on all processors, 256 pictures at a time
    on each (with --threads N on N of them). Other machines need no shared folder."""
    address: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT|auto")] = None
    """With --engine ray: a cluster that is running, instead of this machine alone."""
    classify: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """Also write predictions.csv, what a classifier says before and after: fashion-mnist, or your
    own .pt2 (torch.export), TorchScript .pt or .onnx file, images -> logits."""
    classify_range: tuple[float, float] = (0.0, 1.0)
    """Range of the images that your own classifier takes: 0 1, or -1 1."""
    strict: bool = False
    """With --group-by: stop at a file that cannot be read instead of leaving it out."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)

    @property
    def after_interrupt(self) -> str:
        if self.group_by is not None:
            return "what is done stays done; run the same again to go on"
        return super().after_interrupt

    def run(self) -> None:
        screen = self.screen()
        device = self.prepare()
        self._refuse_flags()
        self._refuse_engine()
        if self.group_by is not None:
            self._job(screen, self.load(device))
            return
        with output_folder(self.out, overwrite=self.overwrite, inputs=inputs_of(self.source)) as to:
            prior = self.load(device)
            found = images_of(self.source, prior.image_shape, self.count)
            self._refuse_names(written_names(found))
            for note in found.notes:
                screen.say(note)
            known = self._known_damage(prior)
            model = None
            if self.classify is not None:
                model = any_classifier(self.classify, prior, self.classify_range)
            total = None if known else expected_steps(self.settings, len(found.images))
            with screen.progress(f"restoring {len(found.images)} images", total) as advance:
                result = restore(
                    found.images.to(device),
                    prior,
                    self.settings,
                    damage=known,
                    callback=watched(self.watch, found.images, shown(advance)),
                )
            write_like(to, found, result.images)
            if model is not None:
                text = predictions(model, found.names, found.images, result.images)
                (to / PREDICTIONS).write_text(text, encoding="utf-8", errors="backslashreplace")
            facts = write_summary(to, found, result, prior, self.source)
            self._save(result, to)
        if result.understood is False:
            screen.warn(f"the damage was not understood: {facts['message']}")
        screen.say(f"{len(found.images)} images restored in {self.out} ({result.seconds:.1f} s)")
        short = {key: value for key, value in facts.items() if key != "inputs"}
        screen.result({"command": "restore", "out": self.out, **short})

    def _job(self, screen: Screen, prior: Prior) -> None:
        if self.group_by is None:
            raise AssertionError("run looks first")
        with screen.progress("restoring", None) as advance:
            done = run_job(
                Path(self.source),
                Path(self.out),
                prior,
                self.settings,
                group_by=self.group_by,
                strict=self.strict,
                engine=self._engine(),
                callback=lambda at, total, group: advance(at, f"{at}/{total} {group}"),
            )
        limit = self.settings.match.misfit_limit
        for group, misfit in done.misfits.items():
            if misfit is not None and misfit > limit:
                screen.warn(f"the damage of {group} was not understood (misfit {misfit:.2f})")
        for name, reason in list(done.bad.items())[:20]:
            screen.warn(f"left out: {reason or name}")
        facts = {"command": "restore", "out": self.out, **asdict(done)}
        with written_whole(Path(self.out) / REPORT) as partial:
            write_report(partial, facts)
        screen.say(f"{done.images} images restored in {self.out}, {len(done.bad)} left out")
        screen.result(facts)

    def _engine(self) -> EngineOf | None:
        if self.engine == "here":
            return None
        from mimicgan.adapters.ray import on_ray

        return on_ray(self.address, self.threads or 1)

    def _refuse_engine(self) -> None:
        if self.engine == "ray" and self.group_by is None:
            raise UserError("--engine ray is for large folders; add --group-by folder")
        if self.engine == "ray" and self.device == "cuda":
            raise UserError("--engine ray computes on processors; leave --device out")
        if self.address is not None and self.engine != "ray":
            raise UserError("--address is that of a Ray cluster; add --engine ray")

    def _refuse_flags(self) -> None:
        """Refuse now what could not be written after a long run."""
        others = (self.count, self.damage, self.save_damage, self.classify, self.watch)
        if self.group_by is not None and (self.overwrite or any(v is not None for v in others)):
            raise UserError(
                "--group-by goes without --count, --damage, --save-damage, --classify, --watch "
                "and --overwrite; leave them out"
            )
        if self.strict and self.group_by is None:
            raise UserError("--strict is for --group-by; without it every bad file is an error")
        if self.settings.batch < 1:
            raise UserError(f"--batch {self.settings.batch} makes no sense; give 1 or more")
        if self.damage is not None and self.settings.method != "auto":
            raise UserError("--damage is for --method auto; leave one of the two out")
        if self.watch is not None and (self.watch.suffix.lower() != ".png" or self.watch.is_dir()):
            raise UserError(f"--watch {self.watch} must be a file called something.png")
        target = self.save_damage
        if target is None:
            return
        if self.settings.method != "auto" or self.damage is not None:
            raise UserError("--save-damage needs a fit by --method auto; leave one of the two out")
        if target.is_dir() or (target.exists() and not self.overwrite):
            raise UserError(f"{target} exists; choose another file or replace it with --overwrite")
        if not self._inside_out(target):
            # Fails now rather than after a long run.
            with tempfile.TemporaryFile(dir=target.resolve().parent):
                pass
        if target.resolve() in [path.resolve() for path in inputs_of(self.source)]:
            raise UserError(f"{target} is an input; choose another file for the damage")

    def _refuse_names(self, names: set[str]) -> None:
        taken = {REPORT, OVERVIEW, DAMAGE, PREDICTIONS}
        if self.save_damage is not None and self._inside_out(self.save_damage):
            taken.add(self.save_damage.name)
        clash = sorted(taken & names)
        if clash:
            raise UserError(f"an input is called {clash[0]}, as a file of the result; rename it")

    def _inside_out(self, path: Path) -> bool:
        return path.resolve().parent == Path(self.out).resolve()

    def _known_damage(self, prior: Prior) -> Damage | None:
        if self.damage is None:
            return None
        if not self.damage.is_file():
            raise UserError(f"{self.damage} does not exist; make it with --save-damage")
        return Damage.load(self.damage, prior)

    def _save(self, result: Restoration, to: Path) -> None:
        if self.save_damage is None or result.damage is None:
            return
        if self._inside_out(self.save_damage):
            result.damage.save(to / self.save_damage.name)
            return
        with written_whole(self.save_damage) as partial:
            result.damage.save(partial)


def expected_steps(settings: Settings, count: int) -> int | None:
    """About how many updates the method will report; None where it makes none."""
    if settings.method == "auto" and count >= settings.match.fewest:
        match = settings.match
        # Drawn ones, the nearest of them again, and variations; a few by moments come on top.
        search = match.draws + 4 * match.parents + match.rounds * (match.children + 15)
        fit = match.starts * match.short_steps + 2 * match.long_steps
        # Some of the simpler damages that are tried get steps, most do not.
        return search + fit + 4 * match.pruning_steps + match.restorer_steps
    if settings.method in ("auto", "universal"):
        return None
    own = settings.mimic if settings.method == "mimicgan" else settings.pgd
    fitted = own.surrogate_steps if own.surrogate != "identity" else 0
    return -(-count // settings.batch) * own.iterations * (fitted + own.latent_steps)


def watched(
    path: Path | None, observed: Tensor, callback: Callable[[Step], None], every: float = 3.0
) -> Callable[[Step], None]:
    """``callback``, which also writes ``path`` anew ``every`` so many seconds: the first of the
    images (n, c, h, w) in [0, 1] as observed, and restored so far."""
    if path is None:
        return callback
    last = -every

    def see(step: Step) -> None:
        nonlocal last
        callback(step)
        if step.estimate is None or time.monotonic() - last < every:
            return
        images = to_user(step.estimate().cpu())
        title = f"{step.kind} {step.iteration}, loss {step.loss:.4f}"
        with written_whole(path) as partial:
            grid([("observed", observed), ("so far", images)], title=title).save(partial, "PNG")
        last = time.monotonic()

    return see


def shown(advance: Advance) -> Callable[[Step], None]:
    """A callback of the solver that moves a progress bar."""
    seen = 0

    def see(step: Step) -> None:
        nonlocal seen
        seen += 1
        advance(seen, f"{step.kind} {step.loss:.4f}")

    return see
