"""The methods that experiments compare, and the experiments themselves."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from experiment_cases import SHAPE, inverted, tiny_bench
from mimicgan.corruptions import CORRUPTIONS, FACE_CORRUPTIONS
from mimicgan.data.fashion_mnist import FashionMnist
from mimicgan.errors import UserError
from mimicgan.experiments import bench as bench_module
from mimicgan.experiments import methods, supervised, units
from mimicgan.experiments.bench import Bench
from mimicgan.experiments.cases import Case, Sample
from mimicgan.experiments.code_version import code_digest
from mimicgan.experiments.defence import PAPER
from mimicgan.experiments.defence import cases as defence_cases
from mimicgan.experiments.known_operators import RELAXED, KnownDamage
from mimicgan.experiments.methods import METHODS
from mimicgan.experiments.observations import BATCHES
from mimicgan.experiments.observations import cases as observation_cases
from mimicgan.experiments.options import ExperimentOptions
from mimicgan.experiments.recovery import cases as recovery_cases
from mimicgan.experiments.registry import EXPERIMENTS
from mimicgan.experiments.robust_classification import cases as robust_cases
from mimicgan.experiments.robust_classification import paper_readings
from mimicgan.experiments.unseen import LISTED
from mimicgan.experiments.unseen import cases as unseen_cases
from mimicgan.experiments.unseen_corruptions import UNSEEN
from mimicgan.presets import PGD
from mimicgan.training.checkpoint import step_generator
from mimicgan.training.supervised import SupervisedSettings, real_pairs


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return tiny_bench(tmp_path)


@pytest.mark.parametrize("name", [*CORRUPTIONS, *FACE_CORRUPTIONS])
def test_a_known_damage_is_the_one_of_the_portion_and_has_a_gradient(name: str) -> None:
    if name == "stylize":
        pytest.importorskip("cv2", reason="stylize needs OpenCV")
    shape = (3, 1, 28, 28) if name in CORRUPTIONS else (3, 3, 64, 64)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))

    def draw() -> torch.Generator:
        return step_generator(0, 1)

    function = (CORRUPTIONS | FACE_CORRUPTIONS)[name].function
    observed = function(images, draw())
    known = KnownDamage(RELAXED.get(name, function), draw)
    x = (images * 2 - 1).requires_grad_()
    simulated = known(x)
    torch.testing.assert_close(simulated, observed * 2 - 1)
    (slope,) = torch.autograd.grad(simulated.square().sum(), x)
    assert bool(slope.isfinite().all())
    assert float((slope != 0).float().mean()) > 0.1


def sample_of(bench: Bench, damage: Callable[[Tensor, torch.Generator], Tensor]) -> Sample:
    def draw() -> torch.Generator:
        return step_generator(0, 0)

    truth, _ = bench.drawn(0, 0, 4)
    case = Case("t", "v", damage, ("known-corruption",))
    return Sample(case, damage(truth, draw()), truth, 0, draw)


def test_knowing_the_damage_comes_nearer_than_not_knowing_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(PGD, iterations=10, latent_steps=10, latent_rate=0.03)
    monkeypatch.setattr(methods, "PGD", few)

    def image(latent: Tensor) -> Tensor:
        return (bench.prior.generator(latent) + 1) / 2

    truth = image(torch.tensor([[0.5, -0.5, 0.2, 0.1], [-0.4, 0.3, 0.6, -0.6]]))
    sample = replace(sample_of(bench, inverted), truth=truth, observed=1 - truth)
    known = methods.known_corruption(sample, bench)
    blind = METHODS["pgd"].run(sample, bench)
    bound = methods.clean_inversion(sample, bench)
    error = [float((o.images - truth).abs().mean()) for o in (known, bound, blind)]
    assert max(error[:2]) < 0.3 * error[2]
    assert known.generator_passes > 0
    assert known.seconds > 0


class Bright(nn.Module):
    """A judge that takes images for real the more, the brighter they are, without end."""

    def forward(self, x: Tensor) -> Tensor:
        return 1000 * x.mean(dim=(1, 2, 3))


def test_a_judge_that_does_not_learn_leads_no_network_out_of_the_range(bench: Bench) -> None:
    judged = replace(bench, prior=replace(bench.prior, discriminator=Bright()))
    settings = SupervisedSettings(steps=200, batch=4, learning_rate=3e-3, adversarial=0.01)
    sample = sample_of(bench, inverted)
    network = supervised.supervised_restorer(sample, judged, settings)
    assert network(sample.observed * 2 - 1).abs().max() < 1.5


def test_the_supervised_bound_learns_and_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SupervisedSettings(steps=20, batch=4, learning_rate=3e-3)
    sample = sample_of(bench, inverted)
    network = supervised.supervised_restorer(sample, bench, settings)
    files = list((bench.runs / "supervised").iterdir())
    assert [path.suffix for path in files] == [".safetensors"]
    monkeypatch.setattr(supervised, "_train", None)
    again = supervised.supervised_restorer(sample, bench, settings)
    y = sample.observed * 2 - 1
    assert torch.equal(network(y), again(y))
    error = (network(y) - (sample.truth * 2 - 1)).abs().mean()
    assert float(error) < 0.9 * float((y - (sample.truth * 2 - 1)).abs().mean())


def test_adversarial_training_trains_a_classifier_of_its_own_once(
    bench: Bench, fashion: FashionMnist, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(bench_module.HARDENED, steps=2, batch=8)
    monkeypatch.setattr(bench_module, "HARDENED", settings)
    bench = replace(bench, labelled=lambda: (fashion.images, fashion.labels))
    sample = replace(sample_of(bench, inverted), observed=fashion.images[:3].float() / 255)
    first = METHODS["adversarial-training"].run(sample, bench)
    # Another run finds it where it was kept, and takes no further step.
    monkeypatch.setattr("mimicgan.training.classifier._moved", None)
    again = METHODS["adversarial-training"].run(sample, replace(bench))
    assert first.logits is not None
    assert again.logits is not None
    assert first.logits.shape == (3, 10)
    assert torch.equal(first.logits, again.logits)
    assert len(list((bench.runs / "hardened").iterdir())) == 1
    assert torch.equal(first.images, sample.observed)


def test_a_damage_drawn_once_is_the_same_on_every_pair(bench: Bench) -> None:
    def pattern(images: Tensor, generator: torch.Generator) -> Tensor:
        return (images * 0 + torch.rand(SHAPE, generator=generator)).clamp(0, 1)

    sample = sample_of(bench, pattern)
    fixed = replace(sample, case=replace(sample.case, drawn_once=True))
    for given, same in ((sample, False), (fixed, True)):
        draw = given.draw if given.case.drawn_once else None
        pairs = real_pairs(given.case.damage, bench.images, 2, draw)
        (first, _), (second, clean) = (pairs(step, step_generator(5, step)) for step in (0, 1))
        assert torch.equal(first, second) == same
        assert torch.equal(first[:1], given.observed[:1] * 2 - 1) == same
        assert clean.shape == (2, *SHAPE)
        assert float(clean.min()) < 0


@pytest.mark.parametrize("case", [*robust_cases(), *recovery_cases()], ids=lambda c: c.variant)
def test_a_case_says_whether_its_damage_is_drawn_once(case: Case) -> None:
    shape = (1, 28, 28) if case in robust_cases() else (3, 64, 64)
    same = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)).expand(2, *shape)

    def damaged(seed: int) -> Tensor:
        return case.damage(same.clone(), torch.Generator().manual_seed(seed))

    once = torch.equal(*damaged(1)) and not torch.equal(damaged(1), damaged(2))
    assert case.drawn_once == once


def test_the_digest_of_code_ignores_comments_and_sees_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {
        "one": 'import mimicgan.two\n"""Words."""\nx = 1\n',
        "two": "y = 2\n",
        "three": "import mimicgan.two\nx = 1  # why\n",
        "four": "import mimicgan.five\nx = 1\n",
        "five": "y = 3\n",
    }
    paths = {f"mimicgan.{name}": tmp_path / name for name in sources}
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(
        "mimicgan.experiments.code_version._source", lambda name: paths[name].read_text()
    )

    def digest(name: str) -> str:
        text = (tmp_path / name).read_text()
        (tmp_path / "one").write_text(text)
        code_digest.cache_clear()
        return code_digest("mimicgan.one")

    one, three, four = digest("one"), digest("three"), digest("four")
    code_digest.cache_clear()
    assert one == three
    assert four != one


def test_every_method_names_code_that_there_is() -> None:
    code_digest.cache_clear()
    for name, method in METHODS.items():
        digest = code_digest(*method.code)
        assert len(digest) == 12
        assert json.dumps(method.settings())
        assert (digest == code_digest()) == (name == "observed")


def test_the_experiments_hold_what_they_promise() -> None:
    assert set(EXPERIMENTS) == {
        "robust-classification",
        "unseen",
        "observations",
        "sweep",
        "calibration",
        "defence",
        "adaptive",
        "recovery",
        "universal",
    }
    assert set(PAPER) == {case.task for case in defence_cases()} - {"clean"}
    robust = robust_cases()
    assert {case.variant for case in robust} == {*CORRUPTIONS, "clean"}
    assert all(set(case.methods) <= set(METHODS) for case in robust)
    unseen = {(case.task, case.variant): case for case in unseen_cases()}
    assert len(unseen) == 3 * (len(UNSEEN) - 1) + 1 + 1
    assert unseen["stuck-pixels", LISTED].drawn_once
    drawn = {task for (task, variant), case in unseen.items() if case.drawn_once}
    assert {"fixed_scratches", "motion_blur", "fixed_pattern_noise"} <= drawn
    assert not drawn & {"none", "gamma", "gaussian_noise", "random_scratches"}
    counts = [case.batch for case in observation_cases()]
    assert counts == [*BATCHES] * 3
    # 500 observations need 500 images, and are not replaced by fewer.
    sizes = {u.stop - u.start for u in units.units_of(observation_cases(), ExperimentOptions())}
    assert sizes == set(BATCHES)
    few = units.units_of(observation_cases(), ExperimentOptions(images=30, seeds=(0,)))
    assert {unit.stop - unit.start for unit in few} == {1, 5, 10, 25}
    assert sum(unit.method == "default" for unit in few) == 3 * (12 + 6 + 3 + 1)


def test_the_reading_nearest_to_the_paper_carries_its_name() -> None:
    def row(task: str, variant: str, method: str, accuracy: float) -> dict[str, object]:
        return {"task": task, "variant": variant, "method": method, "accuracy": accuracy}

    rows = [
        row("binary", "binary", "observed", 0.30),
        row("binary", "binary-global", "observed", 0.40),
        row("binary", "binary-black", "observed", 0.85),
        row("binary", "binary-black", "pgd", 0.37),
        row("dropped", "dropped", "observed", 0.1),
    ]
    assert paper_readings(rows) == {"binary": "binary-global", "dropped": "dropped"}


@pytest.mark.parametrize("name", ["sweep", "calibration"])
def test_what_chooses_settings_refuses_the_images_that_are_reported(name: str) -> None:
    with pytest.raises(UserError, match="validation"):
        EXPERIMENTS[name](ExperimentOptions(), None)
