"""Training of the classifier: resumed, augmented, and able to learn."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from image_cases import GREY
from mimicgan.errors import UserError
from mimicgan.models.classifier import FashionClassifier
from mimicgan.training.classifier import ClassifierSettings, _augmented, train_classifier
from mimicgan.training.restorer import RestorerSettings, train_universal

SETTINGS = ClassifierSettings(steps=7, batch=16)


class StoppedError(Exception):
    pass


def halves(count: int) -> tuple[Tensor, Tensor]:
    """Noisy pictures whose upper (class 0) or lower half (class 1) is bright."""
    draws = torch.Generator().manual_seed(count)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 100, (count, 1, 28, 28), generator=draws)
    images[labels == 0, :, :14] += 120
    images[labels == 1, :, 14:] += 120
    return images.to(torch.uint8), labels


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    path = tmp_path_factory.mktemp("classifier") / "state.pt"
    return train_classifier(*halves(48), SETTINGS, path, every=100)


@pytest.mark.parametrize("stop", [1, 5])
def test_a_stopped_run_goes_on_to_the_same_result(
    tmp_path: Path, unbroken: nn.Module, stop: int
) -> None:
    path = tmp_path / "state.pt"

    def stopping(step: int, _: float) -> None:
        if step == stop:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_classifier(*halves(48), SETTINGS, path, every=2, callback=stopping)
    torch.manual_seed(99)
    steps: list[int] = []
    note: Callable[[int, float], None] = lambda step, _: steps.append(step)  # noqa: E731
    resumed = train_classifier(*halves(48), SETTINGS, path, every=2, callback=note)
    assert steps == list(range(stop - stop % 2 + 1, 8))
    expected = unbroken.state_dict()
    different = [n for n, v in resumed.state_dict().items() if not torch.equal(v, expected[n])]
    assert different == []


def test_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    train_classifier(*halves(16), ClassifierSettings(steps=1, batch=16), path)
    with pytest.raises(ValueError, match="other settings"):
        train_classifier(*halves(16), ClassifierSettings(steps=2, batch=16), path)


def test_other_images_are_refused(tmp_path: Path) -> None:
    settings = ClassifierSettings(steps=1, batch=16)
    images, labels = halves(16)
    train_classifier(images, labels, settings, tmp_path / "state.pt")
    with pytest.raises(UserError, match="on other images; give the same images"):
        train_classifier(255 - images, labels, settings, tmp_path / "state.pt")
    grey = torch.zeros(4, *GREY)
    short = RestorerSettings(steps=1, batch=2)
    train_universal(grey, short, tmp_path / "restorer.pt")
    train_universal(grey, short, tmp_path / "restorer.pt")
    with pytest.raises(UserError, match="on other images; give the same images"):
        train_universal(grey + 0.5, short, tmp_path / "restorer.pt")


def test_it_learns_two_classes_in_a_few_steps(tmp_path: Path) -> None:
    settings = ClassifierSettings(steps=25, batch=32)
    losses: list[float] = []
    model = train_classifier(
        *halves(96), settings, tmp_path / "s.pt", callback=lambda _, loss: losses.append(loss)
    )
    assert isinstance(model, FashionClassifier)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert losses[0] > 1.5
    assert losses[-1] < 0.6
    images, labels = halves(60)
    assert torch.equal(model(images.float() / 127.5 - 1).argmax(1), labels)


def test_augmentation_shifts_by_at_most_one_pixel() -> None:
    images = torch.rand(300, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = images.clone()
    augmented = _augmented(images, torch.Generator().manual_seed(1))
    assert torch.equal(images, before)
    assert augmented.shape == images.shape
    # Every one is one of the 9 shifts, with black moving in.
    padded = np.pad(images[:, 0].numpy(), ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    seen = np.zeros((3, 3), int)
    for picture, source in zip(augmented[:, 0].numpy(), padded, strict=True):
        fits = [
            (top, left)
            for top in range(3)
            for left in range(3)
            if np.array_equal(picture, source[top : top + 28, left : left + 28])
        ]
        assert len(fits) == 1
        seen[fits[0]] += 1
    assert (seen > 15).all()
    again = _augmented(images, torch.Generator().manual_seed(1))
    assert torch.equal(again, augmented)


def test_the_callers_random_numbers_stay_as_they_were(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train_classifier(*halves(48), SETTINGS, tmp_path / "state.pt")
    assert torch.equal(torch.get_rng_state(), before)
