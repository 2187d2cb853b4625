"""Damaged and hostile files: each is read, or refused in a line, in little time and memory.

MIMICGAN_FUZZ multiplies the number of examples.
"""

import gzip
import hashlib
import json
import os
import resource
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mimicgan.damage import ComposedDamage
from mimicgan.data.idx import idx_bytes
from mimicgan.errors import UserError
from mimicgan.image_files import read_images
from mimicgan.journal import read_marker
from mimicgan.learnt import Damage
from mimicgan.pretrained import Card, load_prior, save_prior
from mimicgan.prior import Prior
from mimicgan.training import checkpoint
from tiny_gan import TinyGenerator

SHAPE = (1, 8, 8)
SECONDS = 5.0
examples = settings(
    max_examples=30 * int(os.environ.get("MIMICGAN_FUZZ", "1")),
    deadline=None,
    derandomize="MIMICGAN_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)


def picture(kind: str, mode: str = "L") -> bytes:
    file = BytesIO()
    Image.fromarray(pixels()[0]).convert(mode).save(file, kind)
    return file.getvalue()


def numpy_file(save: Callable[..., None], array: np.ndarray) -> bytes:
    file = BytesIO()
    save(file, array)
    return file.getvalue()


IMAGES: dict[str, bytes] = {
    "a.png": picture("PNG"),
    "rgba.png": picture("PNG", "RGBA"),
    "palette.png": picture("PNG", "P"),
    "deep.png": picture("PNG", "I;16"),
    "a.jpg": picture("JPEG"),
    "a.gif": picture("GIF"),
    "a.bmp": picture("BMP"),
    "a.tif": picture("TIFF"),
    "a.webp": picture("WEBP"),
    "a.npy": numpy_file(np.save, pixels()),
    "float.npy": numpy_file(np.save, pixels().astype(np.float32) / 255),
    "a.npz": numpy_file(np.savez, pixels()),
    "packed.npz": numpy_file(np.savez_compressed, pixels()),
    "a-idx3-ubyte": idx_bytes(pixels()),
    "a-idx3-ubyte.gz": gzip.compress(idx_bytes(pixels()), mtime=0),
}


@contextmanager
def within_bounds(limit: int = 300 * 2**20) -> Iterator[None]:
    """Fails when the block takes long or much memory, or raises anything but a UserError."""
    with suppress(OSError):
        # Linux: the high-water mark starts anew.
        Path("/proc/self/clear_refs").write_text("5")
    before, started = _peak(), time.process_time()
    with suppress(UserError):
        yield
    assert time.process_time() - started < SECONDS
    assert _peak() - before < limit


def _peak() -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


NUMBERS = [0, 1, 0x7F, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 10**12, 2**63 - 1, 2**64 - 1]


@st.composite
def broken(draw: st.DrawFn, whole: bytes) -> bytes:
    """``whole`` with bits flipped, cut short, with other bytes or numbers put in; or any bytes."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        # Half of the time near the start, where the headers are.
        end = min(len(content), 128) if draw(st.booleans()) else len(content)
        at = draw(st.integers(0, max(0, end - 1)))
        kind = draw(st.sampled_from(["flip", "cut", "put", "number", "drop", "again"]))
        if kind == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[at:]
        elif kind == "put":
            content[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=8))
        elif kind == "number":
            size = draw(st.sampled_from([1, 2, 4, 8]))
            number = draw(st.sampled_from(NUMBERS)) % 2 ** (8 * size)
            order = draw(st.sampled_from(["big", "little"]))
            content[at : at + size] = number.to_bytes(size, order)
        elif kind == "drop":
            del content[at : at + draw(st.integers(1, 16))]
        else:
            content[at:at] = content[at : at + draw(st.integers(1, 64))]
    return bytes(content)


@pytest.mark.parametrize("name", IMAGES)
@examples
@given(data=st.data())
def test_damaged_images(name: str, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / name
    path.write_bytes(IMAGES[name])
    read_images(path, SHAPE)
    path.write_bytes(data.draw(broken(IMAGES[name])))
    with within_bounds():
        images = read_images(path, SHAPE).images
        assert images.shape[1:] == SHAPE
        assert 0 <= images.min() <= images.max() <= 1


def npy(header: str, content: bytes = b"", version: int = 1) -> bytes:
    size = 2 if version == 1 else 4
    text = header.encode("utf-8" if version == 3 else "latin1") + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(size, "little") + text + content


def npz(content: bytes, name: str = "images.npy") -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def described(shape: object, descr: object = "|u1", order: object = False) -> str:
    return repr({"descr": descr, "fortran_order": order, "shape": shape})


HEADERS = [
    described((10**12, 8, 8)),
    described((10**12, 1, 8, 8), "<f4"),
    described((2**63, 8, 8)),
    described((10**30, 8, 8)),
    described((-1, 8, 8)),
    described((3, -8, -8)),
    described((3, 8, 8), "|S1000000000"),
    described((3, 8, 8), "|V0"),
    described((10**9, 8, 8), "|V0"),
    described((3, 8, 8), "|O"),
    described((3, 8, 8), "<f16"),
    described((3, 8, 8), "<M8[s]"),
    described((3, 8, 8), [("a", "<f4"), ("b", "|O")]),
    described((3, 8, 8), ["x"]),
    described((3, 8, 8), None),
    described((3, 8, 8), order=3),
    described((True, 8, 8)),
    described(tuple([1] * 40 + [3, 8, 8])),
    described("388"),
    "{" * 3000,
    "(" * 9000,
    "-" * 9000 + "1",
    "{'descr': '|u1'}",
    "3",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (3L, 8L, 8L)}",
    "{'descr'",
    "'''",
    "  x\n y",
    "\x00",
    " " * 20000,
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_headers_that_lie(header: str, tmp_path: Path) -> None:
    for version in (1, 2, 3):
        content = npy(header, bytes(192), version)
        for name, whole in (("a.npy", content), ("a.npz", npz(content))):
            (tmp_path / name).write_bytes(whole)
            with within_bounds():
                read_images(tmp_path / name, SHAPE)


def test_little_that_unpacks_to_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """100 MB of zeros are 100 kB in a .npz or .gz: of a wrong shape they are not read at all."""
    count = 2**20
    (tmp_path / "a.npz").write_bytes(npz(npy(described((count, 10, 10)), bytes(count * 100))))
    header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (count, 10, 10))
    (tmp_path / "a-idx3.gz").write_bytes(gzip.compress(header + bytes(count * 100), 1))
    for path in list(tmp_path.iterdir()):
        with within_bounds(50 * 2**20):
            read_images(path, SHAPE)
        with pytest.raises(UserError, match="needs images of 8x8"):
            read_images(path, SHAPE)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a prior of a few hundred weights and a bank, and a learnt damage."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    bank = torch.rand(5, 3) * 2 - 1
    save_prior(folder, Card("tiny", "tiny"), TinyGenerator(), bank=bank)
    Damage(ComposedDamage(SHAPE), torch.nn.Identity(), 0.5).save(folder / "damage.safetensors")
    return folder


@pytest.mark.parametrize("name", ["prior.json", "prior.safetensors", "bank.safetensors"])
@pytest.mark.parametrize("signed", [True, False])
@examples
@given(data=st.data())
def test_damaged_weights(
    name: str, signed: bool, tmp_path: Path, tiny: Path, data: st.DataObject
) -> None:
    """Also where the hashes were made anew, as somebody with bad intentions would."""
    content = {p.name: p.read_bytes() for p in tiny.iterdir()}
    content[name] = data.draw(broken(content[name]))
    if signed:
        with suppress(ValueError, TypeError):
            card = json.loads(content["prior.json"])
            card["sha256"] = _digest(content["prior.safetensors"])
            card["bank_sha256"] = _digest(content["bank.safetensors"])
            content["prior.json"] = json.dumps(card).encode()
    for part, whole in content.items():
        (tmp_path / part).write_bytes(whole)
    with within_bounds():
        prior = load_prior(tmp_path)
        assert prior.images_of(prior.draw(2, torch.Generator())).shape == (2, 1, 4, 4)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


FIELDS: list[Any] = [None, True, -1, 0, 10**12, 10**40, 1e308, "x", [], [1], {}, [[[1]]], "\ud800"]


@examples
@given(data=st.data())
def test_cards_with_other_values(tmp_path: Path, tiny: Path, data: st.DataObject) -> None:
    for path in tiny.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    card = json.loads((tiny / "prior.json").read_text())
    for key in data.draw(st.lists(st.sampled_from(sorted(card)), min_size=1, max_size=2)):
        card[key] = data.draw(st.sampled_from(FIELDS))
    (tmp_path / "prior.json").write_text(json.dumps(card))
    with within_bounds():
        load_prior(tmp_path)


def prior_of(shape: tuple[int, int, int]) -> Prior:
    class Flat(torch.nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z.new_zeros(len(z), *shape)

    return Prior(Flat(), 3, shape)


@examples
@given(data=st.data())
def test_damaged_damages(tmp_path: Path, tiny: Path, data: st.DataObject) -> None:
    whole = (tiny / "damage.safetensors").read_bytes()
    path = tmp_path / "damage.safetensors"
    path.write_bytes(whole)
    prior = prior_of(SHAPE)
    before = Damage.load(path, prior).surrogate.state_dict()
    path.write_bytes(data.draw(broken(whole)))
    with within_bounds():
        after = Damage.load(path, prior).surrogate.state_dict()
        # What is read is what was written: a flipped bit does not go unnoticed.
        assert all(torch.equal(before[key], after[key]) for key in before)


MARKER = json.dumps(
    {
        "files": "0" * 64,
        "damage": "all-1234abcd-000000.safetensors",
        "misfit": 0.5,
        "own": False,
        "bad": {"a.png": "is damaged"},
    }
).encode()


@examples
@given(data=st.data())
def test_damaged_markers(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "all-000000.json"
    path.write_bytes(MARKER)
    assert read_marker(path) == json.loads(MARKER)
    path.write_bytes(data.draw(broken(MARKER)))
    with within_bounds():
        facts = read_marker(path)
        assert Path(facts["damage"]).name == facts["damage"]


def test_a_marker_leads_to_no_other_folder(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    for damage in ("../x.safetensors", "/x.safetensors", "x.pt", None, 3):
        path.write_text(json.dumps({**json.loads(MARKER), "damage": damage}))
        with pytest.raises(UserError, match="delete it"):
            read_marker(path)
    path.write_text("[" * 100000)
    with pytest.raises(UserError, match="delete it"):
        read_marker(path)


@examples
@given(data=st.data())
def test_damaged_checkpoints(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "state.pt"
    checkpoint.save(path, {"settings": {"steps": 3}, "step": 2, "model": {"w": torch.ones(4)}})
    path.write_bytes(data.draw(broken(path.read_bytes())))
    with within_bounds(), suppress(ValueError):
        state = checkpoint.load(path, {"steps": 3})
        assert state is not None
        checkpoint.fill(path, state, {"model": _Loads()})


class _Loads:
    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        state["w"].sum()
