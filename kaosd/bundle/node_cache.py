"""Directory nodes that were read last, decoded: a bounded cache, least recently used out first. Not safe by itself."""

from __future__ import annotations

from collections import OrderedDict

from kaosd.bundle.tree import Entry

_ENTRIES, _LATEST = 10_000, 3  # how many entries are kept; and so many nodes in any case


class NodeCache:
    """The cache. entries: how much is in it, in entries and nodes together."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[str, tuple[Entry, ...]] = OrderedDict()
        self.entries = 0

    def find(self, digest: str) -> tuple[Entry, ...] | None:
        """The node, which counts as used now; None when it is not kept."""
        node = self._nodes.get(digest)
        if node is not None:
            self._nodes.move_to_end(digest)
        return node

    def keep(self, digest: str, node: tuple[Entry, ...]) -> None:
        """Keep a node, and let go of those that were not used for longest."""
        if digest not in self._nodes:
            self._nodes[digest] = node
            self.entries += len(node) + 1
        self._nodes.move_to_end(digest)
        while self.entries > _ENTRIES and len(self._nodes) > _LATEST:
            self.drop(next(iter(self._nodes)))

    def drop(self, digest: str) -> None:
        """Let go of one node, if it is kept."""
        node = self._nodes.pop(digest, None)
        if node is not None:
            self.entries -= len(node) + 1

    def clear(self) -> None:
        """Let go of everything."""
        self._nodes.clear()
        self.entries = 0
