"""``mimicgan serve`` in a real browser, as several people use it at once."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import torch
from PIL import Image

from mimicgan.corruptions import corrupt
from mimicgan.data import fashion_mnist
from mimicgan.image_files import read_images, write_images
from mimicgan.learnt import Damage
from mimicgan.metrics import psnr
from mimicgan.pretrained import load_prior

# Looked for only: gradio is for the server, and takes long to import.
if find_spec("gradio") is None:
    pytest.skip("the web page needs gradio; run make test-web", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright; run make test-web")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; run make test-web"),
    pytest.mark.timeout(900),
]
PATIENCE = 120_000
SMALL = [
    word
    for name, value in {
        "bank": 256,
        "draws": 12,
        "rounds": 1,
        "parents": 2,
        "children": 4,
        "sample": 32,
        "starts": 1,
        "short-steps": 3,
        "long-steps": 3,
        "pruning-steps": 1,
        "restorer-steps": 4,
    }.items()
    for word in (f"--quick.{name}", str(value))
]
LIMITS = ["--limits.megabytes", "5", "--limits.files", "60", "--limits.megapixels", "2"]


class Server:
    """A page of its own, as a process."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mimicgan", "serve", "--port", "0", "--json", *flags],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "TMPDIR": str(folder)},
            )
        assert self.process.stdout is not None
        self.address = json.loads(self.process.stdout.readline())["address"]

    def files(self) -> list[Path]:
        """All files that it holds for visitors."""
        # Path.glob fails where a folder goes away meanwhile.
        return [
            Path(folder, name)
            for root in self.folder.glob("mimicgan-serve-*")
            for folder, _, names in os.walk(root)
            for name in names
        ]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"), *SMALL, *LIMITS)
    yield running
    assert running.stop() == 130
    assert list(running.folder.glob("mimicgan-serve-*")) == []
    log = (running.folder / "log").read_text()
    assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        flags = ["--no-sandbox", "--disable-background-networking"]
        running = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


class User:
    """Somebody with the page open; notes what the browser asks for, and what goes wrong there."""

    def __init__(self, browser: Any, address: str, width: int = 1280) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.asked: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on(
            "console",
            lambda said: self.faults.append(said.text) if "Content Security" in said.text else None,
        )
        self.page.goto(address)
        self.page.wait_for_selector("#preview .mg-box")

    def upload(self, *files: Path) -> None:
        self.page.set_input_files("#files input[type=file]", files)

    def choose(self, label: str) -> None:
        self.page.get_by_role("radio", name=re.compile(f"^{label}")).check()

    def restore(self) -> None:
        self.page.click("#restore")

    def sees(self, where: str, text: str) -> str:
        """Wait until ``text`` stands in ``where``; all that stands there."""
        place = self.page.locator(where).filter(has_text=re.compile(text))
        place.first.wait_for()
        return str(place.first.inner_text())

    def told(self, text: str) -> str:
        """Wait until the page says ``text`` anywhere."""
        return self.sees("body", text)

    def download(self) -> zipfile.ZipFile:
        with self.page.expect_download() as begun:
            self.page.locator("#download").click()
        return zipfile.ZipFile(io.BytesIO(Path(begun.value.path()).read_bytes()))

    def leave(self) -> None:
        assert self.faults == []
        self.context.close()


def damaged_pictures(folder: Path, count: int) -> list[Path]:
    clean = fashion_mnist.sample().images[:count].float() / 255
    observed = corrupt("dropped", clean, torch.Generator().manual_seed(0))
    names = [f"photo {i}.png" for i in range(count)]
    folder.mkdir()
    write_images(folder, names, observed)
    return [folder / name for name in names]


