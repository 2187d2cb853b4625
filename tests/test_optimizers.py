"""Each optimiser against its formula, written out in numpy."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mimicgan.optimizers import optimizer

Array = NDArray[np.float64]
Formula = Callable[[list[Array], float], Iterator[Array]]


def tf_rmsprop(gradients: list[Array], rate: float) -> Iterator[Array]:
    mean_square = np.ones_like(gradients[0])
    for g in gradients:
        mean_square = 0.9 * mean_square + 0.1 * g**2
        yield -rate * g / np.sqrt(mean_square + 1e-10)


def torch_rmsprop(gradients: list[Array], rate: float) -> Iterator[Array]:
    mean_square = np.zeros_like(gradients[0])
    for g in gradients:
        mean_square = 0.9 * mean_square + 0.1 * g**2
        yield -rate * g / (np.sqrt(mean_square) + 1e-8)


def adam(gradients: list[Array], rate: float) -> Iterator[Array]:
    first = second = np.zeros_like(gradients[0])
    for t, g in enumerate(gradients, 1):
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        yield -rate * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)


FORMULAS: dict[str, Formula] = {"rmsprop": torch_rmsprop, "tf-rmsprop": tf_rmsprop, "adam": adam}


@pytest.mark.parametrize("name", FORMULAS)
def test_several_steps_follow_the_formula(name: str) -> None:
    random = np.random.default_rng(0)
    # From far below to far above one, where the start of the mean square and epsilon matter.
    gradients = [random.normal(size=7) * 10.0 ** np.arange(-5, 2) for _ in range(6)]
    expected = random.normal(size=7)
    p = torch.tensor(expected, requires_grad=True)
    update = optimizer(name, [p], 0.03)
    for g, change in zip(gradients, FORMULAS[name](gradients, 0.03), strict=True):
        p.grad = torch.from_numpy(g.copy())
        update.step()
        expected = expected + change
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("name", "size"), [("tf-rmsprop", 1.05e-6), ("rmsprop", 3.16e-3)])
def test_first_step_at_rate_and_gradient_of_a_thousandth(name: str, size: float) -> None:
    p = torch.zeros(1, requires_grad=True)
    p.grad = torch.full((1,), 1e-3)
    optimizer(name, [p], 1e-3).step()
    assert p.item() == pytest.approx(-size, rel=0.01)


def test_state_is_kept_apart_for_each_parameter_and_missing_gradients_are_skipped() -> None:
    p, q, still = (torch.zeros(2, requires_grad=True) for _ in range(3))
    update = optimizer("tf-rmsprop", [p, q, still], 0.1)
    for _ in range(3):
        p.grad, q.grad = torch.full((2,), 5.0), torch.full((2,), 0.01)
        update.step()
    alone = torch.zeros(2, requires_grad=True)
    update = optimizer("tf-rmsprop", [alone], 0.1)
    for _ in range(3):
        alone.grad = torch.full((2,), 0.01)
        update.step()
    assert torch.equal(q, alone)
    assert not torch.equal(p, q)
    assert torch.equal(still, torch.zeros(2))


def test_the_gradient_is_left_as_it_is() -> None:
    p = torch.zeros(2, requires_grad=True)
    p.grad = torch.tensor([0.5, -2.0])
    optimizer("tf-rmsprop", [p], 0.1).step()
    assert torch.equal(p.grad, torch.tensor([0.5, -2.0]))
