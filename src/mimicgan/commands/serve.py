"""``mimicgan serve``: the web page."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from mimicgan.commands.demo import QUICK
from mimicgan.commands.flags import PATH, ComputeFlags
from mimicgan.errors import UserError
from mimicgan.match_settings import MatchSettings
from mimicgan.web.limits import Limits

VARIABLE = "MIMICGAN_AUTH"


@dataclass(frozen=True, kw_only=True)
class Serve(ComputeFlags):
    """Serve a web page that restores pictures; nothing of it comes from elsewhere.

    Ctrl-C ends it. Only this computer can open it, as localhost or 127.0.0.1, unless --host says
    otherwise; then, and behind another server, give it a password, and put a server that speaks
    HTTPS in front of it.

    Examples:
      mimicgan serve
      mimicgan serve --port 8000 --limits.files 50
      mimicgan serve --host 0.0.0.0 --auth-file users.txt
    """

    host: str = "127.0.0.1"
    """Address to listen at."""
    port: int = 7860
    """Port to listen at; 0 takes any that is free."""
    auth: Annotated[str | None, tyro.conf.arg(metavar="USER:PASSWORD")] = None
    """Let in who knows this. Other users of this computer can see it; see the next flag."""
    auth_file: Annotated[Path | None, PATH] = None
    """The same from a file, one USER:PASSWORD a line; or set MIMICGAN_AUTH to such lines."""
    priors: Annotated[tuple[str, ...], tyro.conf.arg(name="prior")] = ("fashion-mnist", "faces")
    """Priors that visitors may choose, one or more: shipped names, or folders."""
    limits: Limits = field(default_factory=Limits)
    quick: MatchSettings = QUICK
    """Numbers of the quick effort, those of the demo."""

    @property
    def after_interrupt(self) -> str:
        return "the page is closed"

    def run(self) -> None:
        screen = self.screen()
        self.prepare()
        if not self.priors:
            raise UserError("--prior names none; leave it out for those that are shipped")
        # Imported here: other commands do without a server.
        from mimicgan.web.server import Door, serve

        door = Door(self.host, self.port, self._users())
        if not door.users and not door.own:
            screen.warn(
                f"whoever reaches {self.host} can use the page; --auth-file asks for a password"
            )

        def ready(address: str) -> None:
            screen.say(f"open {address} in a browser; Ctrl-C ends it")
            screen.result({"command": "serve", "address": address})

        serve(door, self.priors, self.quick, self.limits, ready)

    def _users(self) -> dict[str, str] | None:
        given = os.environ.get(VARIABLE, "")
        if self.auth is not None and self.auth_file is not None:
            raise UserError("--auth and --auth-file say the same; leave one of the two out")
        if self.auth is not None:
            given = self.auth
        elif self.auth_file is not None:
            try:
                given = self.auth_file.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(
                    f"cannot read {self.auth_file}; give a text file of USER:PASSWORD lines"
                ) from error
        elif not given:
            return None
        users = {}
        for line in filter(None, (line.strip() for line in given.splitlines())):
            name, _, password = line.partition(":")
            if not (name and password):
                # The line itself may be a password.
                raise UserError("names and passwords come as USER:PASSWORD; neither may be empty")
            users[name] = password
        if not users:
            raise UserError("no USER:PASSWORD was given; write at least one line of them")
        return users
