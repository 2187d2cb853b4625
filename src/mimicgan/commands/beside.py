"""Files that a restoration writes beside its images: refused before a long run if possible."""

from collections.abc import Callable, Iterable
from pathlib import Path

from mimicgan.commands.summary import DAMAGE, OVERVIEW, REPORT
from mimicgan.errors import UserError
from mimicgan.files import check_writable, resolved, unwritable
from mimicgan.restore import Settings

PREDICTIONS = "predictions.csv"
RESULTS = {REPORT, OVERVIEW, DAMAGE, PREDICTIONS}
"""Files of OUT beside the images."""


def inside(path: Path, out: Path) -> bool:
    """Whether ``path`` lies right in the folder ``out``."""
    return resolved(path).parent == resolved(out)


def check_target(path: Path, out: Path, inputs: list[Path], *, overwrite: bool) -> None:
    """UserError unless the file ``path`` can be written, in ``out`` or elsewhere, and is neither a
    file of the result nor one of the ``inputs``, nor lies in one."""
    if path.is_dir() or (path.exists() and not overwrite):
        raise UserError(f"{path} exists; choose another file or replace it with --overwrite")
    if not inside(path, out):
        check_writable(path, str(path))
    elif path.name in RESULTS:
        raise UserError(f"{path} is the name of a file of the result; choose another")
    if _in_the_way(path, out):
        raise UserError(f"{path} is in the way of OUT, a folder; choose another file")
    if _among(path, inputs):
        raise UserError(f"{path} is an input, or lies among them; choose another file")


def write_targets(
    targets: Iterable[tuple[Path, Callable[[Path], None]]], out: Path, to: Path
) -> list[str]:
    """Write each file by its function, below ``to`` where it lies in ``out``; why those of the
    others that could not be written were not."""
    failed = []
    for path, write in targets:
        if inside(path, out):
            write(to / path.name)
            continue
        try:
            write(path)
        except OSError as error:
            failed.append(str(unwritable(str(path), error)))
        except UserError as error:
            failed.append(str(error))
    return failed


def check_watch(
    path: Path, settings: Settings, out: Path, inputs: list[Path], *, known: bool, overwrite: bool
) -> None:
    """UserError unless there will be something to watch (``known``: the damage is given), and the
    picture ``path`` can be written while ``out`` is not there yet, and is none of the ``inputs``,
    nor lies in one."""
    if (known or settings.method == "universal") and settings.output != "realism":
        given = "--damage" if known else "--method universal"
        raise UserError(f"{given} is applied at once, with nothing to see; leave --watch out")
    if path.suffix.lower() != ".png" or path.is_dir():
        raise UserError(f"--watch {path} must be a file called something.png")
    whole = resolved(path)
    if resolved(out) in whole.parents:
        raise UserError(f"--watch {path} lies in OUT, which appears at the end; put it elsewhere")
    if _in_the_way(path, out):
        raise UserError(f"--watch {path} is in the way of OUT, a folder; name another file")
    if _among(path, inputs):
        raise UserError(f"--watch {path} is an input, or lies among them; name another file")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; choose another file or replace it with --overwrite")
    check_writable(path, f"--watch {path}")


def _among(path: Path, inputs: list[Path]) -> bool:
    """Whether ``path`` is one of the ``inputs``, or lies in one that is a folder."""
    whole = resolved(path)
    return not {whole, *whole.parents}.isdisjoint(map(resolved, inputs))


def _in_the_way(path: Path, out: Path) -> bool:
    """Whether a file ``path`` would stand where the folder ``out`` is to be made."""
    folder = resolved(out)
    return resolved(path) in (folder, *folder.parents)
