"""Serves the page: from this computer alone, within limits, and leaves no files behind."""

import logging
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from hmac import compare_digest
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from mimicgan.errors import UserError, needed
from mimicgan.match_settings import MatchSettings
from mimicgan.pretrained import load_card, load_prior, prior_shape
from mimicgan.restore import Settings
from mimicgan.web.guard import Guard
from mimicgan.web.jobs import Runner
from mimicgan.web.limits import Limits
from mimicgan.web.visitors import Visitors

OFFLINE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""What keeps gradio and its libraries from calling home."""
READABLE = {
    "body_text_color_subdued": "*neutral_500",
    "block_label_text_color": "*primary_600",
    "block_title_text_color": "*primary_600",
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "checkbox_border_color": "*neutral_500",
    "checkbox_label_background_fill_selected": "*primary_600",
}
"""Colours of the theme that have too little contrast on light, a shade darker."""
SWEEP = 20.0
"""Seconds between two sweeps."""
LABELS = {"fashion-mnist": "Clothes", "faces": "Faces"}


@dataclass(frozen=True)
class Door:
    """Where the page is, and who may come in."""

    host: str = "127.0.0.1"
    port: int = 7860
    users: Mapping[str, str] | None = None
    """Name -> password; None lets everybody in."""

    @property
    def own(self) -> bool:
        """Whether only this computer can knock."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def names(self) -> frozenset[str] | None:
        """What a browser on this computer may call it; None where others can come in, or a
        password keeps strangers out."""
        if self.users or not self.own:
            return None
        return frozenset({"localhost", "127.0.0.1", "[::1]", self.host})

    def admits(self, name: str, password: str) -> bool:
        """Whether this is a known name with its password; takes equally long for all."""
        known = (self.users or {}).get(name, "")
        return compare_digest(known.encode(), password.encode()) and known != ""


def serve(
    door: Door,
    priors: tuple[str, ...],
    quick: MatchSettings,
    limits: Limits,
    ready: Callable[[str], None],
) -> None:
    """Serve the page until interrupted; ``ready`` gets its address when it is there.

    ``quick`` are the numbers of the quick effort.
    Raises UserError when gradio is missing, a prior cannot be read, or the port is taken.
    """
    limits.checked()
    shapes = {name: prior_shape(name) for name in priors}
    labels = [(label(name, shapes[name]), name) for name in priors]
    with tempfile.TemporaryDirectory(prefix="mimicgan-serve-") as root:
        # Read by gradio and its libraries when they are imported.
        os.environ.update(OFFLINE, GRADIO_TEMP_DIR=root)
        needed("gradio", "web")
        listening = bound(door)
        runner, visitors = Runner(limits), Visitors(Path(root), limits)
        stopped = threading.Event()
        try:
            loaders = {name: lru_cache(partial(load_prior, name)) for name in priors}
            found = {name: (shapes[name], loaders[name]) for name in priors}
            efforts = {
                "instant": Settings(method="universal"),
                "quick": Settings(match=quick),
                "default": Settings(),
            }
            # gradio itself is only imported after the environment is set.
            from mimicgan.web.answers import Answers
            from mimicgan.web.page import build

            answers = Answers(found, efforts, limits, runner, visitors)
            app = _app(build(answers, labels, limits), door, limits, visitors)
            threading.Thread(target=_sweeping, args=(visitors, stopped), daemon=True).start()
            _run(app, listening, ready)
        finally:
            stopped.set()
            runner.close()
            visitors.close()
            listening.close()


def label(name: str, shape: tuple[int, int, int]) -> str:
    """A prior's name for people, with its size and terms."""
    colour = "grey" if shape[0] == 1 else "colour"
    licence = load_card(name).licence
    terms = "; for non-commercial research only" if "non-commercial" in licence else ""
    return f"{LABELS.get(name, Path(name).name)} ({shape[2]}x{shape[1]}, {colour}{terms})"


def bound(door: Door) -> socket.socket:
    """A socket that listens at ``door``; port 0 takes any that is free. Raises UserError."""
    family = socket.AF_INET6 if ":" in door.host else socket.AF_INET
    try:
        return socket.create_server((door.host, door.port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot serve at {door.host}, port {door.port} ({reason}); choose another --port "
            "(0: any that is free), or another --host"
        ) from error


def _app(blocks: Any, door: Door, limits: Limits, visitors: Visitors) -> Any:
    import fastapi
    import gradio as gr

    from mimicgan.web.page import STYLE

    blocks.queue(max_size=200, api_open=False)
    fonts = [gr.themes.Font(name) for name in ("system-ui", "sans-serif")]
    mono = [gr.themes.Font(name) for name in ("ui-monospace", "monospace")]
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, limits=limits, visitors=visitors, names=door.names)
    # Only for a page that says so gradio refuses the server's own files as values of its parts:
    # launch() sets both, mounting neither.
    blocks.has_launched = blocks.is_running = True
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=door.host,
        server_port=door.port,
        footer_links=[],
        run_history=False,
        auth=door.admits if door.users else None,
        show_error=False,
        max_file_size=limits.upload,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Soft(font=fonts, font_mono=mono).set(**READABLE),
        css=STYLE,
    )


def _run(app: Any, listening: socket.socket, ready: Callable[[str], None]) -> None:
    import uvicorn

    class Server(uvicorn.Server):  # type: ignore[misc]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            host, port = listening.getsockname()[:2]
            ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Cutting off pages that are still open is no fault.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    # Open pages hold connections that never end by themselves.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, lifespan="on")
    Server(config).run(sockets=[listening])


def _sweeping(visitors: Visitors, stopped: threading.Event) -> None:
    while not stopped.wait(SWEEP):
        visitors.sweep()
