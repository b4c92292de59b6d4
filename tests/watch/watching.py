"""A watcher with a memory: whom it woke, and what was dirty then."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from kaosd.watch import Dirty, WatchedRoot, Watcher
from kaosd.watch.root import Compare, nothing_differs

DEADLINE = 30.0  # seconds; only ever reached by a failing test


def nothing_ignored(path: bytes, is_directory: bool) -> bool:
    return False


def covers(dirty: Dirty, path: bytes) -> bool:
    """Whether *dirty* tells to look at *path*: itself, a directory above it, or everything."""
    if dirty.paths is None:
        return True
    parts = path.split(b"/")
    return any(b"/".join(parts[:length]) in dirty.paths for length in range(1, len(parts) + 1))


class Eye:
    """Takes what a watcher wakes for, and lets tests wait for it. Roots have names here."""

    def __init__(self, **options: Any) -> None:
        self.watcher = Watcher(**{"quiet": 0.01} | options)
        self.roots: dict[str, WatchedRoot] = {}
        self.pokes: list[str] = []
        self.seen: dict[str, list[Dirty]] = {}
        self._poke = asyncio.Event()

    def _poked(self, key: str) -> None:
        self.pokes.append(key)
        dirty = self.roots[key].take()
        if dirty is not None:
            self.seen.setdefault(key, []).append(dirty)
        self._poke.set()

    def begin(
        self,
        root: Path,
        ignored: Callable[[bytes, bool], bool] = nothing_ignored,
        compare: Compare = nothing_differs,
        *,
        key: str = "r",
    ) -> WatchedRoot:
        """Watch *root*, in place of an earlier one of the same name."""
        if key in self.roots:
            self.watcher.unwatch(self.roots[key])
        self.roots[key] = self.watcher.watch(root, ignored, lambda: self._poked(key), compare)
        return self.roots[key]

    async def watch(self, root: Path, ignored: Callable[[bytes, bool], bool] = nothing_ignored, key: str = "r") -> None:
        """Watch *root*, wait for the poke that follows and forget it."""
        self.begin(root, ignored, key=key)
        await self.everything(key)

    def forget(self) -> None:
        self.pokes.clear()
        self.seen.clear()

    async def until(self, condition: Callable[[], object], what: str = "the condition") -> None:
        """Wait for *condition*, asked after each poke and, for what no poke announces, now and then."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}; seen: {self.seen}"
            self._poke.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._poke.wait(), 0.05)

    async def everything(self, key: str = "r") -> None:
        """Wait for a poke to look at everything, and forget what was seen up to it."""
        await self.until(lambda: any(d.paths is None for d in self.seen.get(key, ())), "a look at everything")
        self.forget()

    async def covered(self, *paths: bytes, key: str = "r") -> None:
        """Wait until each of *paths* was told."""
        for path in paths:
            await self.until(lambda path=path: any(covers(d, path) for d in self.seen.get(key, ())), str(path))

    def told(self, key: str = "r") -> frozenset[bytes] | None:
        """All that was told since the last `forget`; None for everything."""
        found: frozenset[bytes] = frozenset()
        for dirty in self.seen.get(key, ()):
            if dirty.paths is None:
                return None
            found |= dirty.paths
        return found

    async def only(self, root: Path, key: str = "r") -> frozenset[bytes] | None:
        """What was told before a last file of our own, which is left out."""
        (root / "last-of-all").write_bytes(b"x")
        await self.covered(b"last-of-all", key=key)
        told = self.told(key)
        return told - {b"last-of-all"} if told is not None else None

    @property
    def watched(self) -> set[bytes]:
        """Directories under watch, of the root "r"."""
        tree = self.roots["r"].tree
        return set(tree.directories) if tree is not None else set()


@contextlib.asynccontextmanager
async def eye(starting: contextlib.AbstractContextManager[None] | None = None, **options: Any) -> AsyncIterator[Eye]:
    """A started watcher, closed in the end. starting: entered only while it starts."""
    made = Eye(**options)
    with starting or contextlib.nullcontext():
        await made.watcher.start()
    try:
        yield made
    finally:
        await made.watcher.close()
