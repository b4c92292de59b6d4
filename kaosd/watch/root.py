"""One watched root: what the last look at it found, and when the next one is due."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kaosd.model import Problem
from kaosd.watch import advice
from kaosd.watch.dirty import Collected
from kaosd.watch.places import is_remote
from kaosd.watch.polling import poll_interval
from kaosd.watch.survey import Survey
from kaosd.watch.trees import Tree, Watches

RETRY = 300.0  # seconds until inotify is tried again for a root that the watch limit left out
RESCAN_SHARE = 0.0005  # of a core that our part of the safety rescans may take


def rescan_interval(least: float, cpu: float) -> float:
    """Seconds between safety rescans of a tree whose walk takes *cpu* seconds of processor."""
    return max(least, cpu / RESCAN_SHARE)


class Root:
    """State of one root; owned by the event loop, but `gone`, which tells walks in threads to end.

    found: what the last look found; None before the first. everything: the next look ends in a poke to look at
    everything. again: another look is due. full_at: loop time of the last look at everything.
    """

    def __init__(self, key: str, path: Path, ignored: Callable[[bytes, bool], bool], collected: Collected) -> None:
        self.key = key
        self.path = path
        self.ignored = ignored
        self.collected = collected
        self.gone = threading.Event()
        self.poke_handle: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.found: Survey | None = None
        self.everything = self.again = False
        self.full_at = self.looked_at = 0.0
        self._limit: int | None = None  # the watch limit that was too low
        self._limited_at = 0.0
        self._polled_since: float | None = None  # seconds since the epoch

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
        """Seconds between two looks of a polled root."""
        return poll_interval(self.found.cpu, self.found.wall) if self.found is not None else 0.0

    def rescan_due(self, least: float, now: float) -> bool:
        """Whether everything has to be looked at again for safety."""
        cpu = self.found.cpu if self.found is not None else 0.0
        return now >= self.full_at + rescan_interval(least, cpu)

    def usable(self, watches: Watches | None, now: float) -> Watches | None:
        """*watches*, or None while the limit is known to be too low for this root."""
        if self._limit is None or now >= self._limited_at + RETRY or advice.limit("watches") != self._limit:
            return watches
        return None

    def adopt(self, found: Survey, everything: bool, now: float) -> frozenset[bytes] | None:
        """Take over what a look found; returns the paths that changed since the last one, None for everything."""
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
            self.full_at = now
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
