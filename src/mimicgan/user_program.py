"""A user's own network from a torch.export or TorchScript file, checked before it is used."""

import hashlib
import math
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mimicgan.errors import UserError
from mimicgan.prior import Prior

EXPORTED, SCRIPTED = ".pt2", ".pt"
PICKLES = (".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".tar")
RANGE_TOLERANCE = 1e-3


class UserProgram(nn.Module):
    """A program loaded from a file, as a module that can be frozen and hooked like any other.

    Exported programs refuse eval() and scripted ones refuse hooks, so the program is kept beside
    the module tree, not in it. It runs on the device it was saved for, wherever its input is.
    """

    def __init__(self, suffix: str, content: bytes) -> None:
        super().__init__()
        self._file = (suffix, content)
        program = _opened(suffix, BytesIO(content))
        self._program = (program,)
        self._home = next(program.parameters(), torch.empty(0)).device
        # The program's own tensors are not in the state: this stands for them.
        own = torch.tensor([*hashlib.sha256(content).digest()], dtype=torch.uint8)
        self.register_buffer("sha256", own)

    def __reduce__(self) -> tuple[type["UserProgram"], tuple[str, bytes]]:
        # Programs cannot be pickled; their files can be sent to another process.
        return UserProgram, self._file

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self._program[0](x.to(self._home))
        return out.to(x.device) if isinstance(out, Tensor) else out


def is_user_generator(path: Path) -> bool:
    """Whether ``path`` is, by its suffix, a file that is or might be taken for a generator."""
    return path.suffix.lower() in (EXPORTED, SCRIPTED, *PICKLES) and not path.is_dir()


def user_prior(
    generator: Path | nn.Module,
    latent_size: int | None,
    image_shape: tuple[int, int, int] | None,
    box: tuple[float, float] | None = None,
    discriminator: nn.Module | None = None,
) -> Prior:
    """A prior of one's own generator, a module or the program in a .pt2 or TorchScript .pt file.

    Raises UserError with the remedy.
    """
    if isinstance(generator, nn.Module):
        program, origin, name = generator, type(generator).__name__, Prior.name
    else:
        program, origin = load_program(generator, "generator"), str(generator)
        name = generator.stem
    if latent_size is None or image_shape is None:
        raise UserError(
            f"{origin} does not tell its latent size and image shape; give both by --latent-size N "
            "--image-shape C H W (load_prior(..., latent_size=100, image_shape=(1, 28, 28)))"
        )
    shape = tuple(image_shape)
    if len(shape) != 3:
        raise UserError(f"{shape} is no image shape; give channels, height and width: (1, 28, 28)")
    low, high = box or Prior.box
    if not -math.inf < low < high < math.inf:
        raise UserError(f"no latent lies in a box from {low:g} to {high:g}; give the lower first")
    try:
        prior = Prior(program, latent_size, shape, discriminator, (low, high), name)
    except NotImplementedError as error:
        raise UserError(f"{origin} cannot be frozen; save it to a file and name that") from error
    return checked(prior, origin)


@torch.inference_mode(False)
def load_program(path: Path, what: str) -> nn.Module:
    """The network ("generator", "classifier") in a .pt2 or TorchScript .pt file, frozen.

    Raises UserError with the remedy; a pickle is refused.
    """
    how = f"save the {what} with torch.export.save (.pt2) or torch.jit.save (.pt)"
    if not path.is_file():
        raise UserError(f"{path} does not exist; name a shipped {what} or a .pt2 or .pt file")
    if path.suffix.lower() in PICKLES or (
        path.suffix.lower() == SCRIPTED and not _is_torchscript(path)
    ):
        raise UserError(
            f"{path} is a pickle or no program; opening a pickle can run anything, and it holds "
            f"no network: {how}"
        )
    try:
        return UserProgram(path.suffix.lower(), path.read_bytes())
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"cannot open {path} ({reason}); {how} again") from error


def _opened(suffix: str, file: BytesIO) -> nn.Module:
    """The program in a file, frozen."""
    program: Any
    with warnings.catch_warnings():
        # TorchScript is deprecated, and still what many have.
        warnings.simplefilter("ignore")
        if suffix == EXPORTED:
            program = torch.export.load(file).module()
        else:
            program = torch.jit.load(file, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    for parameter in program.parameters():
        parameter.requires_grad_(False)
    return cast(nn.Module, program)


def checked(prior: Prior, origin: str) -> Prior:
    """``prior``, if its generator makes images of one, two and three latents, and its discriminator
    judges them; else UserError."""
    draws = torch.Generator().manual_seed(0)
    for count in (1, 2, 3):
        try:
            with torch.no_grad():
                images = prior.generator(prior.draw(count, draws))
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"the generator of {origin} fails on latents ({count}, {prior.latent_size}): "
                f"{reason}; give its latent size, and export it with a dynamic first dimension"
            ) from error
        wanted = (count, *prior.image_shape)
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        if got != wanted:
            raise UserError(
                f"the generator of {origin} gives {got} instead of images {wanted}; give its true "
                "image shape (channels, height, width)"
            )
        if images.dtype != torch.float32:
            raise UserError(
                f"the generator of {origin} gives {str(images.dtype).removeprefix('torch.')} "
                "instead of float32; turn it into float32 by .float(), and save it again"
            )
        low, high = (float(v) for v in images.aminmax())
        # Written so that NaN fails too.
        if not (low >= -1 - RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
            raise UserError(
                f"the generator of {origin} gives values in [{low:.4g}, {high:.4g}] instead of "
                "[-1, 1]; scale its output, or end it in tanh"
            )
    if prior.discriminator is not None:
        try:
            with torch.no_grad():
                logits = prior.discriminator(images)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"the discriminator of {origin} fails on images {wanted}: {reason}; leave it out, "
                "or give the one of this generator"
            ) from error
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if got != (count,):
            raise UserError(
                f"the discriminator of {origin} gives {got} instead of logits ({count},); flatten "
                "its output"
            )
    return prior


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
