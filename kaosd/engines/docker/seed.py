"""What the build of an image put into its working directory, brought to the work directory that is mounted over it.

The bundle's own files are left to the sync. A list of what was brought says later which of it is still as it was,
so that the next image replaces or removes only that, and nothing that a person made.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO


def bring(archive: IO[bytes], context: frozenset[str], work: Path, listing: Path) -> int:
    """Bring the files of *archive* (the working directory, as the engine packs it) to *work*; how many were written.

    context: paths of the build context, which are left out. listing: file that remembers what was brought.
    Blocking; raises OSError.
    """
    before = _listed(listing)
    brought: dict[str, str] = {}
    written = 0
    with tarfile.open(fileobj=archive, mode="r|*") as packed:
        for member in packed:
            path = _below(member.name)
            if path is None or path in context or not (member.isfile() or member.issym() or member.islnk()):
                continue
            target = _target(work, path)
            if target is None or not _ours(target, before.get(path)):
                continue
            with contextlib.closing(_content(packed, member, work)) as content:
                brought[path] = _put(target, content, member)
            written += brought[path] != before.get(path)
    for path in before.keys() - brought.keys():
        target = _target(work, path)
        if target is not None and os.path.lexists(target) and _ours(target, before[path]):
            target.unlink()
    draft = listing.with_suffix(".new")
    draft.write_text(json.dumps(brought))
    draft.replace(listing)
    return written


def withdraw(work: Path, listing: Path) -> None:
    """Remove what was brought to *work* and is still as it was. Blocking; raises OSError."""
    for path, digest in _listed(listing).items():
        target = _target(work, path)
        if target is not None and os.path.lexists(target) and _ours(target, digest):
            target.unlink()


def read_context(archive: IO[bytes]) -> frozenset[str]:
    """The list of the build context that the build left in its image."""
    with tarfile.open(fileobj=archive, mode="r|*") as packed:
        for member in packed:
            file = packed.extractfile(member) if member.isfile() else None
            if file is not None:
                return frozenset(os.fsdecode(name) for name in file.read().split(b"\0"))
    return frozenset()


class Pieces:
    """The pieces of a stream as a file to read from."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int) -> bytes:
        """At most *size* bytes; fewer only at the end."""
        parts, missing = [self._rest[:size]], size - len(self._rest)
        self._rest = self._rest[size:]
        while missing > 0 and (piece := next(self._pieces, None)) is not None:
            parts.append(piece[:missing])
            self._rest = piece[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)


def _listed(listing: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(listing.read_text())
    except (OSError, ValueError):
        return {}
    return found


def _below(name: str) -> str | None:
    """The path below the working directory, whose own name comes first in the archive; None for anything odd."""
    parts = name.split("/")[1:]
    return "/".join(parts) if parts and not {"", ".", ".."} & set(parts) else None


def _target(work: Path, path: str) -> Path | None:
    """Where *path* lies in *work*; None when a link on the way there leads out of it, or a file stands there."""
    target, top = work / path, os.path.realpath(work)
    parent = os.path.realpath(target.parent)
    if os.path.commonpath((parent, top)) != top:
        return None
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    return target if os.path.isdir(parent) else None


def _content(packed: tarfile.TarFile, member: tarfile.TarInfo, work: Path) -> IO[bytes]:
    """The content of a file; of a second name of a file that of the first, which has been brought before it."""
    if member.islnk():
        first = _below(member.linkname)
        return open(work / first, "rb") if first is not None and (work / first).is_file() else io.BytesIO()
    return (packed.extractfile(member) if member.isfile() else None) or io.BytesIO()


def _ours(target: Path, digest: str | None) -> bool:
    """Whether *target* may be written: it is not there, or still what was brought."""
    if not os.path.lexists(target):
        return True
    return digest is not None and _digest(target) == digest


def _digest(path: Path) -> str:
    """What stands at *path*, in a few letters; "" for what is neither a file nor a link."""
    if path.is_symlink():
        return f"link {os.readlink(path)}"
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put(target: Path, content: IO[bytes], member: tarfile.TarInfo) -> str:
    """Put one file or link where *target* is, whole; its digest."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".kaosd-{target.name[:200]}")
    draft.unlink(missing_ok=True)
    if member.issym():
        draft.symlink_to(member.linkname)
    else:
        with open(draft, "xb") as file:
            while piece := content.read(2**16):
                if piece.count(0) == len(piece):  # the archive has no holes; the file has them again
                    file.seek(len(piece), os.SEEK_CUR)
                else:
                    file.write(piece)
            file.truncate()
        draft.chmod(member.mode & 0o777 | 0o600)
    draft.replace(target)
    return _digest(target)
