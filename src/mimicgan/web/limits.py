"""How much visitors of the web page may ask for."""

from dataclasses import dataclass

from mimicgan.errors import UserError

MEGABYTE = 2**20
MOST_WAITING = 30
"""Each that waits holds one of the 40 threads that answer everybody."""


@dataclass(frozen=True)
class Limits:
    """Limits of the web page, the same for every visitor."""

    files: int = 100
    """Pictures in one restoration."""
    megabytes: int = 25
    """Size of one upload, all of its files together."""
    megapixels: int = 25
    """Size of one picture, decoded."""
    queue: int = 8
    """Restorations that may wait for their turn, 30 at most; one runs at a time."""
    minutes: float = 20.0
    """Time of one restoration."""
    keep_minutes: float = 60.0
    """Time after which the results of a visitor who does nothing are removed."""

    def checked(self) -> "Limits":
        """Themselves; UserError where one makes no sense."""
        for name, least in (("files", 1), ("megabytes", 1), ("megapixels", 1), ("queue", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--limits.{name} must be {least} or more; give more")
        if self.queue > MOST_WAITING:
            raise UserError(f"--limits.queue must be {MOST_WAITING} or less; give less")
        # Not "<=": a NaN must not pass.
        for name in ("minutes", "keep_minutes"):
            if not getattr(self, name) > 0:
                flag = name.replace("_", "-")
                raise UserError(f"--limits.{flag} must be more than 0; give more")
        return self

    @property
    def upload(self) -> int:
        """Bytes of one upload."""
        return self.megabytes * MEGABYTE
