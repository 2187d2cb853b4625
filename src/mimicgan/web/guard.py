"""Stands before the page: refuses what is too large, comes from elsewhere, or fetches things."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from shutil import disk_usage
from typing import Any

from mimicgan.web.limits import MEGABYTE, Limits
from mimicgan.web.visitors import Visitors

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "worker-src 'self' blob:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}
SMALL = MEGABYTE
"""Bytes of a request that is no upload."""
POSTS = ("/login", "/upload", "/queue/join", "/run/predict", "/cancel", "/reset")
"""Where the page itself sends to. More that gradio takes leaves files behind."""
FETCHED = re.compile(r"/file(=http|/)")
"""Where gradio would fetch an address, and show it: a file's place comes after either sign."""
PORT = re.compile(r":\d+$")
FULL = 20
"""Uploads of the greatest size that may lie on the disk at once."""


class Guard:
    """Refuses what is too large, comes from other sites, or would have the server fetch things.

    ``names`` are those that this computer calls itself; None for a page that others may call by
    names of their own.
    """

    def __init__(
        self, app: App, limits: Limits, visitors: Visitors, names: frozenset[str] | None
    ) -> None:
        self._app, self._limits, self._visitors, self._names = app, limits, visitors, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, asks = scope["path"].rstrip("/"), scope["method"] in ("GET", "HEAD")
        if "/proxy=" in path or FETCHED.search(path) or not (asks or path.endswith(POSTS)):
            await _answer(send, 404, "not found")
            return
        headers = dict(scope["headers"])
        host = PORT.sub("", headers.get(b"host", b"").decode("latin-1").lower())
        if self._names is not None and host not in self._names:
            # A site can make its own name mean this computer, and then counts as the page itself.
            await _answer(send, 403, f"This page is not {host}; open it as localhost")
            return
        if not asks and headers.get(b"sec-fetch-site") == b"cross-site":
            await _answer(send, 403, "Another site sent this; open the page itself")
            return
        upload = path.endswith("/upload")
        most = self._limits.upload + SMALL if upload else SMALL
        told = f"An upload may have {self._limits.megabytes} MB in all, and this one has more"
        size = headers.get(b"content-length", b"0")
        if not size.isdigit() or int(size) > most:
            # A browser that cannot send all of it does not read the answer either.
            if size.isdigit() and int(size) < FULL * self._limits.upload:
                await _drained(receive)
            await _answer(send, 413, told)
            return
        if upload and self._full():
            await _answer(send, 503, "No room for uploads at the moment; try again in two minutes")
            return
        got = 0
        begun = False

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > most:
                raise _TooMuch
            return message

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", ()), *HEADERS.items()]
                if "/file=" in path:
                    # What is removed here stays in no browser or proxy either.
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        try:
            await self._app(scope, counted, guarded)
        except _TooMuch:
            if not begun:
                await _answer(send, 413, told)

    def _full(self) -> bool:
        if disk_usage(self._visitors.root).free < self._limits.upload:
            return True
        sizes = 0
        for path in self._visitors.uploads():
            try:
                sizes += path.stat().st_size
            except OSError:
                continue
        return sizes > FULL * self._limits.upload


class _TooMuch(Exception):  # noqa: N818
    """More bytes came than were announced or are allowed."""


async def _drained(receive: Receive) -> None:
    message: Message = {"type": "http.request", "more_body": True}
    while message["type"] == "http.request" and message.get("more_body"):
        message = await receive()


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
