"""Versions of data directories, made without a directory."""

from __future__ import annotations

import os
from pathlib import Path

from kaosd.bundle import Entry, Store
from kaosd.notebook.content import StoredContent


def tree(store: Store, files: dict[str, bytes]) -> str:
    """The digest of a tree of *files*, in the store. A value that begins with b"->" is a link."""
    here: list[Entry] = []
    below: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        name, _, rest = path.partition("/")
        if rest:
            below.setdefault(name, {})[rest] = content
        elif content.startswith(b"->"):
            here.append(Entry(os.fsencode(name), "l", store.put(content[2:]), len(content) - 2))
        else:
            here.append(Entry(os.fsencode(name), "f", store.put(content), len(content)))
    here += [Entry(os.fsencode(name), "d", tree(store, inside), 0) for name, inside in below.items()]
    return store.put_node(here)


def content(store: Store, files: dict[str, bytes], scratch: Path) -> StoredContent:
    """The same as what an engine is given."""
    return StoredContent(store, tree(store, files), scratch)
