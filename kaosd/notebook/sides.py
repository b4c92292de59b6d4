"""What a file of a notebook holds, and what was deployed there: read to be compared. Links are never followed."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kaosd.bundle import Entry, Store
from kaosd.bundle.copying import read_all
from kaosd.bundle.openat import directory, open_root, opened
from kaosd.engines.base import Carrier
from kaosd.errors import ContentLost
from kaosd.notebook.diffs import Side, too_large

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook


async def hosted_side(actor: Notebook, path: bytes) -> Side | None:
    """What the notebook's file holds now, wherever that is; None when there is no file. Raises EngineError."""
    if not isinstance(actor.engine, Carrier):
        return await asyncio.to_thread(side_below, actor.home.work, path)
    host = actor.hosting.host
    files = actor.engine.files(host) if host is not None else None
    if files is None:
        return None
    await files.holds()
    there = (await files.look([path])).get(path)
    if there is None or there.kind not in "fxl":
        return None
    with tempfile.TemporaryFile(dir=actor.home.root) as scratch:
        await files.read(path, scratch)
        size = scratch.tell()
        scratch.seek(0)
        return Side(there.kind, size, None if too_large(os.fsdecode(path), size) else scratch.read())


def side_below(top: Path, path: bytes) -> Side | None:
    """A file or link below the directory *top*; None when there is none. Blocking; OSError when it cannot be read."""
    above, _, name = path.rpartition(b"/")
    root = open_root(top)
    try:
        with directory(root, above) as parent:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(name, dir_fd=parent)
                return Side("l", len(target), target, status.st_mtime)
            if not stat.S_ISREG(status.st_mode):
                return None
            kind = "x" if status.st_mode & stat.S_IXUSR else "f"
            if too_large(os.fsdecode(path), status.st_size):
                return Side(kind, status.st_size, None, status.st_mtime)
            with opened(name, os.O_RDONLY, dir_fd=parent) as descriptor:
                content = read_all(descriptor, status.st_size)
            return Side(kind, len(content), content, status.st_mtime)
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        os.close(root)


def stored_side(store: Store, path: bytes, entry: Entry | None) -> Side | None:
    """What a version holds at *path*; as of a file that is too large where the store has lost it. Blocking."""
    if entry is None or entry.kind == "d":
        return None
    if too_large(os.fsdecode(path), entry.size):
        return Side(entry.kind, entry.size, None)
    try:
        return Side(entry.kind, entry.size, store.get(entry.digest))
    except ContentLost:
        return Side(entry.kind, entry.size, None)
