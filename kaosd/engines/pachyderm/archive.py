"""A source bundle as one file: the same bundle is always the same bytes, so that pachd sees an equal datum.

Each member's time follows from its content. BuildKit keeps a context between builds and sends a file again only when
its size, its time or its mode differs, so that with one time for all an edit of the same length would never arrive.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

ARCHIVE = "bundle.tar"
_FIRST, _SPAN = 315_532_800, 1 << 30  # times lie from 1980 on, where every format has them, and never in the future


def write(directory: Path, file: BinaryIO) -> None:
    """Write all below *directory* as a tar archive: sorted, without owners, executable bits kept; blocking.

    Names may be any bytes. Raises OSError.
    """
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive:
        for path in sorted(_paths(os.fsencode(directory))):
            full = os.path.join(os.fsencode(directory), path)
            member = _member(full, path)
            with open(full, "rb") if member.isreg() else contextlib.nullcontext() as content:
                if content is not None:
                    member.mtime = _time_of(hashlib.file_digest(content, "sha256").digest())
                    content.seek(0)
                archive.addfile(member, content)


def _time_of(digest: bytes) -> int:
    """A time in seconds that stands for a content."""
    return _FIRST + int.from_bytes(digest[:8]) % _SPAN


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
        target = os.readlink(full)
        member.linkname = target.decode("utf-8", "surrogateescape")
        member.mtime = _time_of(hashlib.sha256(target).digest())
    elif stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
    else:
        member.size = status.st_size
    return member
