"""What of the store may go: the pure half of sweeping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kaosd.bundle.tree import Nodes
from kaosd.errors import StoreError


class Swept(NamedTuple):
    """What a sweep removed: the number of contents and nodes, and their bytes."""

    contents: int
    bytes: int


def reachable(nodes: Nodes, trees: Iterable[str]) -> set[str]:
    """The digests of all nodes and contents of *trees*; a node that is absent or damaged leads nowhere."""
    seen: set[str] = set()  # nodes
    contents: set[str] = set()
    pending = list(trees)
    while pending:
        digest = pending.pop()
        if digest in seen:
            continue
        seen.add(digest)
        try:
            entries = nodes.node(digest)
        except StoreError:
            continue
        for entry in entries:
            if entry.kind == "d":
                pending.append(entry.digest)
            else:
                contents.add(entry.digest)
    return seen | contents


def worth_compacting(lengths: Mapping[int, int], in_use: Mapping[int, int]) -> list[int]:
    """The packs of *lengths* of which less than half is in use. in_use: bytes, by pack."""
    return [pack for pack, length in lengths.items() if in_use.get(pack, 0) * 2 < length]
