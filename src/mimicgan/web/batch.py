"""What a visitor wants restored: uploaded pictures, or shipped ones under a chosen damage."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import torch
from torch import Tensor

from mimicgan.commands.corrupt import UNSEEN_PREFIX, damaged
from mimicgan.commands.sources import SAMPLE, SAMPLE_SHAPE, images_of
from mimicgan.corruptions import CORRUPTIONS
from mimicgan.data import fashion_mnist
from mimicgan.errors import UserError
from mimicgan.image_files import ImageSet, remarks_told
from mimicgan.pictures import read_picture
from mimicgan.web.limits import MEGABYTE, Limits

Shape = tuple[int, int, int]
UPLOAD = "upload"
LONGEST_NAME = 120
# Decoding a picture takes hundreds of megabytes at worst: one at a time, whoever sent it.
DECODING = threading.Lock()


@dataclass(frozen=True)
class Batch:
    """Images to restore, and what is known about them."""

    found: ImageSet
    source: str
    """For the report: ``upload``, or ``sample`` and its damage."""
    bad: list[str] = field(default_factory=list)
    """Why pictures were left out, a sentence each."""
    clean: Tensor | None = None
    """The truth (n, c, h, w) in [0, 1], for samples."""
    labels: Tensor | None = None


@dataclass(frozen=True)
class Picture:
    """An uploaded picture, made to fit every prior of the page; or why it cannot be used."""

    images: Mapping[Shape, tuple[Tensor, list[str]]]
    error: str = ""


def read_upload(path: Path, name: str, shapes: Sequence[Shape], limits: Limits) -> Picture:
    """Read an uploaded file, called ``name`` by the visitor, for priors of ``shapes``."""
    shown = Path(plain_name(name))
    try:
        content = path.read_bytes()
    except OSError:
        return Picture({}, f"{shown} did not arrive; upload it again")
    most = limits.megapixels * 1_000_000
    try:
        with DECODING:
            read = {shape: read_picture(shown, shape, content, max_pixels=most) for shape in shapes}
    except UserError as error:
        return Picture({}, str(error))
    return Picture(read)


def refuse_much(paths: Sequence[Path], limits: Limits) -> None:
    """UserError for more files or bytes than one restoration may have."""
    if len(paths) > limits.files:
        raise UserError(
            f"these are {len(paths)} pictures; take away all but {limits.files} at most"
        )
    size = sum(path.stat().st_size for path in paths if path.is_file())
    if size > limits.upload:
        raise UserError(
            f"these pictures have {size / MEGABYTE:.0f} MB; give at most {limits.megabytes} MB"
        )


def uploaded(pictures: Sequence[tuple[str, Picture]], shape: Shape) -> Batch:
    """The pictures, under their names, that can be used; UserError when there is none."""
    bad = [picture.error for _, picture in pictures if picture.error]
    good = [(name, picture.images[shape]) for name, picture in pictures if not picture.error]
    if not good:
        told = f"none of these files can be used: {'; '.join(bad[:3])}" if bad else "no pictures"
        raise UserError(told if bad else "add some pictures first, about 25 of the same damage")
    names = unique([f"{PurePath(plain_name(name)).stem}.png" for name, _ in good])
    done: dict[str, list[str]] = {}
    for name, (_, remarks) in good:
        for remark in remarks:
            done.setdefault(remark, []).append(plain_name(name))
    images = torch.stack([image for _, (image, _) in good])
    return Batch(ImageSet(names, images, remarks_told(done)), UPLOAD, bad)


def sampled(kind: str, strength: str, count: int, shape: Shape, seed: int = 0) -> Batch:
    """The first ``count`` shipped images under the damage ``kind`` (``damage_kinds``)."""
    if shape != SAMPLE_SHAPE:
        raise UserError("the samples are clothes, 28x28 and grey; choose the prior for clothes")
    clean = images_of(SAMPLE, shape, count)
    told = damage_kinds().get(kind, ("", ""))[1]
    if kind.startswith(UNSEEN_PREFIX):
        kind = f"{kind}:{strength}"
    generator = torch.Generator().manual_seed(seed)
    # As a file would hold them: 256 levels.
    observed = (damaged(kind, clean.images, generator) * 255).round() / 255
    found = ImageSet(clean.names, observed, [told])
    labels = fashion_mnist.sample().labels[: len(observed)]
    return Batch(found, f"{SAMPLE}, {kind}", [], clean.images, labels)


def damage_kinds() -> dict[str, tuple[str, str]]:
    """Kind of damage for ``sampled`` -> its name and a description; the paper's first."""
    from mimicgan.experiments.unseen_corruptions import UNSEEN

    kinds = {name: (_words(name), each.description) for name, each in CORRUPTIONS.items()}
    for name, other in UNSEEN.items():
        label = "Nothing (undamaged)" if name == "none" else _words(name)
        kinds[f"{UNSEEN_PREFIX}:{name}"] = (label, other.description)
    return kinds


def plain_name(name: str) -> str:
    """The last part of a visitor's file name, printable and not long; never empty."""
    last = name.replace("\\", "/").rpartition("/")[2]
    # Not "?", which no file on Windows can be called.
    last = "".join(c if c.isprintable() else "_" for c in last)
    path = PurePath(last)
    # Counted in bytes, as file systems do.
    stem = path.stem.encode()[:LONGEST_NAME].decode(errors="ignore")
    return f"{stem or 'picture'}{path.suffix[:10]}"


def unique(names: Sequence[str]) -> list[str]:
    """The names, those that came before with a number added; case does not tell them apart."""
    taken: set[str] = set()
    told = []
    for name in names:
        path, number, other = PurePath(name), 1, name
        while other.lower() in taken:
            number += 1
            other = f"{path.stem} ({number}){path.suffix}"
        taken.add(other.lower())
        told.append(other)
    return told


def _words(name: str) -> str:
    return name.replace("-", " ").replace("_", " ").capitalize()
