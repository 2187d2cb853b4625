"""Equation 3's terms and the set distances against numpy's own arithmetic."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mimicgan.losses import (
    MANY,
    adversarial_loss,
    energy_distance,
    identity_loss,
    mimicking_loss,
    spread,
)

SHAPE = (3, 2, 4, 5)


@pytest.fixture
def images() -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    y, x, y_est = (
        torch.rand(SHAPE, generator=draws, dtype=torch.float64) * 2 - 1 for _ in range(3)
    )
    return y, x, y_est


def test_mimicking_loss_is_the_mean_of_absolute_differences(
    images: tuple[Tensor, Tensor, Tensor],
) -> None:
    y, _, y_est = images
    summed = sum(float(abs(a - b)) for a, b in zip(y.flatten(), y_est.flatten(), strict=True))
    assert mimicking_loss(y, y_est).item() == pytest.approx(summed / (3 * 2 * 4 * 5), rel=1e-12)


def test_identity_loss_has_both_of_the_papers_terms(images: tuple[Tensor, Tensor, Tensor]) -> None:
    y, x, y_est = (image.numpy() for image in images)
    expected = np.abs(y - x).mean() + np.abs(y_est - x).mean()
    assert identity_loss(*images).item() == pytest.approx(expected, rel=1e-12)
    # Neither term can stand for the other.
    assert identity_loss(images[0], images[1], images[1]).item() == pytest.approx(
        np.abs(y - x).mean(), rel=1e-12
    )
    assert identity_loss(images[1], images[1], images[2]).item() == pytest.approx(
        np.abs(y_est - x).mean(), rel=1e-12
    )


def test_adversarial_loss_is_the_mean_of_log_one_minus_d() -> None:
    logits = torch.linspace(-20, 20, 81, dtype=torch.float64)
    naive = np.log(1 - 1 / (1 + np.exp(-logits.numpy()))).mean()
    assert adversarial_loss(logits).item() == pytest.approx(naive, rel=1e-6)


@pytest.mark.parametrize(("logit", "value", "slope"), [(1e4, -1e4, -1.0), (-1e4, 0.0, 0.0)])
def test_adversarial_loss_stays_finite_where_the_naive_formula_does_not(
    logit: float, value: float, slope: float
) -> None:
    given = torch.tensor([logit], requires_grad=True)
    loss = adversarial_loss(given)
    (gradient,) = torch.autograd.grad(loss, given)
    assert loss.item() == pytest.approx(value, abs=1e-6)
    assert gradient.item() == pytest.approx(slope, abs=1e-6)


def test_energy_distance_against_plain_loops() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(6, 3)), random.normal(1, 2, size=(9, 3))
    between = np.mean([np.linalg.norm(p - q) for p in a for q in b])
    within_a = np.mean([np.linalg.norm(a[i] - a[j]) for i in range(6) for j in range(6) if i != j])
    within_b = np.mean([np.linalg.norm(b[i] - b[j]) for i in range(9) for j in range(9) if i != j])
    got = energy_distance(torch.from_numpy(a), torch.from_numpy(b)).item()
    assert got == pytest.approx(2 * between - within_a - within_b, abs=2e-5)


def test_energy_distance_has_a_finite_gradient_at_equal_points() -> None:
    a = torch.ones(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(energy_distance(a, torch.ones(5, 3)), a)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_spread_of_many_rows_is_about_the_mean_over_all_pairs(parts: int) -> None:
    rows = torch.randn(parts * MANY + 7, 5, generator=torch.Generator().manual_seed(parts))
    rows[::2] *= 3
    n = len(rows)
    every = torch.cdist(rows, rows).sum().item() / (n * (n - 1))
    assert spread(rows).item() == pytest.approx(every, rel=0.02)
    # No row may meet itself: that would be a distance of zero.
    apart = torch.zeros(2 * MANY, 2 * MANY).fill_diagonal_(1.0)
    assert spread(apart).item() == pytest.approx(2**0.5, rel=1e-3)
