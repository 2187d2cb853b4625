"""The overview picture."""

import numpy as np
import pytest
import torch

from image_cases import GREY
from mimicgan.overview import grid, stacked


def test_grid_shows_every_image_in_its_place() -> None:
    rows = [("observed", torch.zeros(3, *GREY)), ("a longer label", torch.ones(2, *GREY) * 0.5)]
    picture = grid(rows, title="t")
    pixels = np.asarray(picture)
    # 28 pixels are enlarged twice.
    assert (pixels == 0).all(axis=2).sum() >= 3 * 56 * 56
    assert (pixels == 128).all(axis=2).sum() == 2 * 56 * 56
    assert stacked([picture, picture]).height >= 2 * picture.height
    board = (torch.arange(784) % 2).float().reshape(1, 1, 28, 28)
    cell = np.asarray(grid([("sharp", board)]))[4:60, -60:-4]
    assert np.array_equal(cell[::2, ::2, 0], board[0, 0].numpy() * 255)
    assert np.array_equal(cell[1::2, 1::2, 0], board[0, 0].numpy() * 255)
    narrow = grid(rows, columns=1)
    assert narrow.width < picture.width
    # A line more: the first 1 of 3.
    assert narrow.height > grid(rows).height


def test_a_white_image_is_seen_on_the_white_page() -> None:
    pixels = np.asarray(grid([("", torch.ones(1, *GREY))]))
    assert (pixels[:, :, 0] == 192).sum() == 4 * 57


def test_grid_refuses_what_it_cannot_show() -> None:
    for rows in ([], [("a", torch.zeros(0, *GREY))]):
        with pytest.raises(ValueError, match="at least one image"):
            grid(rows)
    with pytest.raises(ValueError, match="one image size"):
        grid([("a", torch.zeros(1, 1, 4, 4)), ("b", torch.zeros(1, 1, 5, 5))])
    with pytest.raises(ValueError, match="1 or 3"):
        grid([("a", torch.zeros(1, 2, 4, 4))])
