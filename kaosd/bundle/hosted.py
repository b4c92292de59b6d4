"""What stands in a work directory, where the person and their kernels write as well; nothing is ever followed."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from kaosd.bundle.beneath import opened
from kaosd.bundle.copying import hash_file
from kaosd.bundle.tree import Entry, digest_of


class State(NamedTuple):
    """What is at a path: kind as in Entry ("?" for sockets and the like), and the digest of a file or link."""

    kind: str
    digest: str = ""


def state(entry: Entry | None) -> State | None:
    """The state that *entry* asks for."""
    if entry is None:
        return None
    return State(entry.kind) if entry.kind == "d" else State(entry.kind, entry.digest)


def alike(one: State | None, other: State | None) -> bool:
    """Whether two states have the same content; the executable bit alone is nobody's edit."""
    if one is None or other is None:
        return one is other
    return one.digest == other.digest and (one.kind == other.kind or {one.kind, other.kind} == {"f", "x"})


def state_at(parent: int, name: bytes) -> State | None:
    """The state of *name* in a directory descriptor; None when there is nothing."""
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            return State("l", digest_of(os.readlink(name, dir_fd=parent)))
        if stat.S_ISDIR(mode):
            return State("d")
        if not stat.S_ISREG(mode):
            return State("?")
        with opened(name, os.O_RDONLY, dir_fd=parent) as descriptor:
            return State("x" if mode & stat.S_IXUSR else "f", hash_file(descriptor))
    except FileNotFoundError:
        return None


def mode_at(parent: int, name: bytes) -> int | None:
    """The st_mode of *name* in a directory descriptor; None when there is nothing."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
