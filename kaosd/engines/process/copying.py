"""Copy an environment by hard links: what its packages installed and nothing else, if nothing there has changed.

A program of its own with the standard library only, because tens of thousands of links would keep the daemon's
interpreter busy: `python copying.py tree OLD NEW [NICE]` links the files that the packages' RECORDs name and copies the
scripts, which carry the path of OLD and are moved by `relocate`; `python copying.py bytecode OLD NEW` links compiled
files beside their sources. Nothing is ever written through a link. It ends with 1 and a reason where OLD is not exactly
what was built (a person may have installed into it): then it is unknown what a copy of it would be.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

MARKER = "kaosd-environment.json"
_SCRIPTS = ("activate", "deactivate", "pydoc", "python")  # what these begin is made by `uv venv`
_FRAME = ("pyvenv.cfg", "CACHEDIR.TAG", ".gitignore", ".lock", "lib64")
_CHUNK = 4096  # bytes in which a script names its interpreter


class NotAsBuiltError(Exception):
    """The environment is not what was built."""


def distributions(environment: Path) -> list[str]:
    """The names of all directories that describe an installed package, sorted."""
    found = environment.glob("lib/python3*/site-packages/*.*-info")
    return sorted(path.name for path in found)


def copy_tree(old: Path, new: Path) -> None:
    """Make *new*, an empty directory, a copy of *old* without bytecode. Raises NotAsBuiltError or OSError."""
    built_at = (old / MARKER).stat().st_mtime_ns
    if distributions(old) != json.loads((old / MARKER).read_text())["installed"]:
        raise NotAsBuiltError("other packages are installed than were built")
    made = {str(new)}
    for name in [*_frame(old), *_recorded(old)]:
        source, target = f"{old}/{name}", f"{new}/{name}"
        parent = os.path.dirname(target)
        if parent not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        found = os.lstat(source)
        if found.st_mtime_ns > built_at:
            raise NotAsBuiltError(f"{name} has changed since")
        if not os.path.islink(source) and (name in _FRAME or (name.startswith("bin/") and _names(source, old))):
            _copy(source, target, found)
        else:
            os.link(source, target, follow_symlinks=False)


def _frame(old: Path) -> Iterator[str]:
    """The files that `uv venv` made."""
    yield from (name for name in _FRAME if os.path.lexists(old / name))
    yield from (f"bin/{name}" for name in sorted(os.listdir(old / "bin")) if name.startswith(_SCRIPTS))


def _recorded(old: Path) -> Iterator[str]:
    """The files of all packages, once each, below *old*."""
    seen: set[str] = set(_frame(old))
    for record in sorted(old.glob("lib/python3*/site-packages/*.dist-info/RECORD")):
        if (record.parent / "direct_url.json").exists():
            raise NotAsBuiltError(f"{record.parent.name} is of a directory or an address")
        site_packages = record.parent.parent.relative_to(old)
        with record.open(newline="", encoding="utf-8") as rows:
            for row in csv.reader(rows):
                name = os.path.normpath(f"{site_packages}/{row[0]}") if row else ""
                if name.startswith(("../", "/")):
                    raise NotAsBuiltError(f"{record.parent.name} has files elsewhere")
                if name and name not in seen and not name.endswith(".pyc"):
                    seen.add(name)
                    yield name


def complete(environment: Path) -> bool:
    """Whether every file that a package installed is there; removing one can take away what it shared with another."""
    return all(os.path.lexists(environment / name) for name in _recorded(environment))


def _names(path: str, environment: Path) -> bool:
    """Whether a script starts by naming *environment*, or is one of those that name it further down."""
    everything = -1 if os.path.basename(path).startswith(_SCRIPTS) else _CHUNK
    with open(path, "rb") as file:
        return os.fsencode(environment) in file.read(everything)


def _copy(source: str, target: str, found: os.stat_result) -> None:
    content = Path(source).read_bytes()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(descriptor, found.st_mode & 0o777)


def relocate(copy: Path, old: Path, new: Path) -> None:
    """Let the scripts of *copy* (their files are its own) name *new* where they name *old*."""
    for path in sorted((copy / "bin").iterdir()):
        if not path.is_symlink() and path.stat().st_nlink == 1:
            content = path.read_bytes()
            path.write_bytes(content.replace(os.fsencode(old), os.fsencode(new)))


def copy_bytecode(old: Path, new: Path) -> None:
    """Link what *old* has compiled beside the same sources of *new*; Python takes none that is outdated."""
    for directory, names, files in os.walk(old / "lib"):
        if os.path.basename(directory) != "__pycache__":
            continue
        names.clear()
        sources = new / os.path.relpath(os.path.dirname(directory), old)
        there = {name.removesuffix(".py") for name in os.listdir(sources)} if sources.is_dir() else set()
        fitting = [name for name in files if name.endswith(".pyc") and name.partition(".")[0] in there]
        target = sources / "__pycache__"
        if fitting:
            target.mkdir(exist_ok=True)
        for name in fitting:
            if not (target / name).exists():
                os.link(f"{directory}/{name}", target / name)


def main(what: str, old: str, new: str, nice: str = "0") -> None:
    """Run as a program; see the module."""
    os.nice(int(nice))
    try:
        {"tree": copy_tree, "bytecode": copy_bytecode}[what](Path(old), Path(new))
    except (NotAsBuiltError, OSError, ValueError, KeyError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
