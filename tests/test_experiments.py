"""The experiments' machinery on a tiny prior: what is measured, kept, shared out and pooled."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from experiment_cases import SHAPE, TinyGenerator, inverted, speckled, tiny_bench
from mimicgan.errors import UserError
from mimicgan.experiments import units
from mimicgan.experiments.bench import Bench
from mimicgan.experiments.cases import Case, Sample
from mimicgan.experiments.defence import defence
from mimicgan.experiments.methods import METHODS, Method, Outcome
from mimicgan.experiments.options import ExperimentOptions, Progress
from mimicgan.experiments.record import Measured, command, read_record, rows_of
from mimicgan.experiments.robust_classification import undamaged
from mimicgan.experiments.runner import Experiment, chosen, run, share_of
from mimicgan.prior import Prior


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return tiny_bench(tmp_path)


@pytest.fixture
def options(tmp_path: Path) -> ExperimentOptions:
    return ExperimentOptions(
        tmp_path / "results", tmp_path / "runs", seeds=(0, 1), images=10, batch=4
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Adds the method "inverse", which knows that images were inverted; lists its calls."""
    made: list[int] = []

    def inverse(sample: Sample, _bench: Bench) -> Outcome:
        made.append(len(sample.observed))
        return Outcome(1 - sample.observed, 2.0, 30, 1.5, True)

    code, settings = ("mimicgan.images",), {"way": "all of it"}
    method = Method(inverse, ("generator",), code, lambda: settings)
    monkeypatch.setitem(METHODS, "inverse", method)
    return made


EXPERIMENT = Experiment(
    "tiny",
    (
        Case("inverted", "inverted", inverted, ("observed", "inverse")),
        Case("speckled", "light", speckled, ("observed",), extra={"observations": 4}),
    ),
)


def test_the_result_file_says_what_was_measured_and_how(
    bench: Bench, options: ExperimentOptions, calls: list[int]
) -> None:
    heard: list[Progress] = []
    path = run(EXPERIMENT, options, heard.append, bench)
    assert path == options.out / "tiny.json"
    record = read_record(path)
    assert set(record) == {
        "experiment",
        "settings",
        "seeds",
        "versions",
        "machine",
        "date",
        "command",
        "rows",
    }
    assert record["seeds"] == [0, 1]
    assert record["command"] == "mimicgan reproduce tiny --seeds 0 1 --images 10 --batch 4"
    assert set(record["machine"]) == {"platform", "cpu", "cores", "threads"}
    assert str(options.out.parent) not in path.read_text()
    places = [(row["task"], row["variant"], row["method"]) for row in record["rows"]]
    assert sorted(places) == [
        ("inverted", "inverted", "inverse"),
        ("inverted", "inverted", "observed"),
        ("speckled", "light", "observed"),
    ]
    row = next(row for row in record["rows"] if row["method"] == "inverse")
    # 1 - (1 - x) is x: every label is found, and the error is that of rounding.
    assert (row["n_images"], row["accuracy"], row["psnr"]) == (20, 1.0, units.PSNR_LIMIT)
    assert row["ssim"] == pytest.approx(1)
    # 2 s and 30 passes for each of 3 portions of 2 seeds of 10 images.
    assert row["seconds_per_image"] == pytest.approx(0.6)
    assert row["generator_passes_per_image"] == pytest.approx(9)
    assert (row["misfit"], row["understood"]) == (1.5, 1.0)
    assert calls == [4, 4, 2, 4, 4, 2]
    unseen = next(row for row in record["rows"] if row["task"] == "speckled")
    assert unseen["observations"] == 4
    assert "misfit" not in unseen
    # One call a unit, all of them counted; the rest is known once a unit was timed.
    assert [p.done for p in heard] == list(range(1, 19))
    assert {p.total for p in heard} == {18}
    assert heard[-1].seconds_left == 0


def test_what_was_measured_is_not_measured_again(
    bench: Bench, options: ExperimentOptions, calls: list[int]
) -> None:
    run(EXPERIMENT, options, None, bench)
    heard: list[Progress] = []
    run(EXPERIMENT, options, heard.append, bench)
    assert (len(calls), heard) == (6, [])
    # More images of the same seeds: whole portions stay, the last one has grown.
    run(EXPERIMENT, replace(options, images=12), None, bench)
    assert calls[6:] == [4, 4]


