"""The documents' tables: made from result files, and in agreement with them."""

import json
from pathlib import Path
from typing import Any

import pytest

from mimicgan.errors import UserError
from mimicgan.experiments import report as module
from mimicgan.experiments.methods import METHODS
from mimicgan.experiments.report import MARKED, filled, main, report
from mimicgan.experiments.tables import TABLES

ROOT = Path(__file__).parents[1]


def row(task: str, variant: str, method: str, accuracy: float, **more: Any) -> dict[str, Any]:
    return {
        "task": task,
        "variant": variant,
        "method": method,
        "n_images": 1500,
        "accuracy": accuracy,
        "accuracy_ci95": [accuracy - 0.02, accuracy + 0.03],
        "psnr": 15.678,
        "ssim": 0.4567,
        "seconds_per_image": 0.5,
        "generator_passes_per_image": 1200.0,
        **more,
    }


def record(experiment: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "experiment": experiment,
        "settings": {"split": "test"},
        "seeds": [0, 1, 2],
        "command": f"mimicgan reproduce {experiment}",
        "date": "2026-11-22",
        "rows": rows,
    }


ROBUST = record(
    "robust-classification",
    [
        row("binary", "binary", "observed", 0.33),
        row("binary", "binary-global", "observed", 0.38),
        row("binary", "binary-global", "mimicgan", 0.412),
        row("binary", "binary-global", "default", 0.5, misfit=2.34),
        row("clean", "clean", "observed", 0.924),
    ],
)
UNSEEN = record(
    "unseen",
    [
        row("fog", "middle", "observed", 0.3),
        row("fog", "middle", "pgd", 0.2),
        row("fog", "middle", "default", 0.7, misfit=1.0, understood=1.0),
        row("rain_drops", "middle", "observed", 0.6),
        row("rain_drops", "middle", "pgd", 0.65),
        row("rain_drops", "middle", "default", 0.63, misfit=5.0, understood=0.4),
        row("rain_drops", "low", "observed", 0.9),
        row("rain_drops", "low", "default", 0.859, misfit=9.0, understood=0.0),
        row("none", "middle", "observed", 0.92),
        row("none", "middle", "default", 0.91, understood=1.0),
    ],
)
COUNTS = record(
    "observations",
    [
        row("binary", "n=1", "default", 0.4, observations=1, n_images=36),
        row("binary", "n=25", "default", 0.5, observations=25, n_images=225),
    ],
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    for found in (ROBUST, UNSEEN, COUNTS):
        path = tmp_path / "results" / f"{found['experiment']}.json"
        path.write_text(json.dumps(found))
    tables = "\n".join(f"<!-- table:{name} -->\nold\n<!-- /table -->\n" for name in TABLES)
    (tmp_path / "README.md").write_text(f"# Words\n\n{tables}\nMore words.\n", encoding="utf-8")
    return tmp_path


def body(project: Path, name: str) -> str:
    text = (project / "README.md").read_text(encoding="utf-8")
    return {found[1]: found[2] for found in MARKED.finditer(text)}[name]


def test_tables_are_written_once_and_then_agree(project: Path) -> None:
    with pytest.raises(
        UserError, match=r"README.md disagree with results/; run `python -m mimicgan"
    ):
        report(project, check=True)
    assert "\nold\n" in (project / "README.md").read_text()
    assert report(project) == [project / "README.md"]
    text = (project / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# Words\n\n<!-- table:")
    assert text.endswith("<!-- /table -->\n\nMore words.\n")
    assert "old" not in text
    assert report(project, check=True) == []
    path = project / "results" / "unseen.json"
    path.write_text(path.read_text().replace("0.859", "0.858"))
    with pytest.raises(UserError):
        report(project, check=True)


def test_the_paper_stands_beside_the_reading_nearest_to_it(project: Path) -> None:
    report(project)
    lines = body(project, "robust-classification").splitlines()
    assert lines[0] == ("| Accuracy, % | Binary (`binary-global`) | paper | Undamaged | paper |")
    assert lines[2] == "| observed (nothing done) | 38.0 ± 2.5 | 37.0 | 92.4 ± 2.5 | 91.5 |"
    assert lines[3] == "| MimicGAN (Algorithm 1) | 41.2 ± 2.5 | 50.4 | – | – |"
    assert lines[4].startswith("| default (matched distributions) | 50.0 ± 2.5 | – |")
    assert lines[-1].startswith("n = 1500 a cell (3 seeds")
    long = body(project, "robust-classification-all").splitlines()
    assert (
        long[2] == "| `binary` | observed | 33.0 ± 2.5 | 15.68 | 0.457 | – | 0.500 | 1200 | 1500 |"
    )
    assert long[5].startswith("| `binary-global` (nearest to the paper) | default | 50.0 ± 2.5 |")
    assert "| 2.34 |" in long[5]


def test_a_row_of_earlier_settings_or_other_seeds_is_told(project: Path) -> None:
    path = project / "results" / "robust-classification.json"
    record = json.loads(path.read_text())
    before, now = (row for row in record["rows"] if row["method"] in ("mimicgan", "default"))
    before |= {"settings": {"iterations": 1}, "date": "2026-01-01", "seeds": [5]}
    now["settings"] = METHODS["default"].settings()
    path.write_text(json.dumps(record))
    report(project)
    long = body(project, "robust-classification-all")
    assert long.count("† |") == 1
    assert "1–3 seeds, drawn independently; not the same seeds in all cells" in long
    assert "† with earlier settings of the method." in long


def test_the_rows_of_a_run_are_judged_by_its_settings(project: Path) -> None:
    path = project / "results" / "robust-classification.json"
    record = json.loads(path.read_text())
    now = METHODS["default"].settings()
    for settings, marks in ((now, 0), (now | {"restorer_steps": 1}, 1)):
        record["settings"]["methods"] = {"observed": {}, "default": settings}
        path.write_text(json.dumps(record))
        report(project)
        long = body(project, "robust-classification-all")
        assert long.count("† |") == long.count("† with earlier settings") == marks


def test_a_caption_says_what_its_cells_are_of(project: Path) -> None:
    report(project)
    assert "where n differs, so do the images" in body(project, "observations")
    assert "where n differs" not in body(project, "unseen")
    path = project / "results" / "recovery.json"
    faces = record("recovery", [row("negative", "negative", "pgd", 0.0)])
    del faces["rows"][0]["accuracy"], faces["rows"][0]["accuracy_ci95"]
    path.write_text(json.dumps(faces))
    report(project)
    # There is no interval where there is no accuracy.
    assert "±" not in body(project, "recovery")
    assert "± is half of the 95 % interval" in body(project, "unseen")


def test_the_summary_counts_what_was_gained_lost_and_flagged(project: Path) -> None:
    report(project)
    text = body(project, "unseen-summary")
    # Fog is gained; rain drops are better than observed, but PGD is better still.
    assert (
        "both the observation and PGD on 1 of 2 damages. Over the 4 damages and strengths" in text
    )
    assert "is -4.1 points (rain drops, low)" in text
    # Rain drops at low strength and the undamaged images lost; the first is flagged.
    assert "below the observation in 2 cases, 1 of which it reports as not understood" in text
    assert "it reports so 1 of the 2 others" in text
    middle, long = body(project, "unseen"), body(project, "unseen-all")
    assert "| rain drops | 60.0 ± 2.5 | 65.0 ± 2.5 | 63.0 ± 2.5 | 15.68 | 5.00 | 60 |" in middle
    assert "rain drops, low" not in middle
    assert long.index("rain drops, low") < long.index("rain drops, middle")
    assert "| undamaged | 92.0 ± 2.5 | – | 91.0 ± 2.5 | 15.68 | – | 0 |" in long


def test_the_summary_sets_the_default_beside_the_universal_restorer() -> None:
    rows = [*UNSEEN["rows"], row("fog", "middle", "universal", 0.7)]
    rows += [row("rain_drops", "middle", "universal", 0.62), row("none", "middle", "universal", 0)]
    text = TABLES["unseen-summary"][1](record("unseen", rows))
    assert (
        "and than the universal restorer, which learns nothing from the observations, on 1 of 2"
        in (text)
    )


def test_observations_are_in_order(project: Path) -> None:
    report(project)
    lines = body(project, "observations").splitlines()
    assert lines[2] == "| 1 | 40.0 ± 2.5 | 15.68 | 36 |"
    assert lines[3] == "| 25 | 50.0 ± 2.5 | 15.68 | 225 |"


def test_what_is_missing_or_unfinished_is_said(project: Path) -> None:
    text = "<!-- table:unseen -->\n<!-- /table -->\n"
    assert "_Not measured yet: `mimicgan reproduce unseen`._" in filled(text, project / "none")
    path = project / "results" / "unseen.json"
    path.write_text(json.dumps({**UNSEEN, "units_missing": 7}))
    assert "Not finished: 7 portions are missing." in filled(text, project / "results")
    path.write_text(json.dumps({**UNSEEN, "settings": {"split": "validation"}}))
    assert "validation images" in filled(text, project / "results")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table:unseen -->\n", "markers do not match"),
        ("<!-- table:unseen -->\n<!-- table:unseen -->\n<!-- /table -->", "markers do not match"),
        ("<!-- table:magic -->\n<!-- /table -->", "no table 'magic'; choose among: robust-"),
    ],
)
def test_wrong_markers_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        filled(text, tmp_path)


