"""Files and folders that appear whole or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mimicgan.errors import UserError

UNWRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
}


def resolved(path: Path | str) -> Path:
    """The path without links and dots. UserError where links lead round in a circle."""
    told = UserError(f"{path} is a link that leads back to itself; name another path")
    try:
        whole = Path(path).resolve()
    except RuntimeError as error:
        raise told from error
    # From Python 3.13 on such links stay in the path.
    if any(each.is_symlink() for each in (whole, *whole.parents)):
        raise told
    return whole


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Short: with the whole name a long one would become too long.
    prefix = f".{path.stem[:20]}-"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=path.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files (name -> content) into ``folder``. None gets its name before all are written, the
    first one last: a failure leaves the old ones."""
    with ExitStack() as stack:
        for name, content in contents.items():
            stack.enter_context(written_whole(folder / name)).write_bytes(content)


def check_writable(path: Path, name: str, *, make: bool = False) -> None:
    """UserError that says ``name`` unless a file can be written at ``path``, which stays as it is.

    A folder that is missing is an error, or with ``make`` looked at where it would be made.
    """
    folder = resolved(path).parent
    try:
        if make:
            folder = next(each for each in (folder, *folder.parents) if each.exists())
        elif not folder.exists():
            raise UserError(f"cannot write {name}: the folder {folder} does not exist; make it")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(name, error) from error


def unwritable(name: str, error: OSError) -> UserError:
    """What to raise for a single file that the system does not take."""
    return UserError(f"cannot write {name}: {error.strerror}; name another file")


@contextmanager
def output_folder(
    path: Path | str, *, overwrite: bool = False, inputs: Iterable[Path | str] = ()
) -> Iterator[Path]:
    """A hidden folder beside ``path`` that becomes ``path`` when the block ends without error.

    Until then ``path`` stays as it was; after any error, Ctrl-C included, nothing is left behind.
    An existing folder that is not empty is replaced only with ``overwrite``. ``inputs`` are the
    files or folders that are read: ``path`` must not be, hold or lie in one of them.

    Raises UserError when ``path`` may not be written, is in the way, or the disk is full.
    """
    made: list[Path] = []
    partial: Path | None = None
    try:
        try:
            out = resolved(path)
            _refuse_overlap(out, [resolved(item) for item in inputs])
            _refuse_existing(out, overwrite)
            made = [folder for folder in out.parents if not folder.exists()]
            out.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name[:20]}-"))
        except OSError as error:
            raise UserError(
                f"cannot make {path}: {error.strerror}; choose another output folder"
            ) from error
        try:
            yield partial
            partial.chmod(0o777 & ~_umask())
            # The world may have changed during a long run.
            _refuse_existing(out, overwrite)
            _swap(partial, out)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            raise UserError(
                f"cannot write {out}: {error.strerror}; free some space or choose another "
                "output folder (it is as it was)"
            ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            # A parent that holds the results is not empty and stays.
            with suppress(OSError):
                parent.rmdir()


def _refuse_overlap(out: Path, inputs: list[Path]) -> None:
    for source in inputs:
        if out == source:
            raise UserError(f"the output {out} is the input; choose another output folder")
        if out in source.parents:
            raise UserError(f"the output {out} holds the input; choose another output folder")
        if source in out.parents:
            raise UserError(
                f"the output {out} lies inside the input {source}; choose a folder outside of it"
            )


def _refuse_existing(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"the output {out} is a file; choose another output folder")
    here = Path.cwd()
    if out == here or out in here.parents:
        raise UserError(f"the output {out} holds the current folder; name a new folder")
    if out.is_mount():
        raise UserError(f"the output {out} is a mount point; name a new folder inside it")
    entries = list(out.iterdir())
    if entries and not overwrite:
        raise UserError(
            f"the output {out} exists; choose another folder or replace it with --overwrite"
        )
    # Results hold no folders: whoever names their home folder by mistake keeps it.
    inner = next((entry for entry in entries if entry.is_dir()), None)
    if inner is not None:
        raise UserError(
            f"the output {out} holds a folder ({inner.name}), and only results without one are "
            "replaced; choose another output folder, or delete it yourself"
        )


def _swap(partial: Path, out: Path) -> None:
    """Put ``partial`` in the place of ``out``; the old goes only when the new one is there."""
    if not out.exists():
        partial.replace(out)
        return
    old = partial.with_name(f"{partial.name}-old")
    try:
        out.replace(old)
        partial.replace(out)
    finally:
        if old.exists() and not out.exists():
            old.replace(out)
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