def test_a_killed_run_goes_on_where_it_was(
    bench: Bench, options: ExperimentOptions, calls: list[int]
) -> None:
    def stop(progress: Progress) -> None:
        if progress.done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(EXPERIMENT, options, stop, bench)
    assert not options.out.exists()
    heard: list[Progress] = []
    path = run(EXPERIMENT, options, heard.append, bench)
    assert [p.done for p in heard] == list(range(8, 19))
    anew = replace(options, runs=options.runs / "anew", out=options.out / "anew")
    whole = run(EXPERIMENT, anew, None, bench)
    assert path is not None
    assert whole is not None
    assert timeless(path) == timeless(whole)
    assert len(calls) == 12


def timeless(path: Path) -> list[dict[str, object]]:
    """The rows of a result, without how long they took."""
    rows = read_record(path)["rows"]
    return [{k: v for k, v in row.items() if k != "seconds_per_image"} for row in rows]


def test_other_weights_settings_or_code_are_measured_anew(
    bench: Bench,
    options: ExperimentOptions,
    calls: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(EXPERIMENT, options, None, bench)
    torch.manual_seed(1)
    other = replace(bench, prior=Prior(TinyGenerator(), 4, SHAPE))
    heard: list[Progress] = []
    run(EXPERIMENT, options, heard.append, other)
    # "observed" does not depend on the generator.
    assert {p.label.split()[2] for p in heard} == {"inverse"}
    changed = replace(METHODS["inverse"], settings=lambda: {"rate": 2})
    monkeypatch.setitem(METHODS, "inverse", changed)
    run(EXPERIMENT, options, None, bench)
    assert len(calls) == 18
    changed = replace(changed, code=("mimicgan.losses",))
    monkeypatch.setitem(METHODS, "inverse", changed)
    run(EXPERIMENT, replace(options, trust_old_code=True), None, bench)
    assert len(calls) == 18
    run(EXPERIMENT, options, None, bench)
    assert len(calls) == 24


def test_a_result_is_extended_where_nothing_else_is_left_of_it(
    bench: Bench, options: ExperimentOptions, calls: list[int]
) -> None:
    run(EXPERIMENT, replace(options, seeds=(0,)), None, bench)
    # Another machine, which has the result but not what was measured on the way.
    elsewhere = replace(options, runs=options.runs / "elsewhere", extend=True)
    heard: list[Progress] = []
    path = run(EXPERIMENT, elsewhere, heard.append, bench)
    assert path is not None
    assert {p.label.split()[3][0] for p in heard} == {"1"}
    assert len(calls) == 6
    assert {row["n_images"] for row in read_record(path)["rows"]} == {20}
    # Less of something else neither replaces rows nor loses what was measured for them.
    less = replace(elsewhere, images=4, methods=("observed",))
    run(EXPERIMENT, replace(less, runs=options.runs / "less"), None, bench)
    rows = read_record(path)["rows"]
    assert {(row["method"], row["n_images"]) for row in rows} == {("observed", 20), ("inverse", 20)}
    assert {row["command"] for row in rows} == {
        "mimicgan reproduce tiny --seeds 0 1 --images 10 --batch 4"
    }
    # What a row was measured with stays with it, whatever the settings are by now.
    assert [row.get("settings") for row in rows] == [None, {"way": "all of it"}, None]
    run(EXPERIMENT, replace(elsewhere, runs=options.runs / "third"), None, bench)
    assert len(calls) == 6
    # A smaller result does not take the place of a larger one unasked.
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"\(inverted, observed: 20 images\); give --extend"):
        run(EXPERIMENT, replace(less, runs=options.runs / "fourth", extend=False), None, bench)
    assert path.read_bytes() == before
    # Without being asked for, nothing earlier counts.
    run(EXPERIMENT, replace(options, runs=options.runs / "fifth"), None, bench)
    assert len(calls) == 12


def test_what_another_process_adds_meanwhile_stays(
    bench: Bench, options: ExperimentOptions, calls: list[int]
) -> None:
    one = replace(options, methods=("observed",), tasks=("inverted",), extend=True)
    other = replace(one, methods=("inverse",), runs=options.runs / "elsewhere")

    def meanwhile(_progress: Progress) -> None:
        run(EXPERIMENT, other, None, bench)

    run(EXPERIMENT, one, meanwhile, bench)
    kept = units.load_all(options.out / "measurements" / "tiny.jsonl")
    assert {state["unit"].split()[2] for state in kept.values()} == {"observed", "inverse"}
    rows = read_record(options.out / "tiny.json")["rows"]
    assert {(row["method"], row["n_images"]) for row in rows} == {("observed", 20), ("inverse", 20)}
    assert len(calls) == 6


