"""Writes requirements into the environment file of a source directory: what `kaosctl add` asks for by name.

One of the two writers into a directory of the user. The save is noticed like any other, and the build follows.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaosd import encodings
from kaosd.declared import Declared
from kaosd.errors import BundleError, ConflictError, NotFoundError

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook

_NEW = "requirements.txt"


async def add_requirements(actor: Notebook, requirements: Sequence[str]) -> dict[str, Any]:
    """Add PEP 508 *requirements* to the environment file in use, or to a new requirements.txt where there is none.

    Answers with `file` (in the source directory), `added`, `changed` and `there`. ConfigError, ConflictError,
    NotFoundError or BundleError, and then nothing was written.
    """
    name, source = actor.spec.name, actor.spec.source
    version = actor.looking.versions()[0]
    if source is None:
        hint = f"deploy it with one: `kaosctl notebook deploy --name {name} -s DIR`"
        raise ConflictError(f"{name} has no source directory that a requirement could be written into", hint=hint)
    if version is None:
        raise NotFoundError(f"the source of {name} is not read yet", hint=f"kaosctl status {name}")
    declared = (await asyncio.to_thread(actor.looking.inputs, version)).declared
    return await asyncio.to_thread(_add, source, declared, requirements, actor.spec.engine)


def _add(source: Path, declared: Declared, requirements: Sequence[str], engine: str) -> dict[str, Any]:
    from kaosd.declared.adding import add  # noqa: PLC0415 - the start does not need it, nor the parser that it loads

    kind = declared.kind if declared.file is not None else "requirements"
    file = declared.file or os.path.join(declared.folder, _NEW)
    if declared.lock is not None:
        words = " ".join(f"'{one}'" for one in requirements)
        text = f"{declared.lock} says exactly what is installed, and has to be updated with {file}"
        raise ConflictError(text, hint=f"in {source / os.path.dirname(file)}: uv add {words}")
    if engine != "process" and declared.dockerfile is not None:
        _check_dockerfile(source, declared.dockerfile, file)
    path = Path(os.path.realpath(source / file))
    before = _read(path) if declared.file is not None else None
    try:
        found = add(kind, file, encodings.text(before or b""), requirements)
        after = encodings.like(before or b"", found.text)
    except encodings.NotTextError as error:
        raise BundleError(f"{file} {error}") from error
    if after != (before or b""):
        _write(path, before, after)
    changed = [{"from": old, "to": new} for old, new in found.changed]
    return {"file": file, "added": list(found.added), "changed": changed, "there": list(found.there)}


def _check_dockerfile(source: Path, dockerfile: str, file: str) -> None:
    """ConflictError when the image is not made from the environment file."""
    content = _read(source / dockerfile) or b""
    if os.fsencode(os.path.basename(file)) not in content:
        text = f"the image of this notebook is made by {dockerfile}, which does not read {file}"
        raise ConflictError(text, hint=f"add a line `RUN pip install ...` to {dockerfile}")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, before: bytes | None, after: bytes) -> None:
    """Replace the file atomically, with its mode; ConflictError when somebody saved it meanwhile."""
    new = path.with_name(f".~{path.name}")  # a name that the watcher leaves out
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if before is not None else 0o666 & ~_umask()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(new, flags, 0o600), "wb") as file:
            file.write(after)
            if os.geteuid() == 0:  # what root writes stays the person's
                owner = path.stat() if before is not None else path.parent.stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if _read(path) != before:
            raise ConflictError(f"{path} was changed at the same moment", hint="try again")
        os.replace(new, path)
    except OSError as error:
        raise BundleError(f"{path} cannot be written: {error.strerror}", hint=f"see `ls -ld {path.parent}`") from error
    finally:
        new.unlink(missing_ok=True)


def _umask() -> int:
    """The mode bits that new files do not get, as the daemon was started with."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Umask:"))
    return int(line.split()[1], 8)
