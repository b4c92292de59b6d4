"""Taking one file or link into the store: what is refused, what is still being saved, what may be trusted later."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Container, Mapping
from typing import NamedTuple

from kaosd.bundle.copying import ChangingError, read_all
from kaosd.bundle.databases import together
from kaosd.bundle.listing import file_header, header_of, kind_of, unsure
from kaosd.bundle.store import Store
from kaosd.bundle.tree import Entry, Kind, split
from kaosd.bundle.writers import Writers, WriterVerdict
from kaosd.display import printable
from kaosd.errors import BundleError

ATTEMPTS = 3
GRAIN = 20_000_000  # ns; two ticks of the clock that stamps files: changes within one look alike
YOUNG = 2_000_000_000  # ns for which a notebook that is not JSON counts as half-written
_PARSED = 64 << 20  # bytes; a larger notebook is taken as it is
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a link is not followed, a FIFO does not hang
# our trouble, not the file's; and its fix
_EXHAUSTED = {
    errno.EMFILE: "raise the limit of open files",
    errno.ENFILE: "raise the system's limit of open files (fs.file-max)",
    errno.ENOMEM: "free some memory",
}
_FOR_GOOD = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}  # somebody has made it so; it may stay so
_MOVED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}  # it is no longer what the listing said


class Taken(NamedTuple):
    """The outcome for one name: its entry and record; or why it is refused; or neither: it is being saved.

    part: what was taken is the start of a file that grows.
    """

    entry: Entry | None = None
    header: bytes = b""
    refused: str | None = None
    part: bool = False


SAVING = Taken()  # look again soon
WAITING = Taken()  # look again when the file is due, see Writers


def take(
    store: Store, writers: Writers, parent: int, path: bytes, header: bytes, *, inside: bytes, previous: Entry | None
) -> Taken:
    """Put the last name of *path*, which is in the directory descriptor *parent*, into the store.

    writers: asked whether the file is whole, and told when to look again if not.
    header: as listed. inside: the directory's path within the part of the bundle that links must not leave.
    previous: its entry in the last version. StoreError when the store fails, BundleError: see `unreadable`.
    """
    name = split(path)[1]
    try:
        if kind_of(header) == b"l":
            return _take_link(store, parent, name, inside)
        return _take_file(store, writers, parent, path, previous)
    except OSError as error:
        return SAVING if error.errno in _MOVED else Taken(refused=unreadable(path, error))


def unreadable(path: bytes, error: OSError) -> str:
    """The reason for refusing what may not be read.

    BundleError when it is not the path's fault, or when its disk fails: left out, it would be taken away where it
    is served, although it was not removed.
    """
    if error.errno not in _FOR_GOOD:
        mend = _EXHAUSTED.get(error.errno or 0, "repair its disk, or remove it")
        raise BundleError(
            f"{printable(os.fsdecode(path))} cannot be read: {error.strerror}",
            hint=f"{mend}; until then what is served stays, and kaosd tries again",
            retryable=True,
        ) from error
    return f"cannot be read: {error.strerror}"


def _take_link(store: Store, parent: int, name: bytes, inside: bytes) -> Taken:
    target = os.readlink(name, dir_fd=parent)
    refused = leaves(inside, target)
    if refused is not None:
        return Taken(refused=refused)
    header = header_of(name, os.stat(name, dir_fd=parent, follow_symlinks=False))
    if header is None or kind_of(header) != b"l":
        return SAVING
    return Taken(Entry(name, "l", store.put(target), len(target)), header)


def leaves(inside: bytes, target: bytes) -> str | None:
    """Why a link in the directory *inside* may lead out of the tree; None when it cannot.

    Judged by its text alone, which is enough: climbing is allowed only at the start, so it climbs real
    directories, and what it then descends through are directories or other links that passed this same test.
    Absolute targets are refused even if they lead into the tree: in a copy they would lead back to the original.
    """
    shown = os.fsdecode(target)
    if target.startswith(b"/"):
        return f"is a link to the absolute path {shown}"
    depth = len(inside.split(b"/")) if inside else 0
    descended = False
    for part in target.split(b"/"):
        if part == b"..":
            depth -= 1
            if descended:
                return f'is a link with ".." after a name: {shown}'
            if depth < 0:
                return f"is a link that leaves the bundle: {shown}"
        elif part not in {b"", b"."}:
            descended = True
    return None


def _take_file(store: Store, writers: Writers, parent: int, path: bytes, previous: Entry | None) -> Taken:
    name = split(path)[1]
    descriptor = os.open(name, _READ, dir_fd=parent)
    try:
        for _ in range(ATTEMPTS):
            before = os.fstat(descriptor)
            now = time.time_ns()
            if not stat.S_ISREG(before.st_mode):
                return SAVING  # replaced by something else since it was listed
            verdict, began = writers.judge(path, name, descriptor, before, previous), writers.now()
            if verdict is WriterVerdict.WAIT:
                return WAITING
            if now - before.st_mtime_ns < YOUNG and _half_written(descriptor, name, before, now, previous):
                return SAVING
            try:
                digest = store.put_file(descriptor, before, grows=verdict is WriterVerdict.GROWS)
            except ChangingError:
                writers.changed(path)
                continue
            writers.taken(path, began)
            kind: Kind = "x" if before.st_mode & stat.S_IXUSR else "f"
            header = file_header(name, before)
            part = verdict is WriterVerdict.GROWS
            unclear = part or _racy(before, now)
            return Taken(Entry(name, kind, digest, before.st_size), unsure(header) if unclear else header, part=part)
    finally:
        os.close(descriptor)
    return SAVING


def torn(
    parent: int, headers: Mapping[bytes, bytes], before: Container[bytes], taken: Mapping[bytes, Taken]
) -> dict[bytes, Taken]:
    """The files of databases in the directory *parent* that must stay as they were *before*, as outcomes like *taken*.

    A database and its journal or log belong to one moment: one of them that waits makes the others wait, those that
    are gone as well, and so does one that has changed since it was taken or listed (*headers*).
    """
    found: dict[bytes, Taken] = {}
    for group in together(taken, headers, before):
        waits = next((one for name in group if (one := taken.get(name)) in (SAVING, WAITING)), None)
        if waits is not None or any(_moved_on(parent, name, headers, taken) for name in group if name in headers):
            found |= dict.fromkeys(group, waits or SAVING)
    return found


def _moved_on(parent: int, name: bytes, headers: Mapping[bytes, bytes], taken: Mapping[bytes, Taken]) -> bool:
    """Whether a file is no longer what was taken of it, or listed."""
    one = taken.get(name)
    if one is not None and (one.part or one.refused is not None):
        return False
    try:
        now = header_of(name, os.stat(name, dir_fd=parent, follow_symlinks=False))
    except OSError:
        return True
    return now is None or unsure(now) != unsure(one.header if one is not None else headers[name])


def _racy(status: os.stat_result, now: int) -> bool:
    """Whether a later change could leave the same times, because the clock had not moved on when it was read.

    ctime cannot be set by anyone; mtime is looked at for file systems that have no true ctime.
    """
    edge = now - GRAIN
    return status.st_ctime_ns > edge or edge < status.st_mtime_ns <= now


def _half_written(descriptor: int, name: bytes, status: os.stat_result, now: int, previous: Entry | None) -> bool:
    if now - status.st_mtime_ns < -YOUNG:
        return False  # its time lies in the future, and may do so for long
    if name.startswith(b"requirements") and name.endswith(b".txt"):
        return status.st_size == 0 and previous is not None and previous.size > 0
    if not name.endswith(b".ipynb") or status.st_size > _PARSED:
        return False
    try:
        json.loads(read_all(descriptor, status.st_size))
    except (ValueError, RecursionError):
        return True
    return False