def test_a_row_of_other_seeds_gives_way_to_one_of_those_asked_for(
    bench: Bench, options: ExperimentOptions, calls: list[int]
) -> None:
    run(EXPERIMENT, options, None, bench)
    # Fewer images, but the seeds of all other rows of this table.
    other = replace(options, seeds=(2,), images=4, methods=("observed",), extend=True)
    path = run(EXPERIMENT, other, None, bench)
    assert path is not None
    rows = {(row["task"], row["method"]): row for row in read_record(path)["rows"]}
    assert rows["inverted", "observed"]["seeds"] == [2]
    # This one was not measured anew, and says with which networks it was made.
    assert rows["inverted", "inverse"]["seeds"] == [0, 1]
    assert set(rows["inverted", "inverse"]["weights"]) >= {"generator"}
    assert len(calls) == 6


def test_a_larger_row_of_earlier_settings_gives_way(
    bench: Bench, options: ExperimentOptions, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(EXPERIMENT, options, None, bench)
    changed = replace(METHODS["inverse"], settings=lambda: {"way": "another"})
    monkeypatch.setitem(METHODS, "inverse", changed)
    path = run(EXPERIMENT, replace(options, images=4, extend=True), None, bench)
    assert path is not None
    rows = {(row["task"], row["method"]): row for row in read_record(path)["rows"]}
    assert rows["inverted", "inverse"]["n_images"] == 8
    assert "settings" not in rows["inverted", "inverse"]
    assert rows["inverted", "observed"]["n_images"] == 20


def test_portions_of_another_size_are_measured_anew(
    bench: Bench, options: ExperimentOptions, calls: list[int]
) -> None:
    """Images 4 to 8 as the second portion of 4, or as the third of 2 and more."""
    one = replace(options, seeds=(0,), images=6, methods=("inverse",))
    run(EXPERIMENT, one, None, bench)
    run(EXPERIMENT, replace(one, batch=2), None, bench)
    # The damage and the seed of images 4 and 5 are those of another portion now.
    assert calls == [4, 2, 2, 2, 2]


def test_an_attack_is_made_anew_for_other_networks(
    bench: Bench, options: ExperimentOptions
) -> None:
    torch.manual_seed(1)
    other = replace(bench, prior=Prior(TinyGenerator(), 4, SHAPE))
    attacked = replace(EXPERIMENT.cases[0], adversary=lambda _bench, images, _labels, _seed: images)
    for case, anew in ((EXPERIMENT.cases[0], False), (attacked, True)):
        unit = units.units_of((case,), options)[0]
        keys = [units.key_of(unit, each, options) for each in (bench, other)]
        assert (keys[0] != keys[1]) == anew
    guarded = replace(unit, case=replace(attacked, settings={"eps": 1}))
    assert units.key_of(guarded, bench, options) != keys[0]


@pytest.mark.parametrize(
    ("slip", "hint"),
    [
        ({"seeds": (4, 4)}, "given twice"),
        ({"seeds": (-1,)}, "out of range"),
        ({"threads": 0}, "threads"),
        ({"images": 0}, "at least one"),
    ],
)
def test_options_that_make_no_sense_are_refused(slip: dict[str, object], hint: str) -> None:
    with pytest.raises((UserError, ValueError), match=hint):
        ExperimentOptions(**slip)


def test_more_images_than_there_are_or_fewer_than_a_portion_are_refused(
    bench: Bench, options: ExperimentOptions
) -> None:
    with pytest.raises(UserError, match="there are only"):
        run(EXPERIMENT, replace(options, images=len(bench.images) + 1), None, bench)
    large = Experiment("large", (replace(EXPERIMENT.cases[0], batch=8),))
    with pytest.raises(UserError, match="--images 8 or more"):
        run(large, replace(options, images=7), None, bench)
    assert not options.out.exists()


def test_shards_share_the_work_and_the_last_one_writes(
    bench: Bench, options: ExperimentOptions, calls: list[int]
) -> None:
    done: list[str] = []
    first = run(EXPERIMENT, replace(options, shard="1/2"), lambda p: done.append(p.label), bench)
    assert first is None
    assert len(calls) == 3
    part = run(EXPERIMENT, replace(options, shard="0/2", partial=True), None, bench)
    assert part is not None
    assert read_record(part)["units_missing"] == 9
    second = run(EXPERIMENT, replace(options, shard="2/2"), lambda p: done.append(p.label), bench)
    assert second is not None
    assert "units_missing" not in read_record(second)
    assert len(set(done)) == len(done) == 18
    alone = replace(options, runs=options.runs / "alone", out=options.out / "alone")
    path = run(EXPERIMENT, alone, None, bench)
    assert path is not None
    assert timeless(path) == timeless(second)


@pytest.mark.parametrize("shard", ["3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_there_is_not_is_refused(shard: str) -> None:
    with pytest.raises(UserError, match="write i/n"):
        ExperimentOptions(shard=shard)


def test_portions_that_share_a_training_stay_in_one_shard(
    monkeypatch: pytest.MonkeyPatch, options: ExperimentOptions
) -> None:
    method = replace(METHODS["observed"], shared_training=True)
    monkeypatch.setitem(METHODS, "observed", method)
    made = tuple(Case(name, name, inverted, ("observed",)) for name in "abcd")
    wanted = units.units_of(made, options)
    paths = [Path(unit.label) for unit in wanted]
    shares = [share_of(wanted, paths, replace(options, shard=f"{i}/2")) for i in (1, 2)]
    tasks = [{unit.case.task for unit in share} for share in shares]
    assert tasks == [{"a", "c"}, {"b", "d"}]
    assert sum(map(len, shares)) == len(wanted)


def test_rows_are_pooled_as_by_hand() -> None:
    case = EXPERIMENT.cases[0]

    def item(seed: int, start: int, images: int, correct: int, psnr: float) -> Measured:
        unit = units.Unit(case, "observed", seed, start // 4, start, start + images)
        misfit = 1.0 if seed == 0 else 4.0
        outcome = units.Measurement(
            images, correct, psnr, images / 2, images / 4, images * 10, misfit, seed == 0, 1
        )
        return Measured(unit, outcome)

    (row,) = rows_of([item(1, 0, 4, 4, 80.0), item(0, 4, 2, 0, 40.0), item(0, 0, 4, 2, 60.0)])
    assert (row["n_images"], row["accuracy"]) == (10, 0.6)
    assert row["accuracy_by_seed"] == {"0": 0.333333, "1": 1.0}
    # Wilson's interval for 6 of 10, from the textbook.
    assert row["accuracy_ci95"] == pytest.approx([0.312674, 0.831820], abs=1e-5)
    assert row["psnr"] == pytest.approx(18)
    assert (row["ssim"], row["seconds_per_image"]) == (0.5, 0.25)
    assert row["generator_passes_per_image"] == 10
    assert (row["misfit"], row["misfit_max"]) == (2.0, 4.0)
    assert row["understood"] == pytest.approx(2 / 3, abs=1e-4)


def test_images_and_damage_depend_on_the_seed_and_the_portion_alone(bench: Bench) -> None:
    first, labels = bench.drawn(0, 0, 4)
    again, same = bench.drawn(0, 0, 8)
    assert torch.equal(first, again[:4])
    assert torch.equal(labels, same[:4])
    assert not torch.equal(first, bench.drawn(1, 0, 4)[0])
    assert not torch.equal(first, bench.drawn(0, 4, 8)[0])
    assert float(first.max()) <= 1


def test_validation_never_passes_for_the_result(bench: Bench, options: ExperimentOptions) -> None:
    chosen_on = replace(options, split="validation", tasks=("speckled",))
    path = run(EXPERIMENT, chosen_on, None, bench)
    assert path == options.out / "tiny-validation.json"
    assert read_record(path)["settings"]["split"] == "validation"
    assert not (options.out / "tiny.json").exists()


def test_filters_keep_what_they_name(options: ExperimentOptions) -> None:
    kept = chosen(EXPERIMENT, replace(options, tasks=("light",), methods=("observed", "pgd")))
    assert [(case.task, case.methods) for case in kept] == [("speckled", ("observed",))]
    assert kept == chosen(
        EXPERIMENT, replace(options, tasks=("speckled/light",), methods=("observed", "pgd"))
    )
    with pytest.raises(UserError, match="no task 'fog'; choose among: inverted, light, speckled"):
        chosen(EXPERIMENT, replace(options, tasks=("fog",)))
    with pytest.raises(UserError, match="no method 'magic'"):
        chosen(EXPERIMENT, replace(options, methods=("magic",)))
    with pytest.raises(UserError, match="nothing of that kind"):
        chosen(EXPERIMENT, replace(options, methods=("pgd",)))


def test_the_command_repeats_what_was_chosen_and_hides_places() -> None:
    options = ExperimentOptions(
        Path("/secret"), seeds=(3,), methods=("pgd", "default"), shard="1/2", partial=True
    )
    words = "mimicgan reproduce x --seeds 3 --methods pgd default --partial"
    assert command("x", options) == words


def test_clean_images_are_inverted_once_for_all_damages(
    bench: Bench, options: ExperimentOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def bound(sample: Sample, _bench: Bench) -> Outcome:
        seen.append(sample.truth)
        return Outcome(sample.truth)

    monkeypatch.setitem(METHODS, "clean-inversion", Method(bound, of_clean=True))
    made = tuple(Case(name, name, inverted, ("clean-inversion",)) for name in "ab")
    path = run(Experiment("two", made), replace(options, seeds=(0,)), None, bench)
    assert path is not None
    assert len(seen) == 3
    rows = read_record(path)["rows"]
    assert [(row["task"], row["n_images"], row["accuracy"]) for row in rows] == [
        ("a", 10, 1.0),
        ("b", 10, 1.0),
    ]


def test_attacks_are_made_once_and_measured_like_any_damage(tmp_path: Path) -> None:
    pytest.importorskip("foolbox")
    bench = tiny_bench(tmp_path)
    options = ExperimentOptions(
        out=tmp_path / "out",
        runs=tmp_path / "runs",
        seeds=(0,),
        images=8,
        batch=4,
        methods=("observed", "median"),
        tasks=("fgsm", "clean"),
    )
    path = defence(options, bench=bench)
    assert path is not None
    rows = {(r["variant"], r["method"]): r for r in read_record(path)["rows"]}
    assert rows["clean", "observed"]["accuracy"] == 1
    assert rows["true-0.3", "observed"]["accuracy"] < 0.5
    assert len(rows) == 10
    made = sorted((tmp_path / "runs" / "adversarial").glob("*.safetensors"))
    assert len(made) == 8
    times = [file.stat().st_mtime_ns for file in made]
    for unit in (tmp_path / "runs" / "defence").glob("*.json"):
        unit.unlink()
    defence(options, bench=bench)
    assert [file.stat().st_mtime_ns for file in made] == times


def test_a_shuffled_portion_has_the_same_images_with_their_own_labels(
    bench: Bench, options: ExperimentOptions
) -> None:
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def noted(name: str) -> Callable[[Bench, Tensor, Tensor, int], Tensor]:
        def adversary(_bench: Bench, images: Tensor, labels: Tensor, _seed: int) -> Tensor:
            seen[name] = images.clone(), labels.clone()
            return images.clone()

        return adversary

    cases = tuple(
        Case(name, name, undamaged, ("observed",), adversary=noted(name), shuffled=name == "other")
        for name in ("one", "other")
    )
    few = replace(options, images=4, seeds=(0,))
    path = run(Experiment("shuffled", cases), few, None, bench)
    assert path is not None
    rows = read_record(path)["rows"]
    assert rows[0]["accuracy"] == rows[1]["accuracy"] == 1.0
    (images, labels), (others, their_labels) = seen["one"], seen["other"]
    order = [int((images == other).flatten(1).all(dim=1).nonzero()[0, 0]) for other in others]
    assert order != sorted(order) == list(range(4))
    assert torch.equal(their_labels, labels[order])


def test_only_the_judged_images_of_a_portion_count(
    bench: Bench, options: ExperimentOptions, calls: list[int]
) -> None:
    """The first image of each portion of four is inverted, the others are grey."""

    def first(images: Tensor, _generator: torch.Generator) -> Tensor:
        return torch.cat([1 - images[:1], torch.full_like(images[1:], 0.5)])

    case = Case("one", "one", first, ("inverse",), judged=1)
    path = run(Experiment("judged", (case,)), options, None, bench)
    assert path is not None
    (row,) = read_record(path)["rows"]
    # Of two seeds; the 30 passes of a portion are shared out: 30 / 4, rounded, and 30 / 2.
    assert calls == [4, 4, 2, 4, 4, 2]
    assert row["n_images"] == 6
    assert row["accuracy"] == 1.0
    assert row["psnr"] > 50
    assert row["generator_passes_per_image"] * 6 == pytest.approx(2 * (8 + 8 + 15), abs=0.01)
