"""Which files of a work directory are edits: what was deployed lies in the store, and caches are not edits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kaosd.bundle.caches import CACHES
from kaosd.bundle.entry_state import state, state_at
from kaosd.bundle.ignore import TEMPORARY
from kaosd.bundle.store import Store
from kaosd.bundle.store_errors import store_errors
from kaosd.bundle.tree import join, lookup
from kaosd.errors import StoreError
from kaosd.hosted.states import alike

_OURS = (TEMPORARY + b"syncing", TEMPORARY + b"part")  # see replacer.py; what it swaps may be a person's


def keep_edits(store: Store, top: Path, trees: Sequence[str | None]) -> tuple[bytes, ...]:
    """Remove from *top*, which is not written to any more, all that is not an edit; the paths that are left.

    trees: what was deployed there; a file that is alike in one of them goes, and so do caches, and directories that
    have nothing in them then. What the store cannot tell stays. StoreError when the disk does not do it.
    """
    left = []
    with store_errors("write to", top):
        for directory, names, files, descriptor in os.fwalk(os.fsencode(top), topdown=False):
            above = os.path.relpath(directory, os.fsencode(top))
            cached = not CACHES.isdisjoint(above.split(b"/"))
            links = [name for name in names if os.path.islink(os.path.join(directory, name))]
            for name in (*files, *links):
                path = name if above == b"." else join(above, name)
                if cached or name in _OURS or _is_deployed(store, trees, path, descriptor, name):
                    os.unlink(name, dir_fd=descriptor)
                else:
                    left.append(path)
            for name in names:
                if name not in links and not os.listdir(os.path.join(directory, name)):
                    os.rmdir(name, dir_fd=descriptor)
    return tuple(sorted(left))


def _is_deployed(store: Store, trees: Sequence[str | None], path: bytes, parent: int, name: bytes) -> bool:
    there = state_at(parent, name)
    try:
        return any(alike(there, state(lookup(store, tree, path))) for tree in trees if tree is not None)
    except StoreError:
        return False
