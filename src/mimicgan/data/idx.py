"""IDX, the file format of MNIST and its kin: unsigned bytes with a small header, maybe gzipped."""

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from mimicgan.errors import UserError

MAX_BYTES = 2**31
CHUNK = 2**20
UNSIGNED_BYTE = 0x08
Check = Callable[[tuple[int, ...]], object]


def is_idx(path: Path) -> bool:
    """Whether the file (raw or gzipped) starts like an IDX file of unsigned bytes."""
    try:
        with _opened(path) as file:
            return file.read(3) == bytes([0, 0, UNSIGNED_BYTE])
    except (OSError, EOFError, zlib.error):
        return False


def read_idx(path: Path, check: Check | None = None) -> NDArray[np.uint8]:
    """The array in an IDX file, raw or gzipped.

    ``check`` may refuse its shape before the content is read. Raises UserError naming the file when
    it is unreadable, truncated, or no IDX file of bytes.
    """
    try:
        with _opened(path) as file:
            return parse_idx(file, check)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    except (ValueError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); get it again") from error


def parse_idx(file: IO[bytes], check: Check | None = None) -> NDArray[np.uint8]:
    """The array in a decompressed IDX stream; ValueError when it is damaged."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != bytes([0, 0, UNSIGNED_BYTE]) or not 1 <= magic[3] <= 4:
        raise ValueError("not an IDX file of unsigned bytes")
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise ValueError("truncated header")
    shape = struct.unpack(f">{magic[3]}I", header)
    size = 1
    for length in shape:
        size *= length
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes announced, at most {MAX_BYTES} can be read")
    if check is not None:
        check(shape)
    content = bytearray()
    # In pieces, since a damaged header may announce far more than there is; up to one byte too
    # many, to notice what should not be there.
    while piece := file.read(min(CHUNK, size + 1 - len(content))):
        content += piece
    if len(content) != size:
        raise ValueError("truncated" if len(content) < size else "longer than announced")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """The array as the content of a raw IDX file."""
    header = bytes([0, 0, UNSIGNED_BYTE, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path)) if gzipped else path.open("rb")
