"""Whether an environment is still what was built.

`seal` notes what is at its top when it is complete: its programs and packages by name, with size and time where they
are files. `damage` compares that, which costs a millisecond, so each probe does it. Every file of the packages is
looked at now and then, by this module as a program of its own (`python -I -S intact.py ENVIRONMENT BUILT_AT`, standard
library only), because that takes a hundred times as long: it prints the first file that is missing or has changed since
the first such look, which only notes what is unlike its RECORD from the start.

Files that appear deep inside a package are not damage: some packages write there. Content that was changed without its
size and time is not seen.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

DAMAGED = "kaosd-damaged.txt"  # in the environment: what a look at every file has found
_FIRST = "kaosd-unlike.json"  # in the environment: what was unlike its RECORD when it was built


def seal(environment: Path) -> dict[str, str]:
    """What is at the top of an environment, each with what says that it is the same. Raises OSError."""
    found = dict(_entry(environment / name, name) for name in ("pyvenv.cfg",))
    for directory in ("bin", *(os.path.join("lib", name, "site-packages") for name in os.listdir(environment / "lib"))):
        with os.scandir(environment / directory) as entries:
            names = [entry.name for entry in entries if entry.name != "__pycache__" and not entry.name.startswith(".")]
        found.update(_entry(environment / directory / name, f"{directory}/{name}") for name in names)
    return found


def _entry(path: Path, name: str) -> tuple[str, str]:
    """Its name, and its size and time, or where it leads; a directory is known by its RECORD, if it has one."""
    if path.is_symlink():
        return name, os.readlink(path)
    if path.is_dir():
        record = path / "RECORD"
        return name, _size_and_time(record.stat()) if record.exists() else "directory"
    return name, _size_and_time(path.stat())


def _size_and_time(found: os.stat_result) -> str:
    return f"{found.st_size} {found.st_mtime_ns // 10**9}"  # whole seconds: copies and some file systems keep no more


def damage(environment: Path, sealed: dict[str, str]) -> str:
    """What is no longer as it was built, as a sentence; "" when nothing is that is seen from the top.

    sealed: empty for an environment that an older kaosd made; then only what is gone is seen.
    """
    if not environment.is_dir():
        return "the environment was removed"
    if not os.access(environment / "bin" / "python", os.X_OK):
        return "the environment has lost its Python"
    try:
        found = seal(environment)
        noted = (environment / DAMAGED).read_text() if (environment / DAMAGED).exists() else ""
    except OSError as error:
        return f"the environment cannot be read: {error}"
    for name in sorted(sealed.keys() | found.keys()) if sealed else ():
        if sealed.get(name) != found.get(name):
            return f"{name} of the environment was {_happened(name in sealed, name in found)}"
    return noted


def _happened(before: bool, now: bool) -> str:
    return "changed" if before and now else "added" if now else "removed"


def unlike(environment: Path, built_at: int) -> Iterator[str]:
    """The files that are not as the RECORD of their package says, or newer than *built_at* (ns)."""
    for record in sorted(environment.glob("lib/python3*/site-packages/*.dist-info/RECORD")):
        site_packages = record.parent.parent
        with record.open(newline="", encoding="utf-8") as rows:
            for row in csv.reader(rows):
                if len(row) == 3 and not row[0].endswith((".pyc", "/RECORD")):
                    path = os.path.normpath(site_packages / row[0])
                    try:
                        found = os.lstat(path)
                    except OSError:
                        yield f"{row[0]} of the environment was removed"
                        continue
                    if (row[2] and str(found.st_size) != row[2]) or found.st_mtime_ns > built_at:
                        yield f"{row[0]} of the environment was changed"


def main(environment: str, built_at: str) -> None:
    """Run as a program; see the module."""
    os.nice(10)
    first = Path(environment, _FIRST)
    found = unlike(Path(environment), int(built_at))
    if first.exists():
        known = set(json.loads(first.read_text()))
        sys.stdout.write(next((one for one in found if one not in known), ""))
        return
    draft = first.with_suffix(".new")
    draft.write_text(json.dumps(list(found)))
    draft.replace(first)


if __name__ == "__main__":
    main(*sys.argv[1:])
