"""Ranges and checks of images in memory."""

import numpy as np
import pytest
import torch
from torch import Tensor

from image_cases import COLOUR, GREY, some
from mimicgan.errors import UserError
from mimicgan.images import check_images, to_internal, to_user


def test_internal_range_and_back() -> None:
    x = torch.tensor([[[[0.0, 0.25, 1.0]]]])
    assert to_internal(x).tolist() == [[[[-1.0, -0.5, 1.0]]]]
    assert torch.equal(to_user(to_internal(x)), x)
    assert to_user(torch.tensor([-1.5, 3.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("images", "shape", "message"),
    [
        (np.zeros((1, 1, 28, 28), np.float32), GREY, "torch.from_numpy"),
        (torch.zeros(1, 1, 28, 28, dtype=torch.uint8), GREY, "x.float() / 255"),
        (torch.zeros(1, 1, 28, 28, dtype=torch.float64), GREY, "x.float()"),
        (torch.zeros(1, 28, 28), GREY, "x[None]"),
        (torch.zeros(28, 28), GREY, "(n, 1, 28, 28)"),
        (torch.zeros(0, 1, 28, 28), GREY, "at least one"),
        (torch.zeros(2, 28, 28, 1), GREY, "x.permute(0, 3, 1, 2)"),
        (torch.zeros(2, 1, 32, 32), GREY, "resize"),
        (torch.zeros(2, 3, 28, 28), GREY, "x.mean(dim=1, keepdim=True)"),
        (torch.zeros(2, 1, 16, 24), COLOUR, "x.expand(-1, 3, -1, -1)"),
        (torch.full((1, 1, 28, 28), float("nan")), GREY, "nan_to_num"),
        (torch.full((1, 1, 28, 28), float("inf")), GREY, "nan_to_num"),
        (torch.full((1, 1, 28, 28), -float("inf")), GREY, "nan_to_num"),
        (torch.full((1, 1, 28, 28), 200.0), GREY, "divide by 255"),
        (torch.full((1, 1, 28, 28), -0.5), GREY, "(x + 1) / 2"),
        (torch.full((1, 1, 28, 28), 1.2), GREY, "clamp"),
    ],
)
def test_wrong_images_are_refused_with_the_remedy(
    images: Tensor, shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(ValueError, match="images") as caught:
        check_images(images, shape)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_nan_among_many_is_found() -> None:
    images = some((5, *GREY))
    check_images(images, GREY)
    images[3, 0, 7, 7] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        check_images(images, GREY)


def test_messages_are_one_printable_line() -> None:
    message = str(UserError("a\nb\x1b[31m\udcff"))
    assert message == "a?b?[31m?"
    message.encode("utf-8")
