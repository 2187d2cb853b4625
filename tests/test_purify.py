"""Clean and predict: gradients, batching, and classifiers that cannot be wrapped."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional

from mimicgan.errors import UserError
from mimicgan.learnt import Damage
from mimicgan.match_settings import MatchSettings
from mimicgan.models.restorer import Restorer
from mimicgan.presets import DEFENSE_GAN, MimicSettings
from mimicgan.prior import Prior
from mimicgan.purify import Cleaner, Purified
from mimicgan.random_corruption import Dice
from mimicgan.restore import Settings, restore
from mimicgan.training.hardening import HardenSettings, misleading
from prior_cases import untrained_generator

SHAPE = (1, 28, 28)
SHORT = MimicSettings(iterations=2, surrogate_steps=1, latent_steps=2)


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


def test_it_classifies_what_the_restorer_makes(prior, classifier, images) -> None:
    model = Purified(classifier, prior)
    with torch.no_grad():
        clean = ((prior.restorer(images * 2 - 1) + 1) / 2).clamp(0, 1)
        torch.testing.assert_close(model(images), classifier(clean))
    with torch.inference_mode():
        assert model(images[:1]).shape == (1, 10)


def test_the_classifier_sees_its_own_range(prior, classifier, images) -> None:
    model = Purified(classifier, prior, classifier_range=(-1, 1))
    with torch.no_grad():
        expected = classifier(model.cleaned(images) * 2 - 1)
        torch.testing.assert_close(model(images), expected)


def test_the_exact_gradient_is_that_of_finite_differences(prior, classifier, images) -> None:
    model = Purified(classifier, prior)
    x = images[:1].clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(model(x)[0, 3], x)
    with torch.no_grad():
        step = 1e-2 * slope / slope.norm()
        change = model((x + step).clamp(0, 1))[0, 3] - model((x - step).clamp(0, 1))[0, 3]
    assert change.item() == pytest.approx(2 * (slope * step).sum().item(), rel=0.25)


def test_straight_through_counts_cleaning_as_the_identity(prior, classifier, images) -> None:
    model = Purified(classifier, prior, gradient="straight-through")
    x = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(model(x)[:, 3].sum(), x)
    torch.testing.assert_close(slope, classifier[1].weight[3].view(1, *SHAPE).expand_as(slope))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch itself
@pytest.mark.parametrize("gradient", ["exact", "straight-through", "none"])
def test_forward_derivatives_are_those_of_the_backward_gradient(
    prior, classifier, images, gradient
) -> None:
    model = Purified(classifier, prior, gradient=gradient)
    way = torch.randn(images.shape, generator=torch.Generator().manual_seed(3))

    def score(x: torch.Tensor) -> torch.Tensor:
        return model(x)[:, 0].sum()

    _, forward = torch.func.jvp(score, (images,), (way,))
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(score(forward_ad.make_dual(images, way))).tangent
    if gradient == "none":
        assert not forward.any()
        assert dual is None
        return
    x = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(score(x), x)
    assert slope.any()
    torch.testing.assert_close(forward, (slope * way).sum(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(dual, forward)


def test_no_gradient_where_none_is_asked_for(prior, classifier, images) -> None:
    model = Purified(classifier, prior, gradient="none")
    assert not model.cleaned(images.clone().requires_grad_(True)).requires_grad


def test_no_forward_derivative_where_none_is_asked_for(
    prior, classifier, images, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = Damage(nn.Identity(), prior.restorer)
    model = Purified(classifier, prior, "auto", gradient="none")
    monkeypatch.setattr(model, "_fitted", lambda _: learnt)
    with forward_ad.dual_level():
        cleaned = model.cleaned(forward_ad.make_dual(images, torch.ones_like(images)))
        assert forward_ad.unpack_dual(cleaned).tangent is None


@pytest.mark.parametrize("method", ["mimicgan", "pgd"])
def test_the_gradient_unrolled_through_the_solver_is_not_zero(
    prior, classifier, images, method
) -> None:
    settings = Settings(method, mimic=SHORT, pgd=SHORT)
    model = Purified(classifier, prior, settings, gradient="unrolled", unrolled_steps=2)
    x = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(model(x).sum(), x)
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0
    # An attacker must see the function that is used.
    torch.testing.assert_close(model(x).detach(), model(images))


def test_once_a_damage_is_set_the_unrolled_gradient_goes_through_it(
    prior, classifier, images
) -> None:
    torch.manual_seed(3)
    damage = Damage(nn.Identity(), Restorer(SHAPE).eval())
    model = Purified(classifier, prior, Settings("pgd", pgd=SHORT), gradient="unrolled")
    model.damage = damage
    x = images.clone().requires_grad_(True)
    with torch.no_grad():
        without = model(images)
    logits = model(x)
    torch.testing.assert_close(logits.detach(), without)
    (slope,) = torch.autograd.grad(logits[:, 3].sum(), x)
    (expected,) = torch.autograd.grad(Purified(classifier, prior, damage=damage)(x)[:, 3].sum(), x)
    torch.testing.assert_close(slope, expected)


def test_a_learnt_damage_serves_single_images(prior, classifier, images) -> None:
    small = MatchSettings(
        bank=64,
        draws=4,
        rounds=1,
        children=2,
        sample=16,
        starts=1,
        short_steps=2,
        long_steps=2,
        restorer_steps=2,
        restorer_batch=8,
    )
    model = Purified(classifier, prior, Settings(match=small))
    model.learn(1 - images)
    assert isinstance(model.damage, Damage)
    with torch.no_grad():
        torch.testing.assert_close(model(images[:1]), model(images)[:1])


def test_parts_are_even_and_in_order(prior, classifier, images) -> None:
    model = Purified(classifier, prior, Settings("pgd", batch=4, pgd=SHORT), gradient="none")
    assert [len(part) for part in model._parts(images)] == [3, 3]
    assert model(images).shape == (6, 10)


def test_it_stays_in_eval_mode(prior) -> None:
    model = Purified(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 10)), prior)
    assert not any(part.training for part in model.train().modules())


@pytest.mark.parametrize(
    ("network", "word"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(1)), "softmax"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 784, 10)), "same images"),
        (nn.Conv2d(1, 3, 3), "logits"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(prior, network, word) -> None:
    with pytest.raises(UserError, match=word):
        Purified(network, prior)


def test_a_classifier_that_gives_nan_is_refused(prior) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    nn.init.constant_(network[1].weight, float("nan"))
    with pytest.raises(UserError, match="NaN"):
        Purified(network, prior)


def test_the_name_of_a_prior_is_no_prior(classifier, images) -> None:
    with pytest.raises(UserError, match="load_prior"):
        Purified(classifier, "fashion-mnist")
    with pytest.raises(UserError, match="load_prior"):
        restore(images, "fashion-mnist")


def test_images_of_another_range_are_refused(prior, classifier, images) -> None:
    with pytest.raises(ValueError, match="255"):
        Purified(classifier, prior)(images * 255)


def test_a_gradient_that_the_method_has_not_is_refused(prior, classifier) -> None:
    with pytest.raises(UserError, match="unrolled"):
        Purified(classifier, prior, "pgd", gradient="exact")
    with pytest.raises(UserError, match="exact"):
        Purified(classifier, prior, "universal", gradient="unrolled")
    with pytest.raises(UserError, match="realism"):
        Purified(classifier, prior, Settings(output="realism"))


@pytest.mark.parametrize(
    ("settings", "options", "word"),
    [
        ("nonsense", {"gradient": "none"}, "auto, mimicgan, pgd, universal"),
        ("universal", {"gradient": "exakt"}, "exact, straight-through, unrolled, none"),
        ("pgd", {"gradient": "unrolled", "unrolled_steps": 0}, "1 or more"),
        ("universal", {"classifier_range": (1, 1)}, "classifier_range"),
        ("universal", {"classifier_range": (1, 0)}, "classifier_range"),
        ("universal", {"classifier_range": (0, float("nan"))}, "classifier_range"),
        ("universal", {"smoothing": float("nan")}, "smoothing"),
    ],
)
def test_a_slip_is_refused_at_construction(prior, classifier, settings, options, word) -> None:
    with pytest.raises((UserError, ValueError), match=word):
        Purified(classifier, prior, settings, **options)


def test_numbers_of_algorithm_1_alone_are_settings(prior, classifier, images) -> None:
    numbers = replace(DEFENSE_GAN, iterations=2, restarts=2)
    whole = Settings("mimicgan", mimic=numbers)
    expected = restore(images, prior, whole).images
    assert torch.equal(restore(images, prior, numbers).images, expected)
    defended = Purified(classifier, prior, numbers, gradient="none")
    assert torch.equal(defended.cleaned(images), expected)


def test_what_looks_undamaged_is_cleaned_all_the_same(
    prior, classifier, images, monkeypatch: pytest.MonkeyPatch
) -> None:
    unseen = Damage(nn.Identity(), nn.Identity(), 0.0)

    assert unseen.undamaged
    monkeypatch.setattr("mimicgan.purify.learnt_damage", lambda *_: unseen)
    with torch.no_grad():
        expected = Purified(classifier, prior)(images)
        torch.testing.assert_close(Purified(classifier, prior, "auto")(images), expected)
        learnt = Purified(classifier, prior, "auto").learn(images)
        torch.testing.assert_close(learnt(images), expected)


@pytest.mark.parametrize(("change", "used"), [(0.01, False), (0.2, True)])
def test_a_slight_damage_is_left_to_the_universal_restorer(
    prior, classifier, images, monkeypatch: pytest.MonkeyPatch, change: float, used: bool
) -> None:
    class Darker(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - change

    torch.manual_seed(4)
    learnt = Damage(Darker(), Restorer(SHAPE).eval(), 0.0)
    monkeypatch.setattr("mimicgan.purify.learnt_damage", lambda *_: learnt)
    cleaned = Purified(classifier, prior, "auto").cleaned(images)
    expected = learnt if used else Damage.universal(prior)
    torch.testing.assert_close(cleaned * 2 - 1, expected.restore(images * 2 - 1))


def test_a_given_damage_is_used(prior, classifier, images) -> None:
    torch.manual_seed(3)
    other = Damage(nn.Identity(), Restorer(SHAPE).eval())
    cleaned = Purified(classifier, prior, damage=other).cleaned(images)
    torch.testing.assert_close(cleaned * 2 - 1, other.restore(images * 2 - 1))


def test_many_images_go_through_the_restorer_in_parts(prior, images) -> None:
    many = images.repeat(101, 1, 1, 1)[:601].requires_grad_(True)
    sizes: list[int] = []
    handle = prior.restorer.register_forward_hook(lambda *told: sizes.append(len(told[2])))
    found = Cleaner(prior)(many)
    handle.remove()
    assert sizes == [500, 101]
    whole = (prior.restorer(many * 2 - 1) + 1) / 2
    torch.testing.assert_close(found, whole.clamp(0, 1))
    weights = torch.rand(found.shape, generator=torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad((found * weights).sum(), many)
    (expected,) = torch.autograd.grad((whole * weights).sum(), many)
    torch.testing.assert_close(slope, expected)


class Elsewhere(torch.Tensor):
    """Images that say that they are on another device."""

    device = torch.device("meta")

    def cpu(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_images_of_another_device_come_back_to_it(prior, images) -> None:
    model = Purified(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), prior).to("meta")
    assert model.classifier[1].weight.device.type == "meta"
    cleaned_on: list[str] = []
    handle = prior.restorer.register_forward_pre_hook(
        lambda _module, given: cleaned_on.append(given[0].device.type)
    )
    logits = model(images.as_subclass(Elsewhere))
    handle.remove()
    assert cleaned_on == ["cpu"]
    assert (logits.device.type, logits.shape) == ("meta", (6, 10))


def test_a_classifier_on_another_device_gets_the_images_there(prior, images) -> None:
    class Away(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, device="meta"))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.device == self.weight.device
            return torch.arange(10.0).expand(len(x), 10)

    assert Purified(Away(), prior)(images).device.type == "cpu"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("nested", [False, True])
def test_an_exported_module_can_be_wrapped(prior, classifier, images, nested) -> None:
    count = torch.export.Dim("n", min=1, max=4096)
    example = (torch.zeros(3, *SHAPE),)
    program = torch.export.export(classifier, example, dynamic_shapes=({0: count},)).module()
    # The drop-out does nothing in eval mode, though the program beside it refuses it.
    own = nn.Sequential(program, nn.Dropout(0.9)) if nested else program
    model, plain = Purified(own, prior).train(), Purified(classifier, prior)
    torch.testing.assert_close(model(images), plain(images))
    x = images.clone().requires_grad_(True)
    slopes = [torch.autograd.grad(m(x)[:, 3].sum(), x)[0] for m in (model, plain)]
    torch.testing.assert_close(*slopes)
    model.harden(HardenSettings(steps=1, batch=16, bank=16))
    assert all(p.grad is None and p.requires_grad for p in program.parameters())


def test_images_of_another_type_are_refused(prior, classifier, images) -> None:
    for wrong in (images.numpy(), images.double()):
        with pytest.raises(ValueError, match="images must be"):
            Purified(classifier, prior)(wrong)


def test_smoothing_averages_probabilities_over_noisy_copies(prior, classifier, images) -> None:
    model = Purified(classifier, prior, Settings("universal", seed=5), smoothing=0.1, draws=3)
    generator = torch.Generator().manual_seed(5)
    plain = Purified(classifier, prior)
    with torch.no_grad():
        copies = [
            (images + 0.1 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
            for _ in range(3)
        ]
        expected = sum(plain(copy).softmax(dim=1) for copy in copies) / 3
        torch.testing.assert_close(model(images).softmax(dim=1), expected)
        torch.testing.assert_close(model(images).exp().sum(dim=1), torch.ones(6))
    x = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(model(x)[0, 3], x)
    assert slope[0].abs().sum() > 0
    assert slope[1:].abs().sum() == 0


def test_smoothing_needs_a_restorer_and_sensible_numbers(prior, classifier, images) -> None:
    for numbers in ({"smoothing": -0.1}, {"draws": 0}):
        with pytest.raises(UserError, match="draws"):
            Purified(classifier, prior, **numbers)
    with pytest.raises(UserError, match="learn"):
        Purified(classifier, prior, "auto", smoothing=0.1)(images)


def test_a_misled_image_stays_within_the_strength(classifier, images) -> None:
    x = images * 2 - 1
    answer = classifier(x).argmax(dim=1)
    for seed in range(6):
        dice = Dice(torch.Generator().manual_seed(seed))
        changed = misleading(classifier, x, 0.3, dice)
        assert 0 < (changed - x).abs().max() <= 0.3 + 1e-6
        assert changed.abs().max() <= 1
        losses = [functional.cross_entropy(classifier(each), answer) for each in (x, changed)]
        assert losses[1] > losses[0]


def test_hardening_takes_clean_images_in_the_place_of_generated_ones(
    prior, classifier, images
) -> None:
    settings = HardenSettings(steps=2, batch=16, bank=32)
    model = Purified(classifier, prior)
    with prior.counted() as passes:
        model.harden(settings, images=images)
    assert passes.images == 0
    one = model.damage.restore(images)
    assert not torch.equal(one, model.harden(settings).damage.restore(images))
    for wrong in (images[..., 1:], images * 255):
        with pytest.raises(ValueError, match="images"):
            model.harden(settings, images=wrong)


def test_hardening_bears_what_rounding_leaves_beside_the_range(prior, classifier, images) -> None:
    beside = images.clone()
    beside[:, :, :5] = -5e-6
    model = Purified(classifier, prior)
    model.harden(HardenSettings(steps=40, batch=16), images=beside)
    assert all(p.isfinite().all() for p in model.damage.restorer.parameters())


def test_hardening_learns_to_undo_attacks_and_leaves_the_classifier_alone(
    prior, classifier
) -> None:
    settings = HardenSettings(steps=60, batch=32, bank=64, share=1.0)
    before = [p.clone() for p in classifier.parameters()]
    losses: list[float] = []
    model = Purified(classifier, prior, classifier_range=(-1, 1))
    model.harden(settings, lambda _step, loss: losses.append(loss))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert not model.damage.undamaged
    assert model.damage.restorer is not prior.restorer
    for p, was in zip(classifier.parameters(), before, strict=True):
        assert p.requires_grad
        assert p.grad is None
        torch.testing.assert_close(p, was)


def test_an_unrolled_step_has_the_length_of_one_in_the_box_whatever_the_solver(
    classifier, images
) -> None:
    torch.manual_seed(0)
    prior = Prior(untrained_generator(), 100, SHAPE)
    seen: list[torch.Tensor] = []
    prior.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    few = replace(DEFENSE_GAN, iterations=1, restarts=1)
    for settings, length in (
        (Settings("mimicgan", mimic=few), 0.05),
        (Settings("pgd", pgd=replace(SHORT, surrogate="identity", latent_rate=0.03)), 0.03),
    ):
        model = Purified(classifier, prior, settings, gradient="unrolled", unrolled_steps=1)
        model.cleaned(images.clone().requires_grad_(True))
        # A latent at the edge of the box stays in it.
        moved = (seen[-1] - seen[-2]).norm(dim=1)
        assert moved.max() == pytest.approx(length, rel=0.02)
