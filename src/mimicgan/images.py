"""Ranges and layouts, converted and checked in one place: [0, 1] for users, [-1, 1] inside."""

import torch
from torch import Tensor

# Rounding in somebody's preprocessing is not a mistake; a forgotten clamp is.
TOLERANCE = 1e-4


def to_internal(x: Tensor) -> Tensor:
    """Images (n, c, h, w) from the users' [0, 1] to the networks' [-1, 1]."""
    return x * 2 - 1


def to_user(x: Tensor) -> Tensor:
    """Images (n, c, h, w) from the networks' [-1, 1] to the users' [0, 1], clamped."""
    return ((x + 1) / 2).clamp(0, 1)


def rounded(x: Tensor) -> Tensor:
    """Images in [-1, 1] rounded to 256 levels: tanh never quite reaches a real image's black."""
    return ((x + 1) * 127.5).round() / 127.5 - 1


def check_images(x: Tensor, shape: tuple[int, int, int]) -> None:
    """Check that ``x`` is a set of images (n, c, h, w), float32 in [0, 1], n >= 1.

    ``shape`` is the (c, h, w) that is wanted. Raises ValueError that says what to do.
    """
    if not isinstance(x, Tensor):
        raise ValueError(
            f"images must be a torch.Tensor, not {type(x).__name__}; use torch.from_numpy(x)"
        )
    if x.dtype == torch.uint8:
        raise ValueError("images must be float32 in [0, 1], not uint8; use x.float() / 255")
    if x.dtype != torch.float32:
        raise ValueError(f"images must be float32, not {x.dtype}; use x.float()")
    _check_shape(tuple(x.shape), shape)
    _check_range(x)


def _check_shape(got: tuple[int, ...], shape: tuple[int, int, int]) -> None:
    wanted = "(n, {}, {}, {})".format(*shape)
    if len(got) == 3:
        raise ValueError(
            f"images must be {wanted}, not {got}; use x[None] for one image, "
            "x[:, None] for grey images"
        )
    if len(got) != 4:
        raise ValueError(f"images must be {wanted}, not {got}")
    if got[0] == 0:
        raise ValueError(f"images must be {wanted}, not {got}; give at least one image")
    if got[1:] == shape:
        return
    channels, height, width = shape
    if got[1:] == (height, width, channels):
        remedy = "use x.permute(0, 3, 1, 2)"
    elif got[2:] != (height, width):
        remedy = "resize them, or use a prior trained at their size"
    elif channels == 1:
        remedy = "use x.mean(dim=1, keepdim=True), or a colour prior"
    else:
        remedy = f"use x.expand(-1, {channels}, -1, -1) for grey images"
    raise ValueError(f"images must be {wanted}, not {got}; {remedy}")


def _check_range(x: Tensor) -> None:
    low, high = (float(v) for v in x.detach().aminmax())
    # A NaN anywhere makes both extremes NaN.
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise ValueError("images hold NaN or infinite values; use torch.nan_to_num(x).clamp(0, 1)")
    if low >= -TOLERANCE and high <= 1 + TOLERANCE:
        return
    if low >= 0 and 2 < high <= 255:
        remedy = "divide by 255"
    elif low >= -1 - TOLERANCE and high <= 1 + TOLERANCE:
        remedy = "if they are in [-1, 1], use (x + 1) / 2"
    else:
        remedy = "scale them, or use x.clamp(0, 1)"
    raise ValueError(f"images must be in [0, 1], not [{low:.4g}, {high:.4g}]; {remedy}")
