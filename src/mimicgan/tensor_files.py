"""Networks from safetensors files: never a pickle, whole or refused, no memory for a false card."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from mimicgan.errors import UserError

ZIP, PICKLE = b"PK", b"\x80"


def tensors_of(content: bytes, path: Path, remedy: str) -> dict[str, Tensor]:
    """The tensors in the content of the file ``path``; UserError ends in the ``remedy``."""
    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        # Only now: the first bytes of a safetensors file are its header's length, any number.
        if content[:2] == ZIP or content[:1] == PICKLE:
            raise UserError(
                f"{path} is a pickle or a program, and opening a pickle can run anything; {remedy}"
            ) from error
        raise UserError(f"{path} is damaged or no safetensors file; {remedy}") from error


def built(
    make: Callable[[], nn.Module], tensors: Mapping[str, Tensor], part: str = ""
) -> nn.Module:
    """What ``make`` makes, with its values from ``tensors``, whose names start with ``part.``.

    Raises RuntimeError when names or shapes do not fit, before any memory is taken.
    """
    prefix = f"{part}." if part else ""
    own = {
        name.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    # Nothing is drawn either: the caller's random numbers stay as they were.
    with torch.device("meta"):
        module = make()
    module.load_state_dict(own, assign=True)
    return module


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
