"""Bringing one recovered copy back into a work directory; what stands at its path is saved before, never lost."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from kaosd.bundle.entry_state import state, state_at
from kaosd.bundle.openat import open_root
from kaosd.bundle.replacer import Replacer, SavedCopy
from kaosd.bundle.store import Store
from kaosd.bundle.store_errors import store_errors
from kaosd.bundle.tree import Entry, Kind, split
from kaosd.errors import BundleError

_ATTEMPTS = 10


def restore(store: Store, work: Path, path: bytes, file: Path, recovered: Path) -> tuple[SavedCopy, ...]:
    """Put the copy *file* at *path* below *work*, and return what stood there and is now below *recovered*.

    Nothing is done where the same content stands already. Must not run beside a sync into the same directory.
    BundleError when *file* is neither a file, a link nor a directory; StoreError (disk full) leaves every name as it
    was or as it shall be.
    """
    above, name = split(path)
    with store.holding(), store_errors("write to", work):
        entry = _entry(store, name, file)
        work.mkdir(parents=True, exist_ok=True)
        root = open_root(work)
        writing = Replacer(store, root, recovered, lambda _path, _left: False)  # whatever is there may be somebody's
        try:
            parent = writing.find(above)
            if parent is not None and state_at(parent, name) == state(entry):
                return ()
            writing.begin()
            _write(writing, above, path, entry)
            writing.end()
        finally:
            writing.close()
            os.close(root)
        return tuple(writing.saved)


def _write(writing: Replacer, above: bytes, path: bytes, entry: Entry) -> None:
    for _ in range(_ATTEMPTS):
        try:
            return writing.write(writing.reach(above), path, entry)
        except (FileExistsError, FileNotFoundError):
            continue  # the host was quicker: look again
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)


def _entry(store: Store, name: bytes, file: Path) -> Entry:
    """The copy *file* as an entry called *name*: its content is in the store then."""
    try:
        mode = os.lstat(file).st_mode
        if stat.S_ISLNK(mode):
            target = os.fsencode(os.readlink(file))
            return Entry(name, "l", store.put(target), len(target))
        if stat.S_ISDIR(mode):
            return Entry(name, "d", "", 0)
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BundleError(f"the copy {file} cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"the copy {file} is not a file", hint="copy it by hand from there")
        kind: Kind = "x" if status.st_mode & stat.S_IXUSR else "f"
        return Entry(name, kind, store.put_file(descriptor, status), status.st_size)
    finally:
        os.close(descriptor)
