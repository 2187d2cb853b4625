"""A gzipped file over http(s): resumed after a cut, checked by hash, in place only when whole."""

import gzip
import hashlib
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from mimicgan.errors import UserError

Progress = Callable[[str, int, int], None]

TRIES = 5
PAUSE = 0.5
TIMEOUT = 30.0
CHUNK = 2**16
MAX_BYTES = 2**28


def fetch_gzipped(url: str, target: Path, digest: str, progress: Progress | None = None) -> None:
    """Fetch ``url`` to ``target``; ``digest`` is the SHA-256 of the decompressed content.

    What arrives is kept in ``target``.part, where a later try or a later call goes on. ``progress``
    is called with the target's name, the bytes held and the bytes in all (0 when unknown).
    Raises UserError on an address that is not http(s), an error of the server, a connection cut
    for the fifth time without progress, a full disk, or content of another hash.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise UserError(f"{url} is no http or https address; give a mirror that is")
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        resumed = part.exists() and part.stat().st_size > 0
        _fetch(url, part, target.name, progress)
        if sha256_of(part) != digest and resumed:
            # The old part may have been of another file or mirror.
            part.unlink()
            _fetch(url, part, target.name, progress)
        if sha256_of(part) != digest:
            part.unlink()
            raise UserError(f"{url} is not the original (SHA-256 differs); try another mirror")
        part.replace(target)
    except OSError as error:
        raise UserError(
            f"cannot write {error.filename or part}: {error.strerror or error}; free some space "
            "or choose another folder"
        ) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, decompressed if it is gzipped; "" when that is damaged."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if gzipped else path.open("rb") as content:
            while piece := content.read(CHUNK):
                digest.update(piece)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return ""
    return digest.hexdigest()


def _fetch(url: str, part: Path, name: str, progress: Progress | None) -> None:
    """Bring ``part`` to its full length, in as many connections as it takes."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(url, part, before, name, progress)
            return
        except HTTPError as error:
            error.close()
            if error.code == 416 and before:
                # Nothing follows what is held: it is whole, or not of this file.
                return
            if error.code < 500:
                raise UserError(
                    f"{url}: the server says {error.code} {error.reason}; try another mirror"
                ) from error
            reason = f"{error.code} {error.reason}"
        except (URLError, HTTPException, ConnectionError) as error:
            reason = str(error) or type(error).__name__
        moved = part.exists() and part.stat().st_size > before
        failures = 1 if moved else failures + 1
        if failures >= TRIES:
            raise UserError(
                f"{url}: {reason}; check the connection and run the same again (it goes on "
                "where it was), or try another mirror"
            )
        time.sleep(PAUSE * 2 ** (failures - 1))


def _continue(url: str, part: Path, start: int, name: str, progress: Progress | None) -> None:
    headers = {"Range": f"bytes={start}-"} if start else {}
    response: HTTPResponse
    with _of_network():
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    with response:
        # A server that knows no ranges sends all of it again.
        resumed = response.status == 206
        held = start if resumed else 0
        length = response.headers.get("Content-Length", "")
        total = held + int(length) if length.isdecimal() else 0
        with part.open("ab" if resumed else "wb") as file:
            while True:
                with _of_network():
                    piece = response.read(CHUNK)
                if not piece:
                    break
                held += len(piece)
                if held > MAX_BYTES:
                    raise UserError(f"{url} is far too long; try another mirror")
                file.write(piece)
                if progress is not None:
                    progress(name, held, total)
        if held < total:
            raise ConnectionError(f"cut after {held} of {total} bytes")


@contextmanager
def _of_network() -> Iterator[None]:
    """What the system says in the block is none of the disk: a ConnectionError."""
    try:
        yield
    except URLError:
        raise
    except OSError as error:
        raise ConnectionError(error.strerror or str(error)) from error