def zip_bomb(path: Path) -> Path:
    """A small archive of much, called as a picture."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(100_000_000))
    assert path.stat().st_size < 200_000
    return path


def test_three_at_once_one_of_them_means_well(server: Server, browser: Any, tmp_path: Path) -> None:
    ours = damaged_pictures(tmp_path / "ours", 25)
    good, noisy, bomber = (User(browser, server.address) for _ in range(3))
    good.upload(*ours)
    good.sees("#preview", "25 pictures")
    (tmp_path / "noise.png").write_bytes(os.urandom(60_000_000))
    parts = [tmp_path / f"noise{i}.png" for i in range(60)]
    for part in parts:
        part.write_bytes(os.urandom(1_000_000))
    # Nobody waits for the others.
    noisy.upload(*parts)
    good.restore()
    bomber.upload(zip_bomb(tmp_path / "holiday.png"))
    noisy.told("5 MB in all, and this one has more")
    noisy.upload(tmp_path / "noise.png")
    noisy.told("maximum allowed size of 5")
    assert "holiday.png is damaged or no picture" in bomber.sees("#preview", "holiday")
    bomber.restore()
    bomber.sees("#status", "Nothing was restored")
    good.page.wait_for_selector("#cards .mg-card")
    with good.download() as held:
        names = held.namelist()
        assert {f"restored/{path.name}" for path in ours} < set(names)
        report = json.loads(held.read("report.json"))
        assert report["inputs"]["names"] == [path.name for path in ours]
    # What the server made itself is a zip and a network.
    uploads = [p for p in server.files() if p.suffix not in (".zip", ".safetensors")]
    assert max((p.stat().st_size for p in uploads), default=0) < 5_000_000
    for user in (good, noisy, bomber):
        user.leave()


def test_an_upload_is_restored_and_downloaded(server: Server, browser: Any, tmp_path: Path) -> None:
    user = User(browser, server.address)
    ours = damaged_pictures(tmp_path / "ours", 6)
    user.upload(*ours)
    user.sees("#preview", "6 pictures")
    user.choose("Instant")
    user.restore()
    user.sees("#verdict", "without learning")
    with user.download() as held:
        held.extractall(tmp_path / "got")
    assert "damage.png" not in held.namelist()
    assert not (tmp_path / "got" / "damage.safetensors").exists()
    got = read_images(tmp_path / "got" / "restored", (1, 28, 28)).images
    clean = fashion_mnist.sample().images[:6].float() / 255
    before = read_images(tmp_path / "ours", (1, 28, 28)).images
    assert psnr(got, clean).mean() > psnr(before, clean).mean() + 4

    user.choose("Quick")
    user.restore()
    user.page.wait_for_selector("#details img")
    assert user.page.locator("#losses svg polyline").count() >= 2
    assert user.page.locator("#cards .mg-card").count() == 6
    with user.download() as held:
        held.extractall(tmp_path / "learnt")
    damage = Damage.load(tmp_path / "learnt" / "damage.safetensors", load_prior("fashion-mnist"))
    assert damage.misfit is not None
    with Image.open(tmp_path / "learnt" / "damage.png") as picture:
        assert picture.width > 100
    assert all(url.startswith((server.address, "data:", "blob:")) for url in user.asked), user.asked
    user.leave()
    wait(lambda: not [p for p in server.files() if p.suffix == ".zip"])


def test_bad_files_are_left_out_and_the_rest_is_restored(
    server: Server, browser: Any, tmp_path: Path
) -> None:
    user = User(browser, server.address)
    good = damaged_pictures(tmp_path / "ours", 4)
    broken, huge = tmp_path / "<b>broken.png", tmp_path / "huge.png"
    broken.write_bytes(good[0].read_bytes()[:200])
    Image.new("1", (3000, 1000)).save(huge)
    (tmp_path / "empty.png").write_bytes(b"")
    user.upload(*good, broken, huge, tmp_path / "empty.png")
    told = user.sees("#preview", "3 files were left out")
    assert "4 pictures" in told
    assert "huge.png has more than 2 million pixels" in told
    assert "broken" in told
    assert user.page.locator("#preview b").count() == 0
    user.choose("Instant")
    user.restore()
    user.sees("#status", "3 files were left out")
    user.page.wait_for_selector("#cards .mg-card")
    with user.download() as held:
        restored = [name for name in held.namelist() if name.startswith("restored/")]
        assert len(restored) == 4
    user.leave()


def test_samples_are_scored_and_fit_a_phone(server: Server, browser: Any) -> None:
    user = User(browser, server.address, width=390)
    user.choose("Samples")
    user.sees("#preview", "25 pictures")
    user.choose("Instant")
    user.restore()
    told = user.sees("#verdict", "dB")
    before, after = re.search(r"([\d.]+) → ([\d.]+) dB", told).groups()  # type: ignore[union-attr]
    assert float(after) > float(before) + 4
    wide, screen = user.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= screen
    user.told("nothing for 60 minutes")
    user.choose("Faces")
    user.sees("#preview", "the samples are clothes")
    assert not user.page.locator("#download").is_visible()
    user.leave()


TEXTS = """() => {
  const seen = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), place = walk.currentNode.parentElement;
    if (!/\\w/.test(text) || !place.getClientRects().length || place.closest('script, style'))
      continue;
    let behind = place;
    while (behind && numbers(getComputedStyle(behind).backgroundColor)[3] === 0)
      behind = behind.parentElement;
    const style = getComputedStyle(place), ground = behind || document.body;
    const ink = place.closest('svg') ? style.fill : style.color;
    seen.push([text, numbers(ink), numbers(getComputedStyle(ground).backgroundColor)]);
  }
  return seen;
}"""
"""Every text that is seen, its colour, and that behind it."""


def luminance(colour: list[float]) -> float:
    """Of WCAG 2.2."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (value / 255 for value in colour[:3])
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_of_it_can_be_read_and_the_focus_seen(
    scheme: str, server: Server, browser: Any
) -> None:
    user = User(browser, server.address)
    user.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    user.page.reload()
    user.page.wait_for_selector("#preview .mg-box")
    user.page.keyboard.press("Tab")
    wait(lambda: user.page.locator("label:has(:focus)").evaluate(OUTLINE) == "solid 2px")
    user.choose("Samples")
    user.sees("#preview", "25 pictures")
    user.restore()
    user.page.mouse.move(0, 0)
    user.page.wait_for_selector("#details img")
    user.page.wait_for_timeout(1000)
    texts = user.page.evaluate(TEXTS)
    assert len(texts) > 100
    for text, ink, ground in texts:
        dark, light = sorted((luminance(ink), luminance(ground)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, text
    user.leave()


OUTLINE = (
    "label => `${getComputedStyle(label).outlineStyle} ${getComputedStyle(label).outlineWidth}`"
)


def test_values_made_by_hand_reach_no_file_and_no_address(tmp_path: Path) -> None:
    """As a value of the field for files, and of others that take none."""
    secrets = [tmp_path / "secret.png", tmp_path / "secret.svg"]
    write_images(tmp_path, ["secret.png"], torch.full((1, 1, 28, 28), 0.5))
    secrets[1].write_text("<svg/>")
    (tmp_path / "server").mkdir()
    running = Server(tmp_path / "server")
    try:
        for where in (1, 0, 2, 5):
            for path in (*map(str, secrets), f"{running.address}/config"):
                value = {"path": path, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
                choices: list[Any] = ["My pictures", [], "dropped", "middle", 25, "fashion-mnist"]
                choices[where] = [value] if where == 1 else value
                told = answered(running.address, choices)
                assert "1 picture" not in told, told
                assert "file=" not in told, told
        assert running.files() == []
    finally:
        assert running.stop() == 130


def answered(address: str, choices: list[Any]) -> str:
    """What the page's own interface says to ``choices``, sent without a browser."""
    with urlopen(f"{address}/config") as got:
        parts = json.load(got)["dependencies"]
    show = next(part["id"] for part in parts if len(part["inputs"]) == len(choices))
    key = f"by-hand-{time.monotonic_ns()}"
    body = {"data": choices, "fn_index": show, "session_hash": key}
    request = Request(
        f"{address}/gradio_api/queue/join",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urlopen(request) as got:
        got.read()
    with urlopen(f"{address}/gradio_api/queue/data?session_hash={key}", timeout=60) as lines:
        for line in lines:
            if b"process_completed" in line:
                return str(line.decode())
    raise AssertionError("no answer")


def test_cancel_and_then_again(server: Server, browser: Any) -> None:
    user = User(browser, server.address)
    user.choose("Samples")
    user.sees("#preview", "25 pictures")
    user.choose("Default")
    user.restore()
    user.sees("#status", "1 of 3")
    other = User(browser, server.address)
    other.choose("Samples")
    other.sees("#preview", "25 pictures")
    other.choose("Instant")
    other.restore()
    other.sees("#status", "Waiting: 1 restoration comes first")
    user.page.click("#cancel")
    user.sees("#status", "Cancelled")
    other.page.wait_for_selector("#cards .mg-card")
    user.choose("Instant")
    user.restore()
    user.page.wait_for_selector("#cards .mg-card")
    other.leave()
    user.leave()


def test_who_closes_the_page_makes_room(server: Server, browser: Any) -> None:
    gone, next_one = User(browser, server.address), User(browser, server.address)
    for user, effort in ((gone, "Default"), (next_one, "Instant")):
        user.choose("Samples")
        user.sees("#preview", "25 pictures")
        user.choose(effort)
    gone.restore()
    gone.sees("#status", "1 of 3")
    next_one.restore()
    next_one.sees("#status", "Waiting")
    gone.leave()
    next_one.page.wait_for_selector("#cards .mg-card")
    next_one.leave()


def test_ending_it_with_a_page_open_shows_no_traceback(tmp_path: Path) -> None:
    running = Server(tmp_path)
    with urlopen(f"{running.address}/gradio_api/heartbeat/open") as page:
        page.readline()
        assert running.stop() == 130
    told = (tmp_path / "log").read_text().splitlines()
    assert told[1:] == ["mimicgan: interrupted; the page is closed"]


def test_a_password_is_asked_for(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ann:open:sesame\nbob:x\n")
    running = Server(tmp_path, "--auth-file", str(tmp_path / "users"))
    try:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(running.address)
        page.get_by_label("username").fill("ann")
        page.get_by_label("password").fill("x")
        page.get_by_role("button", name="Login").click()
        page.get_by_text("Incorrect").first.wait_for()
        assert context.request.get(f"{running.address}/gradio_api/info").status == 401
        page.get_by_label("username").fill("ann")
        page.get_by_label("password").fill("open:sesame")
        page.get_by_role("button", name="Login").click()
        page.wait_for_selector("#restore")
        context.close()
    finally:
        assert running.stop() == 130


def wait(truth: Callable[[], bool], seconds: float = 60) -> None:
    """Until ``truth()``; fails after ``seconds``."""
    ends = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < ends
        time.sleep(0.2)
