"""Whole or nothing: output folders and single files under every way of failing."""

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from mimicgan.errors import UserError
from mimicgan.files import output_folder, resolved, written_whole


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder below, hidden ones too."""
    return {
        str(p.relative_to(folder)): p.read_text() if p.is_file() else "" for p in folder.rglob("*")
    }


def write(out: Path, **options: object) -> None:
    with output_folder(out, **options) as folder:  # type: ignore[arg-type]
        (folder / "new").write_text("new")


def refused(out: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        write(out, **options)
    return str(caught.value)


def test_a_new_folder_appears_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "out"
    with output_folder(out) as folder:
        (folder / "x").write_text("1")
        assert not out.exists()
        assert folder.name.startswith(".")
    assert contents(tmp_path) == {"a": "", "a/b": "", "a/b/out": "", "a/b/out/x": "1"}


def test_it_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    write(tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_an_existing_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert contents(tmp_path) == {"out": "", "out/new": "new"}


def test_an_existing_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    assert "--overwrite" in refused(out)
    assert contents(tmp_path) == {"out": "", "out/old": "old"}
    with output_folder(out, overwrite=True) as folder:
        (folder / "new").write_text("new")
        assert (out / "old").read_text() == "old"
    assert contents(tmp_path) == {"out": "", "out/new": "new"}


def test_a_link_to_the_output_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "new").read_text() == "new"


def test_what_overwrite_never_deletes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "thesis").mkdir(parents=True)
    assert "holds a folder (thesis)" in refused(home, overwrite=True)
    (tmp_path / "file").write_text("x")
    assert "is a file" in refused(tmp_path / "file", overwrite=True)
    monkeypatch.chdir(home)
    assert "holds the current folder" in refused(Path(), overwrite=True)
    assert "holds the current folder" in refused(tmp_path, overwrite=True)
    assert "mount point" in refused(Path("/proc"), overwrite=True)


def test_output_and_input_must_be_apart(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.npy").write_text("x")
    before = contents(tmp_path)
    assert "is the input" in refused(source, inputs=[source], overwrite=True)
    assert "is the input" in refused(tmp_path / "in" / ".." / "in", inputs=[source])
    assert "lies inside" in refused(source / "out", inputs=[source])
    assert "holds the input" in refused(source, inputs=[source / "a.npy"], overwrite=True)
    assert "holds the input" in refused(tmp_path, inputs=[source], overwrite=True)
    (tmp_path / "link").symlink_to(source)
    assert "is the input" in refused(tmp_path / "link", inputs=[source], overwrite=True)
    (tmp_path / "link").unlink()
    assert contents(tmp_path) == before


def full_disk(folder: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted(folder: Path) -> None:
    raise KeyboardInterrupt


def broken(folder: Path) -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize("existing", [None, [], ["old"]])
@pytest.mark.parametrize(
    ("accident", "error"),
    [(full_disk, UserError), (interrupted, KeyboardInterrupt), (broken, RuntimeError)],
)
def test_an_accident_leaves_everything_as_it_was(
    tmp_path: Path,
    accident: Callable[[Path], None],
    error: type[BaseException],
    existing: list[str] | None,
) -> None:
    out = tmp_path / "deep" / "out"
    if existing is not None:
        out.mkdir(parents=True)
        for name in existing:
            (out / name).write_text(name)
    before = contents(tmp_path)
    with pytest.raises(error) as caught, output_folder(out, overwrite=True) as folder:
        (folder / "half").write_text("half")
        accident(folder)
    assert contents(tmp_path) == before
    if error is UserError:
        assert str(out) in str(caught.value)
        assert "No space left on device" in str(caught.value)


def test_an_input_that_cannot_be_read_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), output_folder(tmp_path / "out"):
        (tmp_path / "missing").read_text()
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("fails_at", [1, 2])
def test_an_interrupted_swap_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    calls = 0
    replace = Path.replace

    def interrupted_replace(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted_replace)
    with pytest.raises(KeyboardInterrupt):
        write(out, overwrite=True)
    assert contents(tmp_path) == {"out": "", "out/old": "old"}


def test_a_folder_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="--overwrite"), output_folder(out) as folder:
        (folder / "new").write_text("new")
        out.mkdir()
        (out / "theirs").write_text("theirs")
    assert contents(tmp_path) == {"out": "", "out/theirs": "theirs"}


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    message = refused(tmp_path / "file" / "out")
    assert "choose another output folder" in message
    if Path("/proc/version").exists():
        assert "cannot make /proc/out" in refused(Path("/proc/out"))
    assert "cannot make" in refused(tmp_path / ("x" * 300))
    if os.getuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        assert "Permission denied" in refused(tmp_path / "locked" / "out")


def test_a_real_write_limit_is_a_one_line_error(tmp_path: Path) -> None:
    """The images do not fit into what the system lets this process write."""
    script = f"""
        import resource, torch
        from mimicgan.errors import UserError
        from mimicgan.files import output_folder
        from mimicgan.image_files import write_images
        from pathlib import Path
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        for name in ("x.png", "x.jpg", "x.tif", "x.gif"):
            try:
                with output_folder({str(tmp_path / "out")!r}) as folder:
                    write_images(folder, [name], torch.rand(1, 3, 256, 256))
            except UserError as error:
                print(name, error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("File too large; free some space") == 4
    assert contents(tmp_path) == {}


def test_a_program_and_a_checkpoint_beyond_a_real_write_limit_are_errors_of_the_system(
    tmp_path: Path,
) -> None:
    script = f"""
        import resource, torch
        from pathlib import Path
        from mimicgan.export import export_restorer
        from mimicgan.models.restorer import Restorer
        from mimicgan.training import checkpoint
        folder, network = Path({str(tmp_path)!r}), Restorer((1, 28, 28))
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        for name in ("x.pt2", "x.pt"):
            try:
                if name == "x.pt":
                    checkpoint.save(folder / name, network.state_dict())
                else:
                    export_restorer(network, folder / name, (1, 28, 28))
            except OSError as error:
                print(name, error.strerror)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("File too large") == 2
    assert contents(tmp_path) == {}


def test_a_single_file_is_whole_or_as_before(tmp_path: Path) -> None:
    file = tmp_path / "new" / "x.txt"
    with written_whole(file) as partial:
        partial.write_text("first")
        assert not file.exists()
    assert contents(tmp_path) == {"new": "", "new/x.txt": "first"}
    with pytest.raises(KeyboardInterrupt), written_whole(file) as partial:
        partial.write_text("sec")
        raise KeyboardInterrupt
    assert contents(tmp_path) == {"new": "", "new/x.txt": "first"}


def test_names_may_be_as_long_as_the_system_takes(tmp_path: Path) -> None:
    long = "x" * 250
    write(tmp_path / long)
    write(tmp_path / long, overwrite=True)
    with written_whole(tmp_path / long / ("y" * 250 + ".pt2")) as partial:
        partial.write_text("whole")
    assert contents(tmp_path / long) == {"new": "new", "y" * 250 + ".pt2": "whole"}


def test_a_link_that_leads_back_to_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to(tmp_path / "again")
    (tmp_path / "again").symlink_to(tmp_path / "round")
    with pytest.raises(UserError, match="leads back to itself"):
        resolved(tmp_path / "round" / "x")
