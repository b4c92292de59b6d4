"""What stands in a work directory, where the person and their kernels write as well; nothing is ever followed."""

from __future__ import annotations

import os
import stat

from kaosd.bundle.copying import hash_file, read_all
from kaosd.bundle.openat import opened
from kaosd.bundle.tree import Entry, digest_of
from kaosd.hosted.states import State

_WHOLE = 1 << 20  # bytes of a file that is read at once, holes and all


def state(entry: Entry | None) -> State | None:
    """The state that *entry* asks for."""
    if entry is None:
        return None
    return State(entry.kind) if entry.kind == "d" else State(entry.kind, entry.digest)


def state_at(parent: int, name: bytes) -> State | None:
    """The state of *name* in a directory descriptor; None when there is nothing."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        mode, size = status.st_mode, status.st_size
        if stat.S_ISLNK(mode):
            return State("l", digest_of(os.readlink(name, dir_fd=parent)))
        if stat.S_ISDIR(mode):
            return State("d")
        if not stat.S_ISREG(mode):
            return State("?")
        with opened(name, os.O_RDONLY, dir_fd=parent) as descriptor:
            digest = digest_of(read_all(descriptor, size)) if size < _WHOLE else hash_file(descriptor)
            return State("x" if mode & stat.S_IXUSR else "f", digest)
    except FileNotFoundError:
        return None


def status_at(parent: int, name: bytes) -> os.stat_result | None:
    """The status of *name* in a directory descriptor; None when there is nothing."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def mode_at(parent: int, name: bytes) -> int | None:
    """The st_mode of *name* in a directory descriptor; None when there is nothing."""
    status = status_at(parent, name)
    return status.st_mode if status is not None else None
