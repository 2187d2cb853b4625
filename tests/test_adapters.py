"""The adapters, each in the loop of the library that it is for."""

import importlib
import sys
from dataclasses import replace
from typing import Any

import foolbox
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mimicgan.adapters.foolbox import foolbox_model
from mimicgan.damage import ComposedDamage
from mimicgan.errors import UserError
from mimicgan.learnt import Damage
from mimicgan.match import match
from mimicgan.match_settings import MatchSettings
from mimicgan.models.restorer import Restorer
from mimicgan.prior import Prior
from mimicgan.purify import Cleaner, Purified
from prior_cases import untrained_generator

SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def prior() -> Prior:
    torch.manual_seed(0)
    return Prior(untrained_generator(), 100, SHAPE, restorer=Restorer(SHAPE))


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(2))


def test_an_art_attack_goes_through_the_defence(prior, classifier, images) -> None:
    art = pytest.importorskip("art.attacks.evasion")
    from art.estimators.classification import PyTorchClassifier

    from mimicgan.adapters.art import MimicPreprocessor

    model = PyTorchClassifier(
        model=classifier,
        loss=nn.CrossEntropyLoss(),
        input_shape=SHAPE,
        nb_classes=10,
        clip_values=(0, 1),
        preprocessing_defences=MimicPreprocessor(Cleaner(prior)),
        device_type="cpu",
    )
    x = images.numpy()
    expected = Purified(classifier, prior)(images).detach().numpy()
    np.testing.assert_allclose(model.predict(x), expected, atol=1e-5)
    attack = art.ProjectedGradientDescent(model, eps=0.3, eps_step=0.1, max_iter=5, verbose=False)
    adversarial = attack.generate(x)
    assert np.abs(adversarial - x).max() > 0.1
    before = expected.argmax(axis=1)
    loss = nn.functional.cross_entropy
    labels = torch.from_numpy(before)
    now = torch.from_numpy(model.predict(adversarial))
    assert loss(now, labels) > loss(torch.from_numpy(expected), labels)


def test_art_takes_a_defended_classifier_for_its_cleaning_and_doubles(
    prior, classifier, images
) -> None:
    pytest.importorskip("art")
    from mimicgan.adapters.art import MimicPreprocessor

    x = images.numpy()
    expected = Cleaner(prior)(images).numpy()
    preprocessor = MimicPreprocessor(Purified(classifier, prior))
    for given in (x, x.astype(np.float64)):
        cleaned, _ = preprocessor(given)
        np.testing.assert_allclose(cleaned, expected, atol=1e-6)
    with pytest.raises(ValueError, match="255"):
        preprocessor((x * 255).astype(np.uint8))


def test_a_foolbox_attack_goes_through_the_defence(prior, classifier, images) -> None:
    defended = Purified(classifier, prior)
    model = foolbox_model(defended)
    labels = defended(images).argmax(dim=1)
    _, found, _ = foolbox.attacks.LinfPGD(steps=5)(model, images, labels, epsilons=0.3)
    loss = nn.functional.cross_entropy
    assert loss(defended(found), labels) > loss(defended(images), labels)


def test_foolbox_leaves_the_classifier_on_its_device(prior) -> None:
    defended = Purified(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), prior).to("meta")
    foolbox_model(defended)
    assert defended.classifier[1].weight.device.type == "meta"


def test_a_scikit_learn_pipeline_fits_and_predicts(prior, images) -> None:
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from mimicgan.adapters.sklearn import MimicTransformer

    rows = images.flatten(1).numpy().astype(np.float64)
    y = np.array([0, 1] * 3)
    cleaner = MimicTransformer(prior, method="universal")
    pipeline = make_pipeline(cleaner, LogisticRegression()).fit(rows, y)
    assert set(pipeline.predict(rows)) <= {0, 1}
    cleaned = cleaner.transform(rows)
    assert cleaned.shape == rows.shape
    assert cleaned.dtype == rows.dtype
    np.testing.assert_allclose(
        cleaned[2].reshape(SHAPE), Cleaner(prior)(images)[2].detach().numpy(), atol=1e-6
    )


