"""Writes the tables of README.md and PAPER.md from the result files, or checks that they agree."""

import re
import sys
from pathlib import Path

from mimicgan.errors import UserError
from mimicgan.experiments.record import read_record, with_own_settings
from mimicgan.experiments.tables import TABLES
from mimicgan.files import written_whole

DOCUMENTS = ("README.md", "PAPER.md")
MARKED = re.compile(r"<!-- table:([\w-]+) -->\n(.*?)<!-- /table -->", re.DOTALL)


def table(name: str, results: Path) -> str:
    """The table ``name`` from the result files in ``results``; UserError for others."""
    if name not in TABLES:
        raise UserError(f"no table {name!r}; choose among: {', '.join(TABLES)}")
    experiment, make = TABLES[name]
    path = results / f"{experiment}.json"
    if not path.exists():
        return f"_Not measured yet: `mimicgan reproduce {experiment}`._"
    # Settings may have changed since: what was measured with earlier ones is marked.
    return make(with_own_settings(read_record(path)))


def filled(text: str, results: Path) -> str:
    """A document with what stands between its table markers renewed."""
    opened, closed = text.count("<!-- table:"), text.count("<!-- /table -->")
    if not opened == closed == len(MARKED.findall(text)):
        raise UserError(
            "a table's markers do not match; close each <!-- table:NAME --> by <!-- /table -->"
        )
    return MARKED.sub(
        lambda found: f"<!-- table:{found[1]} -->\n{table(found[1], results)}\n<!-- /table -->",
        text,
    )


def report(root: Path = Path(), results: Path | None = None, *, check: bool = False) -> list[Path]:
    """Renew the tables of the documents in ``root``; the paths of those that changed.

    ``results`` is root/results unless given. With ``check`` nothing is written, and UserError says
    which document disagrees with the results.
    """
    results = results or root / "results"
    changed = []
    for path in (root / name for name in DOCUMENTS):
        if not path.exists():
            continue
        before = path.read_text(encoding="utf-8")
        after = filled(before, results)
        if after == before:
            continue
        changed.append(path)
        if not check:
            with written_whole(path) as partial:
                partial.write_text(after, encoding="utf-8")
    if check and changed:
        names = " and ".join(path.name for path in changed)
        raise UserError(
            f"{names} disagree with {results.name}/; run `python -m mimicgan.experiments.report`"
        )
    return changed


def main(arguments: list[str]) -> int:
    """``python -m mimicgan.experiments.report [--check]``."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m mimicgan.experiments.report [--check]\n")
        return 2
    try:
        changed = report(check=bool(arguments))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("".join(f"{path}\n" for path in changed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
