"""Random corruptions: every kind keeps shape and range, changes images, and repeats for a seed."""

import pytest
import torch

from mimicgan.random_corruption import KINDS, Dice, random_corruption


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (3, 3, 64, 48), (1, 1, 9, 7)])
def test_a_kind_gives_finite_images_of_the_same_shape(kind, shape) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for seed in range(8):
        out = kind(x, Dice(torch.Generator().manual_seed(seed)))
        assert out.shape == x.shape
        assert out.isfinite().all()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_kind_changes_images_and_repeats(kind, fashion) -> None:
    x = fashion.images[:8].float() / 127.5 - 1
    outs = [kind(x, Dice(torch.Generator().manual_seed(seed))) for seed in (0, 0, 1, 2, 3, 4)]
    assert torch.equal(outs[0], outs[1])
    assert sum(float((out - x).abs().mean()) > 0.005 for out in outs[1:]) >= 3


def test_a_corruption_stays_in_range_and_leaves_its_input(fashion) -> None:
    x = fashion.images[:8].float() / 127.5 - 1
    before = x.clone()
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        out = random_corruption(generator)(x)
        assert out.min() >= -1
        assert out.max() <= 1
    assert torch.equal(x, before)