def test_a_pipeline_learns_the_damage_of_what_it_is_fitted_on(
    prior, images, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    from sklearn.exceptions import NotFittedError
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from mimicgan.adapters.sklearn import MimicTransformer

    few = {"bank": 64, "draws": 4, "rounds": 1, "children": 2, "sample": 16, "starts": 1}
    few |= {"short_steps": 2, "long_steps": 2, "restorer_steps": 2, "restorer_batch": 8}
    fitted: list[int] = []

    def quick(y: torch.Tensor, prior: Prior, settings: MatchSettings, *rest: Any) -> Damage:
        fitted.append(len(y))
        return match(y, prior, replace(settings, **few), *rest)

    # The package's attribute of that name is the function.
    monkeypatch.setattr(sys.modules["mimicgan.restore"], "match", quick)
    rows = 1 - images.flatten(1).numpy()
    cleaner = MimicTransformer(prior)
    with pytest.raises(NotFittedError):
        cleaner.transform(rows)
    pipeline = make_pipeline(cleaner, LogisticRegression()).fit(rows, np.array([0, 1] * 3))
    assert fitted == [6]
    # One row at a time: the damage is not learnt again.
    single = np.concatenate([cleaner.transform(row[None]) for row in rows])
    assert fitted == [6]
    np.testing.assert_allclose(single, cleaner.transform(rows), atol=1e-5)
    damage = cleaner.cleaner_.damage
    expected = (damage.restore(1 - 2 * images) + 1) / 2
    np.testing.assert_allclose(single, expected.flatten(1).numpy(), atol=1e-5)
    assert set(pipeline.predict(rows)) <= {0, 1}


def test_a_refused_fit_fits_nothing(prior, images) -> None:
    pytest.importorskip("sklearn")
    from sklearn.exceptions import NotFittedError

    from mimicgan.adapters.sklearn import MimicTransformer

    rows, cleaner = images.flatten(1).numpy(), MimicTransformer(prior)
    with pytest.raises(ValueError, match="255"):
        cleaner.fit(rows * 255)
    with pytest.raises(NotFittedError):
        cleaner.transform(rows)


def test_rows_that_must_not_be_written_to_are_cleaned(prior, images) -> None:
    pytest.importorskip("sklearn")
    from mimicgan.adapters.sklearn import MimicTransformer

    rows = images.flatten(1).numpy()
    cleaner = MimicTransformer(prior, method="universal").fit(rows)
    expected = cleaner.transform(rows.copy())
    # As joblib hands large arrays to its processes.
    rows.setflags(write=False)
    np.testing.assert_array_equal(cleaner.transform(rows), expected)


def test_rows_of_other_images_are_refused(prior, images) -> None:
    pytest.importorskip("sklearn")
    from mimicgan.adapters.sklearn import MimicTransformer

    rows = images.flatten(1).numpy()
    cleaner = MimicTransformer(prior, method="universal").fit(rows)
    for wrong in (np.tile(rows, 3), rows[:, :-1]):
        for use in (cleaner.transform, MimicTransformer(prior).fit):
            with pytest.raises(ValueError, match="784 columns"):
                use(wrong)
    with pytest.raises(ValueError, match="floating-point"):
        cleaner.transform((rows > 0.5).astype(np.uint8))


def test_art_gets_no_cleaner_without_a_gradient(prior) -> None:
    pytest.importorskip("art")
    from mimicgan.adapters.art import MimicPreprocessor

    with pytest.raises(UserError, match="straight-through"):
        MimicPreprocessor(Cleaner(prior, gradient="none"))


def test_a_cleaner_follows_a_data_loader(prior, images) -> None:
    cleaner = Cleaner(prior, gradient="none")
    loader = DataLoader(TensorDataset(images), batch_size=4)
    parts = [cleaner(x) for (x,) in loader]
    assert [len(part) for part in parts] == [4, 2]
    torch.testing.assert_close(torch.cat(parts), cleaner(images))


def test_deepinv_takes_the_restorer_and_the_learnt_damage(prior, images) -> None:
    """Only where deepinv, and the torchvision that it needs, can be imported."""
    deepinv = pytest.importorskip("deepinv", exc_type=(ImportError, RuntimeError))
    from mimicgan.adapters.deepinv import LearntPhysics, MimicReconstructor

    model = MimicReconstructor(prior, "universal")
    assert isinstance(model, deepinv.models.Reconstructor)
    torch.testing.assert_close(model(images, deepinv.physics.Denoising()), Cleaner(prior)(images))

    surrogate = ComposedDamage(SHAPE).requires_grad_(False)
    surrogate.curve.copy_(surrogate.curve.flip(0) * 0.5)
    surrogate.noise[0] = 0.1
    surrogate.jitter.fill_(0.05)
    surrogate.chance.fill_(-1.0)
    physics = LearntPhysics(Damage(surrogate, prior.restorer))
    # Without its random parts the damage is a blur of half a pixel, and this curve.
    flat = torch.full_like(images, 0.25)
    torch.testing.assert_close(physics.A(flat), torch.full_like(images, 0.625))
    assert physics(flat).std() > 0.03
    assert not torch.equal(physics(flat), physics(flat))

    # A data fidelity's gradient is that of half the squared distance.
    y, x = physics.A(images), images.roll(1, 0).requires_grad_(True)
    found = deepinv.optim.data_fidelity.L2().grad(x.detach(), y, physics)
    (expected,) = torch.autograd.grad((physics.A(x) - y).square().sum() / 2, x)
    torch.testing.assert_close(found, expected)
    assert found.abs().max() > 0


@pytest.mark.parametrize(
    ("adapter", "library", "extra"),
    [
        ("art", "art", "art"),
        ("sklearn", "sklearn", "scikit-learn"),
        ("deepinv", "deepinv", "deepinv"),
    ],
)
def test_an_adapter_names_what_it_lacks(
    adapter: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    # None stands for a module that cannot be imported.
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"mimicgan.adapters.{adapter}", raising=False)
    with pytest.raises(UserError, match=rf"pip install 'mimicgan\[{extra}\]'"):
        importlib.import_module(f"mimicgan.adapters.{adapter}")
