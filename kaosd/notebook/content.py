"""A version of a data directory as an engine takes it that sends it elsewhere: what differs, and its bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kaosd import bundle
from kaosd.bundle import Store, TreeChange
from kaosd.engines.base import Piece
from kaosd.errors import StoreError


class StoredContent:
    """See `Content`: a tree of the store. scratch: a directory on the store's disk, for contents that are large."""

    def __init__(self, store: Store, tree: str, scratch: Path) -> None:
        self.digest = tree
        self._store = store
        self._scratch = scratch

    def pieces(self, since: str | None) -> list[Piece] | None:
        """See `Content`."""
        if since is not None and since not in self._store:
            return None
        try:
            changes = bundle.diff(self._store, since, self.digest)
        except StoreError:
            if since is None:
                raise
            return None
        return [piece for change in changes if (piece := _piece(change)) is not None]

    def chunks(self, piece: Piece, size: int) -> Iterator[bytes]:
        """See `Content`."""
        if piece.content is None:
            return
        if piece.size <= size:
            yield self._store.get(piece.content)
            return
        with tempfile.TemporaryFile(dir=self._scratch) as file:
            self._store.write_to(piece.content, file.fileno())
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            while part := os.read(file.fileno(), size):
                yield part

    def bare(self) -> tuple[int, int]:
        """See `Content`."""
        executable = empty = 0
        nodes = [self.digest]
        while nodes:
            entries = self._store.node(nodes.pop())
            executable += sum(entry.kind == "x" for entry in entries)
            empty += not entries
            nodes += [entry.digest for entry in entries if entry.kind == "d"]
        return executable, empty


def _piece(change: TreeChange) -> Piece | None:
    """The piece of a change; None for a directory that comes or goes, since only files count."""
    old, new = change.old, change.new
    if new is None or new.kind == "d":
        return Piece(change.path, None, fresh=False) if old is not None and old.kind != "d" else None
    return Piece(change.path, new.digest, new.size, old is None, new.kind == "l")
