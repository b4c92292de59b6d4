"""What of the store may go, and how it goes: in small steps, since saves continue meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kaosd.bundle.index import LARGE, Index, Spot
from kaosd.bundle.node_cache import NodeCache
from kaosd.bundle.packs import HEADER, Packs
from kaosd.bundle.tree import Nodes, digest_of
from kaosd.errors import StoreError

_AT_ONCE = 500  # contents that are dealt with in one step
_PAUSE = 0.001  # seconds after each: a lock goes to whoever is there first, and who waits for it would starve


class Swept(NamedTuple):
    """What a sweep removed: the number of contents and nodes, and their bytes."""

    contents: int
    bytes: int


def reachable(nodes: Nodes, trees: Iterable[str]) -> tuple[set[str], bool]:
    """The digests of all nodes and contents of *trees*, and whether that is all.

    A node that is absent or damaged leads nowhere.
    """
    whole = True
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
            whole = False
            continue
        for entry in entries:
            if entry.kind == "d":
                pending.append(entry.digest)
            else:
                contents.add(entry.digest)
    return seen | contents, whole


def worth_compacting(lengths: Mapping[int, int], in_use: Mapping[int, int]) -> list[int]:
    """The packs of *lengths* of which less than half is in use. in_use: bytes, by pack."""
    return [pack for pack, length in lengths.items() if in_use.get(pack, 0) * 2 < length]


@dataclass(frozen=True, slots=True)
class Sweeping:
    """One sweep through the parts of a store, whose lock is only held for a step at a time.

    held: what must stay although no tree has it; grows meanwhile. in_use: the bytes of each pack that have stayed.
    """

    lock: threading.RLock
    index: Index
    packs: Packs
    nodes: NodeCache
    large: Path
    held: Collection[str]
    in_use: Counter[int] = field(default_factory=Counter)

    def drop_all_but(self, live: Collection[str], *, remember: bool) -> Swept:
        """Drop every content that is neither *live* nor held. remember: that they were here, see Index.drop."""
        last, count, size = b"", 0, 0
        while True:
            with self.lock:
                some = self.index.spots_after(last, _AT_ONCE)
                dead = {digest: spot for digest, spot in some.items() if digest not in live and digest not in self.held}
                if dead:
                    self._drop(dead, remember=remember)
            if not some:
                return Swept(count, size)
            for digest, spot in some.items():
                if digest not in dead:
                    self.in_use[spot.pack] += HEADER + spot.size
            last = bytes.fromhex(next(reversed(some)))
            count, size = count + len(dead), size + sum(spot.size for spot in dead.values())
            time.sleep(_PAUSE)

    def sparse(self) -> list[int]:
        """The packs that are worth rewriting."""
        with self.lock:
            lengths = self.index.packs()
            lengths.pop(self.packs.active, None)
        return worth_compacting(lengths, self.in_use)

    def copied(self, pack: int) -> tuple[dict[str, Spot], list[str]]:
        """Put the contents of *pack* where new ones go, and write most of that to the disk; where they lie then.

        And those that cannot be read any more. The others are read from the old pack until a flush says otherwise.
        """
        moved: dict[str, Spot] = {}
        lost: list[str] = []
        with self.lock:
            spots = list(self.index.spots_in(pack).items())
        for begin in range(0, len(spots), _AT_ONCE):
            with self.lock:
                for digest, spot in spots[begin : begin + _AT_ONCE]:
                    data = self.packs.read(*spot)
                    if digest_of(data) != digest:
                        lost.append(digest)
                        continue
                    moved[digest] = Spot(*self.packs.append(digest, data), len(data))
            time.sleep(_PAUSE)
        with self.lock:
            self.packs.write_out()
            written = tuple(self.packs.unsynced)
        for each in written:
            self.packs.sync(each)
        return moved, lost

    def remove(self, pack: int) -> None:
        """Remove a pack whose contents have moved."""
        with self.lock:
            self.index.drop((), (pack,))
            self.packs.remove(pack)

    def _drop(self, dead: Mapping[str, Spot], *, remember: bool) -> None:
        """The caller holds the lock, so that none of them is put meanwhile."""
        self.index.drop(dead, lost=remember)
        for digest, spot in dead.items():
            self.nodes.drop(digest)
            if spot.pack == LARGE:
                (self.large / digest).unlink(missing_ok=True)