def test_the_module_is_a_command(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    assert main(["--check"]) == 2
    assert "run `python -m" in capsys.readouterr().err
    assert main([]) == 0
    assert capsys.readouterr().out == "README.md\n"
    assert main(["--check"]) == 0
    assert main(["--help"]) == 2


def test_the_documents_of_this_project_agree_with_its_results() -> None:
    report(ROOT, check=True)


def test_the_documents_of_this_project_show_every_table() -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in module.DOCUMENTS]
    shown = {found[1] for text in texts for found in MARKED.finditer(text)}
    assert shown == set(TABLES)


def test_the_table_of_attacks_prefers_guessed_labels_and_has_the_papers_numbers() -> None:
    rows = [
        row("fgsm", "guessed-0.3", "default", 0.7),
        row("fgsm", "true-0.3", "default", 0.1),
        row("fgsm", "guessed-0.3", "defense-gan", 0.5),
        row("obfuscated", "true", "default", 0.6),
        row("cw-l2", "guessed", "default", 0.8),
        row("cw-l2", "true", "default", 0.2),
        row("clean", "n=10", "default", 0.93, generator_passes_per_image=9e9),
    ]
    text = TABLES["defence"][1](record("defence", rows))
    assert "| Accuracy, % | fgsm | obfuscated | cw l2 | clean, n=10 | G passes / image |" in text
    cells = "70.0 ± 2.5 | 60.0 ± 2.5 | 80.0 ± 2.5 | 93.0 ± 2.5 | 1200 |"
    assert f"| default (matched distributions) | {cells}" in text
    assert "50.0 ± 2.5 (46.6)" in text
    assert "10.0" not in text
    assert "fgsm `true-0.3` | default | 10.0" in TABLES["defence-all"][1](record("defence", rows))


