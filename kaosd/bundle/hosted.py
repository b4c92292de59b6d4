"""What stands in a work directory, where the person and their kernels write as well; nothing is ever followed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from kaosd.bundle.beneath import directory, open_root, opened
from kaosd.bundle.copying import hash_file
from kaosd.bundle.failing import store_errors
from kaosd.bundle.store import Store
from kaosd.bundle.tree import Entry, digest_of, split, walk

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


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


def hosted_edits(store: Store, work: Path, base: str | None) -> tuple[bytes, ...]:
    """The files and links of tree *base* whose hosted content is another one, or gone; sorted. Reads them all."""
    edits = []
    with store_errors("read", work):
        root = open_root(work)
        try:
            for path, entry in walk(store, base):
                if entry.kind != "d" and not alike(_state_below(root, path), state(entry)):
                    edits.append(path)
        finally:
            os.close(root)
    return tuple(sorted(edits))


def _state_below(root: int, path: bytes) -> State | None:
    above, name = split(path)
    try:
        with directory(root, above) as parent:
            return state_at(parent, name)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
