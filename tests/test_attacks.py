"""Attacks by foolbox: bounds, the one-step formula, and refusals."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mimicgan.attacks import ATTACKS, attacked, on_manifold, universal_perturbation
from mimicgan.errors import UserError
from mimicgan.prior import Prior
from prior_cases import untrained_generator


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2


def test_fgsm_is_one_step_along_the_sign_of_the_gradient(model, images) -> None:
    labels = torch.tensor([0, 1, 2, 3, 4])
    x = images.clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(model(x), labels, reduction="sum")
    (slope,) = torch.autograd.grad(loss, x)
    expected = (images + 0.1 * slope.sign()).clamp(0, 1)
    torch.testing.assert_close(attacked("fgsm", model, images, labels, eps=0.1), expected)


@pytest.mark.parametrize("name", [name for name, a in ATTACKS.items() if a.bounded])
def test_bounded_attacks_stay_within_eps_and_fool(name, model, images) -> None:
    own = model(images).argmax(dim=1)
    out = attacked(name, model, images, eps=0.1, seed=3)
    assert (out - images).abs().max() <= 0.1 + 1e-6
    assert out.min() >= 0
    assert out.max() <= 1
    assert (model(out).argmax(dim=1) != own).all()
    assert torch.equal(out, attacked(name, model, images, eps=0.1, seed=3))


def test_deepfool_finds_a_small_change(model, images) -> None:
    out = attacked("deepfool", model, images)
    assert (model(out).argmax(dim=1) != model(images).argmax(dim=1)).all()
    assert (out - images).flatten(1).norm(dim=1).max() < 1


@pytest.mark.parametrize("name", ["fgsm", "deepfool"])
def test_images_as_other_code_leaves_them_are_attacked_all_the_same(name, model, images) -> None:
    expected = attacked(name, model, images)
    with torch.no_grad():
        assert torch.equal(attacked(name, model, images), expected)
    with torch.inference_mode():
        assert torch.equal(attacked(name, model, images.clone()), expected)
    assert torch.equal(attacked(name, model, images.clone().requires_grad_()), expected)
    # What rounding left beside the range counts as its end.
    beside = images.clone()
    beside[0, 0, 0, 0] = -5e-6
    assert attacked(name, model, beside).min() >= 0


@pytest.mark.parametrize("name", ["on-manifold", "universal"])
def test_so_are_they_on_the_manifold_and_all_at_once(name, model, images) -> None:
    prior = Prior(untrained_generator(), 100, (1, 28, 28))
    few = {"projection_steps": 2, "attack_steps": 2, "searches": 1}

    def attack(x: torch.Tensor) -> torch.Tensor:
        if name == "universal":
            return universal_perturbation(model, x, 3)
        return on_manifold(model, prior, x, torch.arange(5), **few)

    expected = attack(images)
    with torch.inference_mode():
        assert torch.equal(attack(images.clone()), expected)
    own = images.clone().requires_grad_()
    found = attack(own)
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert own.grad is None


def test_a_model_on_another_device_stays_there(images) -> None:
    class Away(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, device="meta"))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :10]

    away = Away()
    attacked("fgsm", away, images)
    assert away.weight.device.type == "meta"


def test_wrong_names_and_labels_are_refused(model, images) -> None:
    with pytest.raises(UserError, match="fgsm"):
        attacked("none such", model, images)
    with pytest.raises(UserError, match="0 to 9"):
        attacked("fgsm", model, images, torch.full((5,), 10))
    with pytest.raises(UserError, match="0 to 9"):
        attacked("fgsm", model, images, torch.zeros(4, dtype=torch.long))


LABELS = torch.tensor([0, 1, 2, 3, 4])


def entries() -> dict[str, Callable[..., torch.Tensor]]:
    """Every way to attack, as a function of model, images and labels."""
    prior = Prior(untrained_generator(), 100, (1, 28, 28))
    return {
        "fgsm": lambda m, x, y: attacked("fgsm", m, x, y),
        "square": lambda m, x, y: attacked("square", m, x, y),
        "on_manifold": lambda m, x, y: on_manifold(m, prior, x, y),
        "universal": lambda m, x, y: universal_perturbation(m, x, int(y[0])),
    }


@pytest.mark.parametrize("entry", ["fgsm", "square", "on_manifold", "universal"])
def test_what_cannot_be_attacked_is_refused_everywhere(entry, model, images) -> None:
    attack = entries()[entry]
    with pytest.raises(ValueError, match="255"):
        attack(model, images * 255, LABELS)
    with pytest.raises(ValueError, match="images must be"):
        attack(model, images[0], LABELS)
    with pytest.raises((ValueError, UserError), match=r"images must be|5, 3, 28, 28"):
        attack(model, images.expand(-1, 3, -1, -1), LABELS)
    with pytest.raises(UserError, match="0 to 9"):
        attack(model, images, LABELS + 10)
    with pytest.raises(UserError, match="0 to 9"):
        attack(model, images, LABELS - 1)
    broken = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    nn.init.constant_(broken[1].bias, float("nan"))
    with pytest.raises(UserError, match="NaN"):
        attack(broken, images, LABELS)
    with pytest.raises(UserError, match="softmax"):
        attack(nn.Sequential(model, nn.Softmax(dim=1)), images, LABELS)


@pytest.mark.parametrize("eps", [0.0, -0.1, 8.0, float("nan")])
def test_an_eps_that_is_no_share_of_the_range_is_refused(model, images, eps) -> None:
    for name in ("fgsm", "square"):
        with pytest.raises(UserError, match="eps"):
            attacked(name, model, images, LABELS, eps=eps)
    with pytest.raises(UserError, match="eps"):
        universal_perturbation(model, images, 3, eps=eps)


def test_labels_of_another_type_or_number_are_refused(model, images) -> None:
    attack = entries()
    for name in ("fgsm", "square", "on_manifold"):
        for wrong in (LABELS.int(), LABELS.float(), LABELS[:4], LABELS[:, None], LABELS.numpy()):
            with pytest.raises(UserError, match="int64"):
                attack[name](model, images, wrong)
    for numbers in ({"batch": 0}, {"queries": 0}):
        with pytest.raises(UserError, match="1 or more"):
            attacked("square", model, images, **numbers)


@pytest.mark.filterwarnings("ignore")
def test_an_exported_model_can_be_attacked(model, images) -> None:
    program = torch.export.export(
        model, (torch.zeros(3, 1, 28, 28),), dynamic_shapes=({0: torch.export.Dim("n", min=1)},)
    ).module()
    expected = attacked("fgsm", model, images, LABELS)
    torch.testing.assert_close(attacked("fgsm", program, images, LABELS), expected)


def test_the_universal_perturbation_leads_to_its_target(model, images) -> None:
    change = universal_perturbation(model, images, 7, eps=0.2)
    assert change.shape == (1, 1, 28, 28)
    assert change.abs().max() <= 0.2 + 1e-6
    before = model(images).softmax(dim=1)[:, 7]
    assert (model(images + change).softmax(dim=1)[:, 7] > before).all()
    # The mean of one image's change is its own targeted step.
    x = images[:1].clone().requires_grad_(True)
    nn.functional.cross_entropy(model(x), torch.tensor([7])).backward()
    step = (images[:1] - 0.2 * x.grad.sign()).clamp(0, 1) - images[:1]
    torch.testing.assert_close(universal_perturbation(model, images[:1], 7, eps=0.2), step)


def test_the_attack_on_the_manifold_fools_with_what_the_generator_makes(model) -> None:
    torch.manual_seed(3)
    prior = Prior(untrained_generator(), 100, (1, 28, 28))
    images = (prior.sample(4, torch.Generator().manual_seed(5)) + 1) / 2
    labels = model(images).argmax(dim=1)
    out = on_manifold(model, prior, images, labels, projection_steps=20, attack_steps=60)
    assert (model(out).argmax(dim=1) != labels).float().mean() >= 0.5
    assert torch.equal(
        out, on_manifold(model, prior, images, labels, projection_steps=20, attack_steps=60)
    )


def test_the_black_box_attack_keeps_to_eps_and_needs_no_gradient(images) -> None:
    pytest.importorskip("art")

    class Stepped(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            score = (x.mean(dim=(1, 2, 3)) * 50).round() - 25
            return torch.stack([score, -score], dim=1)

    model, labels = Stepped(), torch.ones(5, dtype=torch.long)
    labels[model(images)[:, 0] > 0] = 0
    out = attacked("square", model, images, labels, eps=0.3, seed=1)
    assert (out - images).abs().max() <= 0.3 + 1e-5
    assert (model(out).argmax(dim=1) != labels).float().mean() >= 0.6
    assert torch.equal(out, attacked("square", model, images, labels, eps=0.3, seed=1))

    asked: list[int] = []
    handle = model.register_forward_hook(lambda _module, given, _out: asked.append(len(given[0])))
    for queries in (5, 20):
        # No image is fooled by so little, so that all changes are tried.
        attacked("square", model, torch.zeros(1, 1, 28, 28), eps=1e-6, queries=queries)
        asked.append(0)
    handle.remove()
    first = asked.index(0)
    assert sum(asked[first:]) - sum(asked[:first]) == 3 * (20 - 5)


@pytest.mark.parametrize("name", ["fgsm", "deepfool", "on-manifold", "universal"])
def test_a_model_under_training_comes_back_as_it_was(name, model, images) -> None:
    own = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(784, 10)).train()
    own[1].eval()
    labels = own(images).argmax(dim=1)
    if name == "on-manifold":
        prior = Prior(untrained_generator(), 100, (1, 28, 28))
        few = {"projection_steps": 1, "attack_steps": 2, "searches": 1}
        on_manifold(own, prior, images, labels, **few)
    elif name == "universal":
        universal_perturbation(own, images, 3)
    else:
        attacked(name, own, images, labels, eps=0.1)
    assert [part.training for part in own.modules()] == [True, True, False, True]
    assert all(p.requires_grad and p.grad is None for p in own.parameters())
