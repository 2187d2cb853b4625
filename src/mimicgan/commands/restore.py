"""``mimicgan restore``: clean images from images that share one unknown damage."""

from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from mimicgan.commands.beside import (
    PREDICTIONS,
    RESULTS,
    check_target,
    check_watch,
    inside,
    write_targets,
)
from mimicgan.commands.flags import INTEGER, PATH, PriorFlags
from mimicgan.commands.progress import expected_steps, shown, watched
from mimicgan.commands.report import conditions, nothing_learnt, surroundings, write_report
from mimicgan.commands.screen import Screen
from mimicgan.commands.sources import files_of, images_of, inputs_of, written_names
from mimicgan.commands.summary import REPORT, write_summary
from mimicgan.engine import EngineOf
from mimicgan.errors import UserError
from mimicgan.export import check_export
from mimicgan.files import output_folder, resolved
from mimicgan.image_files import DRAWN, counted, write_like
from mimicgan.job import GroupBy, run_job
from mimicgan.journal import JOURNAL
from mimicgan.learnt import Damage
from mimicgan.predict import any_classifier, classes_of, predictions, table
from mimicgan.prior import Prior
from mimicgan.restore import Settings, restore

# tyro would offer None beside none.
GROUP_BY: PrimitiveConstructorSpec[GroupBy | None] = PrimitiveConstructorSpec(
    nargs=1,
    metavar="|".join(get_args(GroupBy)),
    instance_from_str=lambda words: cast(GroupBy, words[0]),
    is_instance=lambda value: value is None or value in get_args(GroupBy),
    str_from_instance=lambda value: [str(value)],
    choices=get_args(GroupBy),
)


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
      mimicgan restore day2 restored2 --damage camera.safetensors --export camera.onnx
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
    """Replace OUT (and the files of --save-damage, --export and --watch) if it exists."""
    save_damage: Annotated[Path | None, PATH] = None
    """Write the learnt damage and its restorer to this file (method auto)."""
    export: Annotated[Path | None, PATH] = None
    """Write the restorer of this damage as a program that needs nothing of this package: a .pt2
    (torch.export) or .onnx file (methods auto and universal)."""
    watch: Annotated[Path | None, PATH] = None
    """Rewrite this picture (.png) every few seconds while the restoration builds up."""
    damage: Annotated[Path | None, PATH] = None
    """Use the damage that --save-damage wrote, for new images (even one) of the same source. With
    --output auto they are the restorer's own, never the generator's sharper ones."""
    group_by: Annotated[GroupBy | None, GROUP_BY] = None
    """For large folders, subfolders included: learn one damage for each folder, for each prefix of
    the names, or for all; apply it chunk by chunk into OUT. Killed at any moment, the same command
    goes on where it was. As with --damage the images are the restorer's own."""
    engine: Literal["here", "ray"] = "here"
    """With --group-by: work in this process, or by Ray on all processors, 256 pictures at a time
    on each (with --threads N on N of them). Other machines need no shared folder."""
    address: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT|auto")] = None
    """With --engine ray: a cluster that is running, instead of this machine alone."""
    classify: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """Also write predictions.csv, what a classifier says before and after: fashion-mnist, or your
    own .pt2 (torch.export), TorchScript .pt or .onnx file, images -> logits. Method auto
    gives what looks undamaged back as it is, a small attack included; universal cleans all."""
    classify_range: tuple[float, float] = (0.0, 1.0)
    """Range of the images that your own classifier takes: 0 1, or -1 1."""
    strict: bool = False
    """With --group-by: stop at a file that cannot be read instead of leaving it out."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)

    @property
    def after_interrupt(self) -> str:
        if self.group_by is not None:
            return "what is done stays done; run the same again to go on"
        if self.watch is not None:
            return f"nothing was written but the preview {self.watch}"
        return super().after_interrupt

    def run(self) -> None:
        screen = self.screen()
        self.prepare()
        self._refuse_flags()
        self._refuse_engine()
        if self.group_by is not None:
            self._job(screen, self.load())
            return
        with output_folder(self.out, overwrite=self.overwrite, inputs=self._read) as to:
            prior = self.load()
            found = images_of(self.source, prior.image_shape, self.count)
            self._refuse_names(written_names(found))
            fewest = self.settings.match.fewest
            if self.save_damage is not None and len(found.images) < fewest:
                raise UserError(
                    f"nothing is learnt from fewer than {fewest} images; give more, or leave "
                    "--save-damage out"
                )
            for note in found.notes:
                screen.say(note)
            if prior.image_shape[0] not in DRAWN:
                screen.say(f"no pictures of {prior.image_shape[0]} channels are drawn")
            known = None if self.damage is None else Damage.load(self.damage, prior)
            model = None
            if self.classify is not None:
                model = any_classifier(self.classify, prior, self.classify_range)
                # Now: a classifier that takes fewer images fails before the run, not after it.
                before = predictions(model, found.images)
            fresh = prior.restorer is None
            total = None if known else expected_steps(self.settings, found.images, fresh=fresh)
            with screen.progress(f"restoring {counted(len(found.images))}", total) as advance:
                result = restore(
                    found.images,
                    prior,
                    self.settings,
                    damage=known,
                    callback=watched(self.watch, found.images, shown(advance)),
                )
            write_like(to, found, result.images)
            if model is not None:
                after = predictions(model, result.images)
                text = table(found.names, before, after, classes_of(model))
                (to / PREDICTIONS).write_text(text, encoding="utf-8", errors="backslashreplace")
            asked = ("source", "prior", "latent_size", "image_shape", "box", "classify")
            inputs = {name: value for name in asked if (value := getattr(self, name)) is not None}
            if self.classify is not None:
                inputs["classify_range"] = self.classify_range
            facts = write_summary(to, found, result, prior, inputs, given=self.damage)
            failed = self._save(result.damage, prior, to)
        screen.say(f"{counted(len(found.images))} restored in {self.out} ({result.seconds:.1f} s)")
        if result.understood is False:
            screen.warn(f"the damage was not understood: {facts['message']}")
        elif known is None and nothing_learnt(result):
            screen.warn(facts["message"])
        else:
            screen.say(facts["message"])
        short = {key: value for key, value in facts.items() if key != "inputs"}
        screen.result({"command": "restore", "out": self.out, **short})
        if failed:
            raise UserError(f"the images are in {self.out}, but {'; '.join(failed)}")

    def _job(self, screen: Screen, prior: Prior) -> None:
        if self.group_by is None:
            raise AssertionError("run looks first")
        with screen.progress("restoring", None) as advance:
            # The first chunk is done only when a damage was learnt from it.
            advance(0, "at the first pictures")
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
            if misfit is not None and (misfit > limit or group in done.refused):
                used = ": the universal restorer was used" if group in done.refused else ""
                screen.warn(f"the damage of {group} was not understood (misfit {misfit:.2f}){used}")
        unlearnt = [group for group, used in done.damages.items() if not used]
        if unlearnt and self.settings.method == "auto":
            screen.warn(
                f"nothing was learnt for {len(unlearnt)} of {len(done.damages)} groups, the first "
                f"{unlearnt[0]}: fewer than {self.settings.match.fewest} images"
            )
        for name, reason in list(done.bad.items())[:20]:
            screen.warn(f"left out: {reason or name}")
        facts = {
            "command": "restore",
            "out": self.out,
            "inputs": {"source": self.source, "group_by": self.group_by},
            **asdict(done),
            **conditions(prior, self.settings),
            **surroundings(),
        }
        # A leftover of a killed run must not lie among the images.
        apart = Path(self.out) / JOURNAL / REPORT
        write_report(apart, facts)
        apart.replace(Path(self.out) / REPORT)
        screen.say(f"{counted(done.images)} restored in {self.out}, {len(done.bad)} left out")
        screen.result(facts)

    def _engine(self) -> EngineOf | None:
        if self.engine == "here":
            return None
        from mimicgan.adapters.ray import on_ray

        return on_ray(self.address, self.threads or 1)

    def _refuse_engine(self) -> None:
        if self.engine == "ray" and self.group_by is None:
            raise UserError("--engine ray is for large folders; add --group-by folder")
        if self.address is not None and self.engine != "ray":
            raise UserError("--address is that of a Ray cluster; add --engine ray")

    def _refuse_flags(self) -> None:
        """Refuse now what could not be written after a long run."""
        others = (self.count, self.damage, self.classify, self.watch, *self._targets())
        if self.group_by is not None and (self.overwrite or any(v is not None for v in others)):
            raise UserError(
                "--group-by goes without --count, --damage, --save-damage, --export, --classify, "
                "--watch and --overwrite; leave them out"
            )
        if self.strict and self.group_by is None:
            raise UserError("--strict is for --group-by; without it every bad file is an error")
        if self.classify is None and self.classify_range != (0.0, 1.0):
            raise UserError("--classify-range is that of a classifier; add --classify")
        if self.damage is not None and self.settings.method != "auto":
            raise UserError("--damage is for --method auto; leave one of the two out")
        if self.watch is not None:
            check_watch(
                self.watch,
                self.settings,
                Path(self.out),
                self._read,
                known=self.damage is not None,
                overwrite=self.overwrite,
            )
        if self.settings.output != "auto" and self.settings.by_latents:
            raise UserError(
                f"--method {self.settings.method} gives the generator's images alone; leave "
                "--output out"
            )
        if self.save_damage is not None and self.damage is not None:
            raise UserError("--damage fits nothing to save; leave --save-damage out")
        if self.save_damage is not None and self.settings.method != "auto":
            raise UserError("--save-damage needs a fit by --method auto; leave one of the two out")
        if self.export is not None:
            if self.settings.by_latents:
                raise UserError(f"--method {self.settings.method} makes no restorer to --export")
            check_export(self.export)
        beside = [resolved(path) for path in (self.watch, *self._targets()) if path is not None]
        if len(set(beside)) < len(beside):
            raise UserError(
                "--save-damage, --export and --watch write a file each; give each another name"
            )
        for target in self._targets():
            check_target(target, Path(self.out), self._read, overwrite=self.overwrite)

    @cached_property
    def _read(self) -> list[Path]:
        """Files and folders that must stay as they are."""
        return [*inputs_of(self.source), *files_of(self.prior, self.damage, self.classify)]

    def _targets(self) -> list[Path]:
        """Files to write beside the images."""
        return [path for path in (self.save_damage, self.export) if path is not None]

    def _refuse_names(self, names: set[str]) -> None:
        taken = RESULTS | {path.name for path in self._targets() if inside(path, Path(self.out))}
        clash = sorted(taken & names)
        if clash:
            raise UserError(f"an input is called {clash[0]}, as a file of the result; rename it")

    def _save(self, damage: Damage | None, prior: Prior, to: Path) -> list[str]:
        """Write the targets; what failed outside OUT, which must not cost the images."""
        if damage is None:
            return []
        export = partial(damage.export, shape=prior.image_shape)
        asked = ((self.save_damage, damage.save), (self.export, export))
        made = ((path, write) for path, write in asked if path is not None)
        return write_targets(made, Path(self.out), to)