def test_the_table_of_adaptive_attacks_shows_each_restorer_under_its_own() -> None:
    rows = [
        row("exact-gradient", "eps=0.1", "universal", 0.3),
        row("exact-gradient", "eps=0.1", "hardened", 0.99),
        row("exact-gradient-hardened", "eps=0.1", "hardened", 0.4),
        row("batch-game", "one attacked", "default", 0.6),
        row("batch-game", "one attacked", "hardened", 0.7),
    ]
    text = TABLES["adaptive"][1](record("adaptive", rows))
    assert "| exact gradient, eps 0.1 | 30.0 ± 2.5 | – | 40.0 ± 2.5 |" in text
    assert "| batch game, one attacked | – | 60.0 ± 2.5 | 70.0 ± 2.5 |" in text
    assert "99.0" not in text


def test_the_table_of_faces_has_the_listings_variants() -> None:
    rows = [
        row("negative", "negative", "pgd", 0.0),
        row("negative", "negative-text", "pgd", 0.0, feature_distance=0.123456),
    ]
    for each in rows:
        del each["accuracy"], each["accuracy_ci95"]
    rows[1]["psnr"] = 9.0
    short = TABLES["recovery"][1](record("recovery", rows))
    assert "| PGD | 15.68 |" in short
    assert "9.00" not in short
    assert "| `negative-text` | pgd | 9.00 | 0.457 | 0.1235 |" in TABLES["recovery-all"][1](
        record("recovery", rows)
    )
