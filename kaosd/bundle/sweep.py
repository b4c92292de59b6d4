"""What of the store may go: the pure half of sweeping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kaosd.bundle.index import LARGE, Spot
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


def worth_compacting(lengths: Mapping[int, int], spots: Iterable[tuple[str, Spot]]) -> dict[int, dict[str, Spot]]:
    """The packs of *lengths* of which less than half is in use, with the contents that must be moved."""
    contents: dict[int, dict[str, Spot]] = {pack: {} for pack in lengths}
    for digest, spot in spots:
        if spot.pack != LARGE and spot.pack in contents:
            contents[spot.pack][digest] = spot
    return {
        pack: moved for pack, moved in contents.items() if sum(spot.size for spot in moved.values()) * 2 < lengths[pack]
    }
