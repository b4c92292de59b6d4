"""Bringing entries out of the store onto the disk, each name complete or not there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from kaosd.bundle.ignore import TEMPORARY
from kaosd.bundle.store import Store
from kaosd.bundle.store_errors import store_errors
from kaosd.bundle.tree import Entry, split, walk

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MODES = {"f": 0o644, "x": 0o755}


def create(store: Store, entry: Entry, name: bytes, parent: int, *, writable: bool = True) -> None:
    """Make *name* in the directory descriptor *parent* out of a file's or link's entry; it must not exist.

    OSError or StoreError leaves nothing behind.
    """
    if entry.kind == "l":
        os.symlink(store.get(entry.digest), name, dir_fd=parent)
        return
    descriptor = os.open(name, _NEW, 0o600, dir_fd=parent)
    try:
        store.write_to(entry.digest, descriptor)
        os.fchmod(descriptor, MODES[entry.kind] if writable else MODES[entry.kind] & 0o555)
    except BaseException:
        os.unlink(name, dir_fd=parent)
        raise
    finally:
        os.close(descriptor)


def write_entry(store: Store, target: Path, path: bytes, entry: Entry) -> None:
    """Write a file, link or directory at *path* below *target*, a directory that only kaosd writes to."""
    full = os.path.join(os.fsencode(target), path)
    with store_errors("write to", target):
        if entry.kind == "d":
            os.makedirs(full, exist_ok=True)
            return
        directory, name = split(full)
        os.makedirs(directory, exist_ok=True)
        parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        temporary = TEMPORARY + b"export"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)  # of a killed writer
            create(store, entry, temporary, parent)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        finally:
            os.close(parent)


def export_tree(store: Store, tree: str | None, target: Path) -> None:
    """Write all of *tree* below *target*, which is made if absent."""
    with store_errors("write to", target):
        target.mkdir(parents=True, exist_ok=True)
    for path, entry in walk(store, tree):
        write_entry(store, target, path, entry)
