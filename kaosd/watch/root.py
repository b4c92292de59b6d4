"""One watched root: what the last scan of it found, and when the next one is due."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kaosd.model import Problem
from kaosd.watch import advice
from kaosd.watch.dirty import Collected, Dirty
from kaosd.watch.file_systems import is_remote
from kaosd.watch.polling import poll_interval
from kaosd.watch.root_walk import RootWalk
from kaosd.watch.trees import Tree, Watches

RETRY = 300.0  # seconds until inotify is tried again for a root that the watch limit left out
COVER_SHARE = 0.0003  # of a core that safety looks at which directories there are may take
SHORTEST = 1.0  # seconds between two comparisons
TIMES = 500  # a comparison is due after so many times the processor time that the last one took
LONGEST = 60.0  # seconds; a tree for which that is more ...
TIMES_LARGE = 1000  # ... is compared after so many times: all that is done without a change costs 0.2 % of a core

Compare = Callable[[Callable[[], bool]], tuple[frozenset[bytes], bool]]


def nothing_differs(_: Callable[[], bool]) -> tuple[frozenset[bytes], bool]:
    """The comparison of a root that is not compared."""
    return frozenset(), True


def cover_interval(least: float, cpu: float) -> float:
    """Seconds between looks at which directories there are, of which one takes *cpu* seconds of processor."""
    return max(least, cpu / COVER_SHARE)


def comparison_interval(cpu: float, most: float) -> float:
    """Seconds between comparisons that take *cpu* seconds of processor. most: a person wants no longer ones.

    *most* counts also where that costs more than its share, but for LONGEST, its default.
    """
    usual = max(SHORTEST, cpu * TIMES)
    if usual > LONGEST and most >= LONGEST:
        return max(LONGEST, cpu * TIMES_LARGE)
    return min(usual, most)


class WatchedRoot:
    """State of one root; owned by the event loop, but `gone`, which tells walks in threads to stop.

    wake: called in the event loop when something below *path* may have changed; `take` then says what.

    compare: called in a thread with what tells whether to stop, returns the paths that differ from what is known of the
    root, and whether these are all of them; otherwise the next call continues.

    found: what the last scan found; None before the first. everything: the next scan wakes to look at everything.
    again: another look is due. comparing: the comparison that runs.
    """

    def __init__(
        self,
        path: Path,
        ignored: Callable[[bytes, bool], bool],
        wake: Callable[[], None],
        collected: Collected,
        compare: Compare,
    ) -> None:
        self.path = path
        self.ignored = ignored
        self.wake = wake
        self.collected = collected
        self.compare = compare
        self.comparing: asyncio.Task[None] | None = None
        self._compared_at = -math.inf  # loop time of the end of the last comparison
        self._comparison = 0.0  # seconds of processor that it took, or has taken so far
        self._compared, self._first = True, True  # it came to its end; there was none that did
        self.gone = threading.Event()
        self.waking: asyncio.TimerHandle | None = None  # calls `wake` when the changes are due
        self.task: asyncio.Task[None] | None = None
        self.found: RootWalk | None = None
        self.everything = self.again = False
        self.looked_at = 0.0
        self._limit: int | None = None  # the watch limit that was too low
        self._limited_at = 0.0
        self._polled_since: float | None = None  # seconds since the epoch

    def take(self) -> Dirty | None:
        """What may have changed since the last call; it is handed over."""
        return self.collected.take()

    def pending(self) -> Dirty | None:
        """What `take` would hand over."""
        return self.collected.look()

    @property
    def tree(self) -> Tree | None:
        """Its directories under watch, None when there are none or inotify does not serve it."""
        return self.found.tree if self.found is not None else None

    @property
    def directories(self) -> int:
        """How many directories are under watch or polled."""
        if self.found is None:
            return 0
        if self.tree is not None:
            return len(self.tree.directories)
        return self.found.snapshot.directories if self.found.snapshot is not None else 0

    @property
    def polled(self) -> bool:
        """Whether looks find what events do not."""
        return self.found is not None and self.found.snapshot is not None

    @property
    def poll_every(self) -> float:
        """Seconds between two scans of a polled root."""
        return poll_interval(self.found.cpu, self.found.wall) if self.found is not None else 0.0

    def cover_due(self, least: float, now: float) -> bool:
        """Whether it has to be looked, for safety, which directories there are."""
        return now >= self.looked_at + cover_interval(least, self.found.cpu if self.found is not None else 0.0)

    def comparison_due(self, now: float, beat: float, most: float) -> bool:
        """Whether the root has to be compared at this beat, which is the nearest one to the time when it is due."""
        if self.found is None or self.comparing is not None:
            return False
        wait = comparison_interval(self._comparison, most) if self._compared else 0.0
        return now >= self._compared_at + wait - beat / 2

    def compared(self, cpu: float, complete: bool, now: float) -> None:
        """Note that a part of a comparison, or the rest of it, took *cpu* seconds of processor.

        The first one does not count, since it costs more than all others.
        """
        self._comparison = cpu + (0.0 if self._compared else self._comparison)
        self._compared, self._compared_at = complete, now
        if complete and self._first:
            self._first, self._comparison = False, 0.0

    def usable(self, watches: Watches | None, now: float) -> Watches | None:
        """*watches*, or None while the limit is known to be too low for this root."""
        if self._limit is None or now >= self._limited_at + RETRY or advice.limit("watches") != self._limit:
            return watches
        return None

    def adopt(self, found: RootWalk, everything: bool, now: float) -> frozenset[bytes] | None:
        """Take in what a scan found; returns the paths that changed since the last one, None for everything."""
        before, self.found = self.found, found
        self.looked_at = now
        if found.limited:
            self._limit, self._limited_at = advice.limit("watches"), now
        elif found.tree is not None:
            self._limit = None
        if not self.polled:
            self._polled_since = None
        elif self._polled_since is None:
            self._polled_since = time.time()
        if everything or before is None or before.identity != found.identity or before.tree is not found.tree:
            return None
        return found.since(before)

    def problem(self) -> Problem | None:
        """Why changes of this root are not seen at once."""
        if self.found is None or self._polled_since is None:
            return None
        if self._limit is not None:
            return advice.no_watches(self.path, self._limit, self.poll_every, self._polled_since)
        if is_remote(self.found.kind):
            return advice.remote(self.path, self.found.kind, self.poll_every, self._polled_since)
        return None
