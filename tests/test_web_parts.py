"""Parts of the web page that need neither gradio nor a browser."""

import asyncio
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mimicgan.data.fashion_mnist import FashionMnist
from mimicgan.errors import UserError
from mimicgan.match_settings import MatchSettings
from mimicgan.pretrained import load_prior
from mimicgan.restore import Settings, restore
from mimicgan.web import guard, render, server
from mimicgan.web.batch import Picture, sampled, uploaded
from mimicgan.web.jobs import Job, Runner
from mimicgan.web.limits import MEGABYTE, Limits
from mimicgan.web.visitors import Visitors


def test_uploads_are_found_while_others_go_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitors = Visitors(tmp_path, Limits())
    for name in ("going", "staying", "results"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    listed = os.scandir

    def scandir(path: Any = ".") -> Any:
        if str(path).endswith("going"):
            shutil.rmtree(path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert visitors.uploads() == [tmp_path / "staying" / "a.png"]


def answer(root: Path, method: str, path: str, **headers: str) -> dict[str, Any]:
    """What the guard, or the page behind it (status 200), begins its answer with."""
    told: list[dict[str, Any]] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        told.append(message)

    headers = {"host": "localhost:7860", **headers}
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": sent}
    limits = Limits(megabytes=1)
    names = server.Door().names
    asyncio.run(guard.Guard(page, limits, Visitors(root, limits), names)(scope, receive, send))
    return told[0]


def answered(root: Path, method: str, path: str, **headers: str) -> int:
    return int(answer(root, method, path, **headers)["status"])


def test_the_page_takes_what_it_sends_itself_and_nothing_else(tmp_path: Path) -> None:
    for path in ("/login", "/gradio_api/upload", "/gradio_api/queue/join"):
        assert answered(tmp_path, "POST", path, sec_fetch_site="same-origin") == 200
        assert answered(tmp_path, "POST", path, sec_fetch_site="cross-site") == 403
        # Not all browsers say it, and no script does.
        assert answered(tmp_path, "POST", path) == 200
    assert answered(tmp_path, "GET", "/", sec_fetch_site="cross-site") == 200
    for path in ("process_recording", "component_server", "vibe-code/", "run/other"):
        assert answered(tmp_path, "POST", f"/gradio_api/{path}") == 404


def test_no_address_is_fetched_for_anybody(tmp_path: Path) -> None:
    for place in ("file=https://x.org/a", "file/https://x.org/a", "file/a.png", "proxy=https://x"):
        assert answered(tmp_path, "GET", f"/gradio_api/{place}") == 404
    assert answered(tmp_path, "GET", "/gradio_api/file=/tmp/x/a.png") == 200


def test_a_name_that_is_not_this_computers_is_refused(tmp_path: Path) -> None:
    for name in ("localhost", "127.0.0.1:7860", "[::1]:7860"):
        assert answered(tmp_path, "GET", "/", host=name) == 200
    for name in ("rebound.example:7860", "", "localhost.example"):
        assert answered(tmp_path, "GET", "/", host=name) == 403
    assert server.Door(users={"a": "b"}).names is None
    assert server.Door("0.0.0.0").names is None


def test_an_upload_that_would_fill_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for free, status in ((MEGABYTE, 200), (MEGABYTE - 1, 503)):
        monkeypatch.setattr(guard, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        assert answered(tmp_path, "POST", "/gradio_api/upload") == status


def test_pictures_stay_in_no_cache(tmp_path: Path) -> None:
    kept = (b"cache-control", b"no-store")
    assert kept in answer(tmp_path, "GET", "/gradio_api/file=/tmp/x/restored.zip")["headers"]
    assert kept not in answer(tmp_path, "GET", "/assets/index.js")["headers"]


def test_one_picture_is_told_as_one_and_named_for_every_system(fashion: FashionMnist) -> None:
    image = fashion.images[:1].float() / 255
    picture = Picture({(1, 28, 28): (image[0], ["in colour, turned grey"])})
    batch = uploaded([("C:\\x\\Screen 3.15\u202fPM.png", picture)], (1, 28, 28))
    assert batch.found.names == ["Screen 3.15_PM.png"]
    assert batch.found.notes == ["1 image in colour, turned grey: Screen 3.15_PM.png"]
    assert "1 picture, ready" in render.preview(batch)


def test_the_verdict_says_how_many_pictures_it_takes(
    fashion: FashionMnist, prior_folder: str
) -> None:
    settings = Settings(method="universal", match=MatchSettings(fewest=7))
    result = restore(fashion.images[:1].float() / 255, load_prior(prior_folder), settings)
    assert "With 7 pictures or more" in render.verdict(result)
    doubted = replace(result, misfit=0.7)
    assert "universal restorer was used" in render.verdict(doubted)
    assert "The damage was understood" not in render.verdict(doubted)
    assert "Do not rely" in render.verdict(replace(result, misfit=7.0))


def test_closing_waits_for_the_restoration_that_runs(tmp_path: Path) -> None:
    begun = threading.Event()

    def slow() -> Any:
        begun.set()
        time.sleep(5.5)
        raise UserError("enough; stop")

    runner = Runner(Limits())
    job = Job(sampled("dropped", "", 1, (1, 28, 28)), slow, Settings(), Limits(), tmp_path)
    runner.submit(job)
    assert begun.wait(60)
    runner.close()
    assert job.over.is_set()


def test_no_more_may_wait_than_there_are_threads_for() -> None:
    assert Limits(queue=30).checked()
    with pytest.raises(UserError, match=r"limits\.queue must be 30 or less"):
        Limits(queue=31).checked()
