"""Bringing deployed files back into a work directory; what stands at their paths is kept, never lost."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from kaosd.bundle.entry_state import state, state_at
from kaosd.bundle.openat import open_root
from kaosd.bundle.replacer import Replacer, SavedCopy
from kaosd.bundle.store import Store
from kaosd.bundle.store_errors import store_errors
from kaosd.bundle.tree import Entry, split

_ATTEMPTS = 10


def put_back(
    store: Store, work: Path, entries: Iterable[tuple[bytes, Entry | None]], recovered: Path
) -> tuple[SavedCopy, ...]:
    """Make each path what its entry says (None: nothing); what stood there is below *recovered*, and returned.

    Must not run beside a sync into the same directory. StoreError (disk full) leaves every name as it was or as it
    shall be. Blocking.
    """
    with store_errors("write to", work):
        root = open_root(work)
        writing = Replacer(store, root, recovered, lambda _path, _left: False)  # whatever is there may be somebody's
        try:
            writing.begin()
            for path, entry in entries:
                _settle(writing, path, entry)
            writing.end()
        finally:
            writing.close()
            os.close(root)
    return tuple(writing.saved)


def _settle(writing: Replacer, path: bytes, entry: Entry | None) -> None:
    above, name = split(path)
    for _ in range(_ATTEMPTS):
        parent = writing.find(above)
        there = state_at(parent, name) if parent is not None else None
        if there == state(entry):
            return None
        with contextlib.suppress(FileExistsError, FileNotFoundError):  # the host was quicker: look again
            if entry is not None:
                return writing.write(writing.reach(above), path, entry)
            if parent is not None and there is not None:
                writing.delete(parent, path, there.kind)
            return None
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
