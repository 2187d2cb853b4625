"""Fashion-MNIST from a server on loopback that cuts, lies and fails."""

import errno
import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mimicgan.data import download, fashion_mnist
from mimicgan.errors import UserError


@dataclass
class Mirror:
    """What the server on loopback does, and what it was asked."""

    files: dict[str, bytes]
    cut_after: list[int] = field(default_factory=list)
    """One connection each: bytes sent before it is cut."""
    codes: list[int] = field(default_factory=list)
    """Errors to answer first."""
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        mirror: Mirror = self.server.mirror  # type: ignore[attr-defined]
        wanted = self.headers.get("Range")
        name = self.path.removeprefix("/data/")
        mirror.asked.append((name, wanted))
        if mirror.codes:
            self.send_error(mirror.codes.pop(0))
            return
        if name not in mirror.files:
            self.send_error(404)
            return
        content, start = mirror.files[name], 0
        if wanted and mirror.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + mirror.cut_after.pop(0) if mirror.cut_after else None
        self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(small_fashion: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.001)
    files = {f"{name}.gz": gzip.compress(content, 1) for name, content in small_fashion.items()}
    held = Mirror(files)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.mirror = held  # type: ignore[attr-defined]
        held.url = f"http://127.0.0.1:{server.server_port}/data/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield held
        server.shutdown()
        thread.join()


