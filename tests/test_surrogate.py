"""Table 5: shapes, number of parameters, formula and start."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mimicgan.surrogate import ConvSurrogate, FaceSurrogate

Array = NDArray[np.float64]
GREY = (1, 28, 28)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_table_5_layers_and_parameters() -> None:
    f = ConvSurrogate(GREY)
    shapes = {name: tuple(p.shape) for name, p in f.named_parameters()}
    assert shapes == {
        "first.weight": (16, 1, 5, 5),
        "first.bias": (16,),
        "second.weight": (1, 16, 5, 5),
        "second.bias": (1,),
        "mask": GREY,
        "skip": GREY,
    }
    # Two convolutions with biases, a mask and W of 28x28.
    count = (5 * 5 * 1 * 16 + 16) + (5 * 5 * 16 * 1 + 1) + 28 * 28 + 28 * 28
    assert sum(p.numel() for p in f.parameters()) == count == 2385


def convolved(x: Array, weight: Array, bias: Array) -> Array:
    """A 5x5 cross-correlation (c, h, w) -> (o, h, w) with zeros around the image."""
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, weight) + bias[:, None, None]


LASTS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "none": lambda x: x,
}


@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("shape", [(1, 9, 7), (3, 8, 8)])
def test_output_is_mask_times_convolutions_plus_w_times_input(
    last: str, shape: tuple[int, int, int]
) -> None:
    f = ConvSurrogate(shape, last=last, generator=seeded()).double()
    with torch.no_grad():
        for p in f.parameters():
            p.copy_(torch.randn(p.shape, generator=seeded(p.numel()), dtype=torch.float64))
    x = torch.randn(2, *shape, generator=seeded(1), dtype=torch.float64)
    p = {name: value.detach().numpy() for name, value in f.named_parameters()}
    for image, got in zip(x.numpy(), f(x).detach().numpy(), strict=True):
        hidden = np.maximum(convolved(image, p["first.weight"], p["first.bias"]), 0)
        inner = LASTS[last](convolved(hidden, p["second.weight"], p["second.bias"]))
        np.testing.assert_allclose(got, p["mask"] * inner + p["skip"] * image, atol=1e-10)


def test_start_near_the_identity_or_as_a_random_network() -> None:
    x = torch.rand(4, *GREY, generator=seeded()) * 2 - 1
    off = [
        (ConvSurrogate(GREY, last="none", scale=scale, generator=seeded())(x) - x).abs().max()
        for scale in (0.0, 0.01, 1.0)
    ]
    assert off[0] == 0
    assert 0 < off[1] < 0.1 < off[2]
    # With neither W nor convolutions nothing comes out.
    assert not ConvSurrogate(GREY, skip=0.0, scale=0.0, generator=seeded())(x).any()
    assert ConvSurrogate(GREY, skip=0.0, generator=seeded())(x).any()


def test_start_is_drawn_from_the_generator_alone() -> None:
    states = []
    for noise, seed in ((1, 0), (2, 0), (2, 5)):
        torch.manual_seed(noise)
        states.append(
            torch.cat(
                [p.flatten() for p in ConvSurrogate(GREY, generator=seeded(seed)).parameters()]
            )
        )
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])


def test_start_keeps_the_variance_of_the_signal() -> None:
    f = ConvSurrogate((3, 64, 64), width=64, generator=seeded())
    assert f.first.weight.std().item() == pytest.approx((2 / (3 * 25)) ** 0.5, rel=0.05)
    assert f.second.weight.std().item() == pytest.approx((2 / (64 * 25)) ** 0.5, rel=0.05)
    assert not f.first.bias.any()
    assert not f.second.bias.any()


@pytest.mark.parametrize(("dims", "last"), [(1, "relu"), (3, "relu"), (3, "tanh")])
def test_table_2_is_tanh_of_mask_times_three_convolutions(dims: int, last: str) -> None:
    f = FaceSurrogate((3, 9, 7), dims=dims, last=last, generator=seeded()).double()
    with torch.no_grad():
        for p in f.parameters():
            p.copy_(0.1 * torch.randn(p.shape, generator=seeded(p.numel()), dtype=torch.float64))
    shapes = [tuple(p.shape) for p in f.parameters()]
    assert shapes == [
        (dims, 9, 7),
        (16, 3, 5, 5),
        (16,),
        (16, 16, 5, 5),
        (16,),
        (dims, 16, 5, 5),
        (dims,),
    ]
    x = torch.randn(2, 3, 9, 7, generator=seeded(1), dtype=torch.float64)
    p = {name: value.detach().numpy() for name, value in f.named_parameters()}
    for image, found in zip(x.numpy(), f(x).detach().numpy(), strict=True):
        out = image
        for k in range(2):
            out = np.maximum(convolved(out, p[f"convs.{k}.weight"], p[f"convs.{k}.bias"]), 0)
        out = LASTS[last](convolved(out, p["convs.2.weight"], p["convs.2.bias"]))
        wanted = np.broadcast_to(np.tanh(p["mask"] * out), (3, 9, 7))
        np.testing.assert_allclose(found, wanted, atol=1e-10)
