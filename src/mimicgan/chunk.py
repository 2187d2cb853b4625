"""The work on one chunk of a large job: pictures in, files out, and nothing written.

What comes out depends on the chunk, the damage it is given and the settings alone, so that it may
be done anywhere, twice, or in vain.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mimicgan.damage import ComposedDamage
from mimicgan.errors import UserError
from mimicgan.image_files import as_pictures, encoded
from mimicgan.images import rounded, to_internal, to_user
from mimicgan.learnt import Damage
from mimicgan.misfit import some
from mimicgan.pictures import read_picture, unreadable
from mimicgan.prior import Prior
from mimicgan.restore import Settings, learnt_damage
from mimicgan.set_distance import SetDistance, random_corners

SAMPLE, COMPARED, SLIGHT = 100, 64, 0.03
JUDGED = 8
"""Damages that are kept open."""


@dataclass(frozen=True)
class Chunk:
    """Some pictures of one source."""

    group: str
    number: int
    files: tuple[tuple[str, Path], ...]
    """Name below the job's folder, and where it lies."""
    digest: str = field(init=False, compare=False)
    """SHA-256 of the names, sizes and times of its files, as they were before the work: what
    changes during it is done anew by the next run."""

    @property
    def label(self) -> str:
        """A file name, without suffix, that no other chunk of the job has."""
        return f"{_slug(self.group)}-{self.number:06d}"

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", self._digest())

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name, path in self.files:
            try:
                facts = path.stat()
                # Pictures without compression are of one size, whatever they show.
                state = f"{facts.st_size} {facts.st_mtime_ns}"
            except OSError:
                state = "-1"
            # No name holds the byte that ends it.
            digest.update(name.encode("utf-8", "surrogateescape") + f"\0{state}\0".encode())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Known:
    """A damage that a chunk before has learnt: its name, and the content of its file."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Restored:
    """What became of a chunk."""

    outputs: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Name below the output folder -> content of the file."""
    bad: dict[str, str] = field(default_factory=dict)
    """Name -> why it was left out."""
    damage: str = ""
    """The damage in use after it; empty where none was learnt."""
    learnt: Known | None = None
    """That damage, where this chunk has learnt it."""
    misfit: float | None = None
    own: bool = True
    """Whether a restorer restored that was made for the damage, not the universal one."""
    changed: bool = False
    """The damage given is not that of these pictures, and nothing else was done."""


class Work:
    """What is done to every chunk of a job."""

    def __init__(self, prior: Prior, settings: Settings, *, strict: bool = False) -> None:
        self.prior, self.settings, self.strict = prior, settings, strict
        draws = torch.Generator().manual_seed(settings.seed)
        self._bank = rounded(prior.typical(COMPARED * 4, draws))
        self._judged: dict[str, _Judged] = {}

    @property
    def learns(self) -> bool:
        """Whether a chunk may need the damage that one before it has learnt."""
        return self.settings.method == "auto"

    def __call__(
        self,
        chunk: Chunk,
        known: Known | None = None,
        contents: Mapping[str, bytes | OSError] | None = None,
    ) -> Restored:
        """Restore a chunk by the ``known`` damage, or learn one where there is none.

        ``contents`` are the files by name where they cannot be read here. Raises UserError for a
        picture that is bad, or that nothing restores, if the job is strict.
        """
        bad: dict[str, str] = {}
        images: dict[str, Tensor] = {}
        for name, path in chunk.files:
            try:
                images[name] = self._image(path, None if contents is None else contents[name])
            except UserError as error:
                if self.strict:
                    raise
                bad[name] = str(error)
        name = known.name if known else ""
        if not images:
            return Restored(bad=bad, damage=name)
        if self.learns and known is None and self._too_few(len(images)):
            told = (
                f"{{}} is one of fewer than {self.settings.match.fewest} pictures, and the prior "
                "has no restorer; give more, or a prior by `mimicgan train gan`, to which "
                "`mimicgan train restorer` adds one"
            )
            if self.strict:
                raise UserError(told.format(next(iter(images))))
            return Restored(bad=bad | {file: told.format(file) for file in images})
        observed = torch.stack(list(images.values()))
        learnt = None
        if not self.learns:
            damage = Damage.universal(self.prior)
        elif known is None:
            damage, learnt = self._learn(chunk, observed)
            name = learnt.name if learnt else ""
        else:
            judged = self._open(known)
            if judged.changed(to_internal(observed)):
                return Restored(changed=True)
            damage = judged.damage
        clean = as_pictures(to_user(damage.restore(to_internal(observed))))
        outputs = {
            file: encoded(picture, Path(file).suffix)
            for file, picture in zip(images, clean, strict=True)
        }
        return Restored(outputs, bad, name, learnt, damage.misfit, damage.own)

    def _too_few(self, count: int) -> bool:
        """Whether so many pictures can be restored by nothing."""
        return self.prior.restorer is None and count < self.settings.match.fewest

    def _image(self, path: Path, content: bytes | OSError | None) -> Tensor:
        if isinstance(content, OSError):
            raise unreadable(path, content) from content
        return read_picture(path, self.prior.image_shape, content)[0]

    def _learn(self, chunk: Chunk, observed: Tensor) -> tuple[Damage, Known | None]:
        """The damage of a chunk; nothing to keep where the images are too few to learn from."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        seen = some(observed, SAMPLE, generator)
        damage = learnt_damage(seen, self.prior, self.settings)
        if not isinstance(damage.surrogate, ComposedDamage):
            return damage, None
        return damage, Known(f"{chunk.label}.safetensors", damage.content())

    def _open(self, known: Known) -> "_Judged":
        if known.name not in self._judged:
            if len(self._judged) == JUDGED:
                self._judged.clear()
            damage = Damage.parsed(known.content, Path(known.name), self.prior)
            self._judged[known.name] = _judged(damage, self._bank, self.settings)
        return self._judged[known.name]


@dataclass
class _Judged:
    """A damage, and what observations under it should look like."""

    damage: Damage
    simulated: Tensor
    usual: float
    noise: float

    def changed(self, y: Tensor) -> bool:
        """Whether y (n, c, h, w) in [-1, 1] no longer looks like this damage."""
        if len(y) < COMPARED:
            return False
        shape = (y.shape[1], y.shape[2], y.shape[3])
        generator = torch.Generator().manual_seed(0)
        corners = random_corners(shape, generator)
        apart = SetDistance(some(y, COMPARED, generator), corners)(self.simulated).item()
        return apart - self.usual > SLIGHT + 4 * self.noise


def _judged(damage: Damage, bank: Tensor, settings: Settings) -> _Judged:
    generator = torch.Generator().manual_seed(settings.seed)
    half = len(bank) // 2
    simulated = to_internal(to_user(damage.simulate(bank, generator)))
    shape = (bank.shape[1], bank.shape[2], bank.shape[3])
    corners = random_corners(shape, torch.Generator().manual_seed(0))
    null = []
    for _ in range(8):
        order = torch.randperm(len(simulated), generator=generator)
        drawn, others = simulated[order[:COMPARED]], simulated[order[half:]]
        null.append(SetDistance(drawn, corners)(others))
    values = torch.stack(null)
    noise = float(values.std())
    # A damage that was not quite understood is no further away now than it was then.
    usual = float(values.mean()) + max(0.0, damage.misfit or 0.0) * (SLIGHT + 2 * noise)
    return _Judged(damage, simulated[half:], usual, noise)


def _slug(group: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9]+", "-", group).strip("-")[:40] or "all"
    return f"{plain}-{hashlib.sha256(group.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