def names_in(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_download_whole(tmp_path: Path, mirror: Mirror) -> None:
    seen: list[tuple[str, int, int]] = []
    target = tmp_path / "new" / "data"
    assert fashion_mnist.download(target, mirror.url, lambda *heard: seen.append(heard)) == target
    assert {p.name: p.read_bytes() for p in target.iterdir()} == mirror.files
    for name, content in mirror.files.items():
        heard = [(held, total) for who, held, total in seen if who == name]
        assert heard == sorted(heard)
        assert heard[-1] == (len(content), len(content))
    assert fashion_mnist.load("test", target).images.shape == (600, 1, 28, 28)
    # What is there and right is not fetched again; what was altered is.
    asked = len(mirror.asked)
    fashion_mnist.download(target, mirror.url.rstrip("/"))
    assert len(mirror.asked) == asked
    (target / "t10k-labels-idx1-ubyte.gz").write_bytes(b"altered")
    fashion_mnist.download(target, mirror.url)
    assert mirror.asked[asked:] == [("t10k-labels-idx1-ubyte.gz", None)]
    assert {p.name: p.read_bytes() for p in target.iterdir()} == mirror.files


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_is_resumed(tmp_path: Path, mirror: Mirror, ranges: bool) -> None:
    mirror.ranges = ranges
    mirror.cut_after = [100_000, 200_000]
    fashion_mnist.download(tmp_path, mirror.url)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == mirror.files
    wanted = [where for name, where in mirror.asked if name == "train-images-idx3-ubyte.gz"]
    assert wanted[:2] == [None, "bytes=100000-"]
    assert len(wanted) == 3
    assert wanted[2] == ("bytes=300000-" if ranges else "bytes=200000-")


def test_cuts_are_forgiven_as_long_as_something_arrives(tmp_path: Path, mirror: Mirror) -> None:
    mirror.cut_after = [50_000] * (2 * download.TRIES)
    fashion_mnist.download(tmp_path, mirror.url)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == mirror.files


def test_a_dead_server_gives_up_and_a_later_call_goes_on(tmp_path: Path, mirror: Mirror) -> None:
    name = "train-images-idx3-ubyte.gz"
    mirror.cut_after = [70_000] + [0] * 20
    with pytest.raises(UserError, match=r"cut after 70000 of .* goes on") as caught:
        fashion_mnist.download(tmp_path, mirror.url)
    assert name in str(caught.value)
    assert names_in(tmp_path) == {f"{name}.part"}
    mirror.cut_after = []
    mirror.asked = []
    fashion_mnist.download(tmp_path, mirror.url)
    assert mirror.asked[0] == (name, "bytes=70000-")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == mirror.files


def test_wrong_content_never_gets_the_name(tmp_path: Path, mirror: Mirror) -> None:
    name = "t10k-images-idx3-ubyte.gz"
    mirror.files[name] = gzip.compress(b"something else")
    with pytest.raises(UserError, match=rf"{name} is not the original .SHA-256 differs.; try"):
        fashion_mnist.download(tmp_path, mirror.url)
    assert not any(n.startswith("t10k-images") for n in names_in(tmp_path))
    # No gzip at all is no better.
    mirror.files[name] = b"<html>please log in</html>"
    with pytest.raises(UserError, match="not the original"):
        fashion_mnist.download(tmp_path, mirror.url)


@pytest.mark.parametrize("stale", [b"old" * 100, b"old" * 10_000_000])
def test_a_stale_part_is_started_anew(tmp_path: Path, mirror: Mirror, stale: bytes) -> None:
    # Shorter than the file: completed to nonsense. Longer: the server answers 416.
    (tmp_path / "train-images-idx3-ubyte.gz.part").write_bytes(stale)
    fashion_mnist.download(tmp_path, mirror.url)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == mirror.files


def test_a_part_that_is_whole_is_only_renamed(tmp_path: Path, mirror: Mirror) -> None:
    name = "train-images-idx3-ubyte.gz"
    (tmp_path / f"{name}.part").write_bytes(mirror.files[name])
    fashion_mnist.download(tmp_path, mirror.url)
    assert [where for who, where in mirror.asked if who == name] == [
        f"bytes={len(mirror.files[name])}-"
    ]
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == mirror.files


def test_a_wrong_file_without_gz_does_not_hide_the_right_one(
    tmp_path: Path, mirror: Mirror
) -> None:
    fashion_mnist.download(tmp_path, mirror.url)
    asked = len(mirror.asked)
    for name in fashion_mnist.SHA256:
        (tmp_path / name).write_bytes(b"damaged")
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    fashion_mnist.download(tmp_path, mirror.url)
    assert [name for name, _ in mirror.asked[asked:]] == ["t10k-labels-idx1-ubyte.gz"]
    assert len(fashion_mnist.load("test", tmp_path).images) == 600


@pytest.mark.parametrize("where", ["urlopen", "read"])
def test_what_the_network_says_is_not_taken_for_the_disk(
    where: str, tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OSError(errno.ENETDOWN, "Network is down")

    if where == "urlopen":
        monkeypatch.setattr(download, "urlopen", gone)
    else:
        monkeypatch.setattr("http.client.HTTPResponse.read", gone)
    with pytest.raises(UserError, match="Network is down; check the connection"):
        fashion_mnist.download(tmp_path, mirror.url)


def test_server_errors(tmp_path: Path, mirror: Mirror) -> None:
    mirror.codes = [503, 500]
    fashion_mnist.download(tmp_path, mirror.url)
    assert names_in(tmp_path) == set(mirror.files)
    del mirror.files["t10k-labels-idx1-ubyte.gz"]
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    asked = len(mirror.asked)
    with pytest.raises(UserError, match=r"says 404 Not Found; try another mirror"):
        fashion_mnist.download(tmp_path, mirror.url)
    assert len(mirror.asked) == asked + 1
    mirror.codes = [503] * 20
    with pytest.raises(UserError, match="503"):
        fashion_mnist.download(tmp_path / "b", mirror.url)


def test_addresses_that_cannot_work(tmp_path: Path, mirror: Mirror) -> None:
    for address in ("file:///etc", "ftp://127.0.0.1/", "/usr/share", ""):
        with pytest.raises(UserError, match="no http or https address"):
            fashion_mnist.download(tmp_path, address)
    # Port 9 of loopback: nobody is there.
    with pytest.raises(UserError, match="check the connection"):
        fashion_mnist.download(tmp_path, "http://127.0.0.1:9/")


def test_a_place_that_cannot_be_written(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="choose another folder"):
        fashion_mnist.download(tmp_path / "file", mirror.url)
