"""Images for a command: files, the sample that travels in the package, or a data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from torch import Tensor

from mimicgan.commands.flags import PATH
from mimicgan.data import celeba, fashion_mnist
from mimicgan.data.folder import folder_images
from mimicgan.errors import UserError
from mimicgan.image_files import ImageSet, left_out, read_images, source_files
from mimicgan.images import rounded, to_user
from mimicgan.prior import Prior
from mimicgan.training.checkpoint import step_generator

SAMPLE = "sample"
SAMPLE_SHAPE = (1, 28, 28)
FASHION, CELEBA = "fashion-mnist", "celeba"


def is_sample(source: str) -> bool:
    """Whether the word means the shipped images. UserError where it is also a file or folder."""
    if source == SAMPLE and Path(source).exists():
        raise UserError(
            f"{source} is the word for the shipped images, and lies here; write ./{source} for "
            "what lies here, or go to another folder"
        )
    return source == SAMPLE


def images_of(source: str, shape: tuple[int, int, int], count: int | None = None) -> ImageSet:
    """The first ``count`` (all unless given) images of ``source`` for a prior of ``shape``."""
    if count is not None and count < 1:
        raise UserError(f"--count {count} leaves no image; give 1 or more")
    if is_sample(source):
        images = fashion_mnist.sample().images.float() / 255
        if shape != SAMPLE_SHAPE:
            raise UserError(f"the shipped images are 28x28 and grey, not {shape}; give a folder")
        total, images = len(images), images[:count].clone()
        names = [f"sample-{i:03d}.png" for i in range(len(images))]
        return ImageSet(names, images, left_out(len(images), total))
    return read_images(source, shape, count)


def invented(prior: Prior, count: int, seed: int) -> Tensor:
    """Generated images (count, c, h, w) in [0, 1] that no method with this ``seed`` learns from.

    The default method knows those of the bank, or where there is none what its own seed draws.
    """
    return to_user(rounded(prior.sample(count, step_generator(seed, 0))))


def inputs_of(source: str) -> list[Path]:
    """Files and folders that are read, for ``output_folder`` to keep off."""
    if is_sample(source):
        return []
    return [Path(source)] if Path(source).exists() else source_files(source)


def files_of(*places: str | Path | None) -> list[Path]:
    """Files among ``places`` and right in those that are folders, for ``output_folder`` as well;
    a word that names neither, as a shipped prior's, stands for none."""
    found: list[Path] = []
    for path in (Path(place) for place in places if place):
        if path.exists():
            found += [path] if path.is_file() else list(path.iterdir())
    return found


def written_names(found: ImageSet) -> set[str]:
    """Names of the files that ``write_like`` makes."""
    return set(found.names) if found.array is None else {found.array.name}


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """Which clean images a command takes."""

    data: str = FASHION
    """fashion-mnist, celeba, or a folder of clean images (one in ten is kept for validation)."""
    data_dir: Annotated[Path | None, PATH] = None
    """Where the data set is, if not in one of its usual places."""

    def clean(
        self, shape: tuple[int, int, int], split: Literal["train", "validation"] = "train"
    ) -> Tensor:
        """The images (n, c, h, w), uint8, of ``shape``. Raises UserError."""
        if self.data == FASHION:
            if shape != SAMPLE_SHAPE:
                raise UserError(
                    f"Fashion-MNIST is 28x28 and grey, not {shape}; give another --data"
                )
            return fashion_mnist.load(split, self.data_dir).images
        if self.data == CELEBA:
            if shape[0] != 3:
                raise UserError(f"CelebA is in colour, not {shape}; give another --data or network")
            return celeba.load(split, self.data_dir, shape[1])
        if self.data_dir is not None:
            raise UserError(
                f"--data-dir is where {FASHION} or {CELEBA} lies, and --data {self.data} is a "
                "folder itself; leave one out"
            )
        return folder_images(self.data, shape, split)
