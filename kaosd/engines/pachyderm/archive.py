"""A source bundle as one file: the same bundle is always the same bytes, so that pachd sees an equal datum."""

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

ARCHIVE = "bundle.tar"


def write(directory: Path, file: BinaryIO) -> None:
    """Write all below *directory* as a tar archive: sorted, without owners and times, executable bits kept; blocking.

    Names may be any bytes. Raises OSError.
    """
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive:
        for path in sorted(_paths(os.fsencode(directory))):
            full = os.path.join(os.fsencode(directory), path)
            member = _member(full, path)
            with open(full, "rb") if member.isreg() else contextlib.nullcontext() as content:
                archive.addfile(member, content)


def _paths(root: bytes, below: bytes = b"") -> Iterator[bytes]:
    with os.scandir(os.path.join(root, below)) as entries:
        found = list(entries)
    for entry in found:
        path = os.path.join(below, entry.name)
        yield path
        if entry.is_dir(follow_symlinks=False):
            yield from _paths(root, path)


def _member(full: bytes, path: bytes) -> tarfile.TarInfo:
    status = os.lstat(full)
    member = tarfile.TarInfo(path.decode("utf-8", "surrogateescape"))
    member.mode = 0o755 if status.st_mode & 0o100 else 0o644
    if stat.S_ISLNK(status.st_mode):
        member.type, member.mode = tarfile.SYMTYPE, 0o777
        member.linkname = os.readlink(full).decode("utf-8", "surrogateescape")
    elif stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
    else:
        member.size = status.st_size
    return member
