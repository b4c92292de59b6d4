"""The watcher: paths with callbacks in, wake-ups out.

Everything here belongs to the event loop. One thread reads inotify (trees.py) and hands over what it saw with
one scheduled callback (instance.py); looks at whole roots (root_walk.py) run in worker threads, one at a time per
root. One timer sees to all that no event tells: roots replaced, mounts, sleep, polling, rescans.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import structlog

from kaosd.model import Problem
from kaosd.watch.dirty import Collected
from kaosd.watch.file_systems import same
from kaosd.watch.instance import Instance
from kaosd.watch.root import Compare, WatchedRoot, nothing_differs
from kaosd.watch.root_walk import survey
from kaosd.watch.saves import Fate
from kaosd.watch.trees import Changes

BEAT = 1.0  # seconds between looks at what no event tells
SLEPT = 2.0  # seconds by which the clocks must have parted to mean a suspended machine
CLOSING = 5.0  # seconds that closing waits for walks in progress


@dataclass(frozen=True, slots=True)
class WatchStats:
    """For status. directories: under watch or polled. rescans: looks at everything, but the first of each root.

    These are the ones after lost events, sleep and the like, and the comparisons that found what no event had told.

    last_event_at: seconds since the epoch.
    """

    mode: Literal["inotify", "poll"]
    directories: int
    overflows: int
    rescans: int
    last_event_at: float | None


def suspended() -> float:
    """Seconds that this machine has been asleep since it started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class Watcher:
    """Watches any number of roots and calls *wake* of each in the event loop when it may have changed.

    mode: "poll" never uses inotify. quiet, cap: wakes after so many seconds without an event, at the latest so many
    after the first. rescan: the most seconds between two comparisons of a root, which usually are more
    frequent, see `comparison_interval`; and the least between looks at which directories there are. Made in the event
    loop that it is to run in.
    """

    def __init__(
        self,
        *,
        mode: Literal["auto", "poll"] = "auto",
        quiet: float = 0.05,
        cap: float = 0.5,
        rescan: float = 60.0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._mode = mode
        self._quiet, self._cap, self._rescan = quiet, cap, rescan
        self._log = structlog.get_logger("kaosd.watch")
        self._roots: set[WatchedRoot] = set()
        self._workers = ThreadPoolExecutor(4, "kaosd-watch")  # its threads start with the first look
        self._working: set[asyncio.Future[None]] = set()
        self._instance = Instance(self._changed, self._look_at_all, self._in_thread)
        self._beating: asyncio.TimerHandle | None = None
        self._suspended = suspended()
        self._rescans = 0
        self._last_event_at: float | None = None

    async def start(self) -> None:
        """Start to watch; roots may have been named before."""
        if self._mode == "auto":
            self._instance.open()
        self._beating = self._loop.call_later(BEAT, self._beat)
        for root in self._roots:
            self._look(root)

    async def close(self) -> None:
        """Stop watching; threads and descriptors are gone afterwards."""
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        for root in list(self._roots):
            self.unwatch(root)
        self._instance.close()
        if self._working:
            await asyncio.wait(self._working, timeout=CLOSING)
        self._workers.shutdown(wait=False, cancel_futures=True)

    def watch(
        self,
        path: Path,
        ignored: Callable[[bytes, bool], bool],
        wake: Callable[[], None],
        compare: Compare = nothing_differs,
    ) -> WatchedRoot:
        """Watch *path*, which need not exist yet, until `unwatch`.

        ignored: told a relative path and whether it is a directory; called in other threads, must not block.
        wake: called in the event loop. compare: finds what no event tells, see `WatchedRoot`.
        """
        root = WatchedRoot(path, ignored, wake, Collected(self._quiet, self._cap), compare)
        self._roots.add(root)
        if self._beating is not None:
            self._look(root)
        return root

    def unwatch(self, root: WatchedRoot) -> None:
        """Stop watching; idempotent."""
        if root not in self._roots:
            return
        self._roots.discard(root)
        root.gone.set()
        if root.waking is not None:
            root.waking.cancel()
        if root.task is None and root.tree is not None:
            self._in_thread(root.tree.release)

    def stats(self) -> WatchStats:
        """Figures for status."""
        roots = self._roots
        polling = self._instance.watches is None or (bool(roots) and all(root.polled for root in roots))
        return WatchStats(
            "poll" if polling else "inotify",
            sum(root.directories for root in roots),
            self._instance.overflows,
            self._rescans,
            self._last_event_at,
        )

    def problems(self) -> tuple[Problem, ...]:
        """What keeps changes from being seen at once, each with its fix."""
        found = [self._instance.trouble, *(root.problem() for root in self._roots)]
        return tuple(problem for problem in found if problem is not None)

    # -- what happened -------------------------------------------------------------------------------------

    def _changed(self, changes: Changes) -> None:
        """What the trees reported; one that no root has yet is in its first scan, which wakes anyway."""
        roots = {root.tree: root for root in self._roots}
        for tree, paths in changes.items():
            root = roots.get(tree)
            if root is None:
                continue
            if paths is None or paths:
                self._last_event_at = time.time()
                self._mark(root, paths)
            if tree.lost or tree.limited:
                self._look(root)

    def _mark(self, root: WatchedRoot, paths: Mapping[bytes, Fate] | frozenset[bytes] | None) -> None:
        root.collected.add(paths, self._loop.time())
        if root.waking is not None:
            root.waking.cancel()  # the end of a save is due sooner than what was waited for
        self._wake_when_due(root)

    def _wake_when_due(self, root: WatchedRoot) -> None:
        root.waking = None
        due = root.collected.due()
        if due is None:  # taken before it was announced
            return
        if due > self._loop.time():
            root.waking = self._loop.call_at(due, self._wake_when_due, root)
            return
        root.collected.announced()
        root.wake()

    # -- looks at whole roots ------------------------------------------------------------------------------

    def _beat(self) -> None:
        """See to all that no event tells."""
        self._beating = self._loop.call_later(BEAT, self._beat)
        asleep, self._suspended = self._suspended, suspended()
        if self._suspended - asleep > SLEPT:
            self._log.info("watch_resumed", asleep=self._suspended - asleep)
            self._look_at_all()
        if self._mode == "auto":
            self._instance.check()
        now = self._loop.time()
        for root in self._roots:
            if root.task is None and (root.cover_due(self._rescan, now) or self._stale(root, now)):
                self._look(root)
            if root.comparison_due(now, BEAT, self._rescan):
                root.comparing = self._loop.create_task(self._compare(root), name=f"compare {root.path}")
                self._working.add(root.comparing)
                root.comparing.add_done_callback(partial(self._compared, root))

    async def _compare(self, root: WatchedRoot) -> None:
        """Find what no event tells; where events are missing, directories may be missing among those under watch."""

        def compare() -> tuple[frozenset[bytes], bool, float]:
            began = time.thread_time()
            return *root.compare(root.gone.is_set), time.thread_time() - began

        found, complete, cpu = await self._loop.run_in_executor(self._workers, compare)
        root.compared(cpu, complete, self._loop.time())
        if found and not root.gone.is_set():
            self._rescans += 1
            self._mark(root, found)
            self._look(root)

    def _compared(self, root: WatchedRoot, task: asyncio.Task[None]) -> None:
        root.comparing = None
        self._working.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.error("watch_compare_failed", root=str(root.path), exc_info=task.exception())
            root.compared(0.0, complete=True, now=self._loop.time())

    def _stale(self, root: WatchedRoot, now: float) -> bool:
        """Whether a polled root is due, or the path of another one leads elsewhere than it did.

        A root that is not polled is on a local file system, so that to ask about it here does not block.
        """
        if root.found is None:  # its first look failed: the next one is due with the rescan
            return False
        if root.polled:
            return now >= root.looked_at + root.poll_every - BEAT / 2  # at the nearest beat
        return not same(os.fsencode(root.path), root.found.identity)

    def _look_at_all(self) -> None:
        for root in self._roots:
            self._look(root, everything=True)

    def _look(self, root: WatchedRoot, *, everything: bool = False) -> None:
        """Look at *root* in a thread, once more if that is being done already."""
        root.again = True
        root.everything |= everything
        if root.task is None:
            root.task = self._loop.create_task(self._survey(root), name=f"watch {root.path}")
            self._working.add(root.task)
            root.task.add_done_callback(lambda task: self._surveyed(root, task))

    async def _survey(self, root: WatchedRoot) -> None:
        while root.again and not root.gone.is_set():
            everything, root.everything, root.again = root.everything, False, False
            first, watches = root.found is None, root.usable(self._instance.watches, self._loop.time())
            found = await self._loop.run_in_executor(
                self._workers, survey, root.path, root.ignored, watches, root.tree, root.gone.is_set
            )
            changes = root.adopt(found, everything, self._loop.time())
            self._rescans += changes is None and not first
            if root.tree is not None and (root.tree.lost or root.tree.limited):
                root.again = True  # it happened before the tree was known here
            if not root.gone.is_set() and (changes is None or changes):
                self._mark(root, changes)
        if root.gone.is_set() and root.tree is not None:
            await self._loop.run_in_executor(self._workers, root.tree.release)

    def _surveyed(self, root: WatchedRoot, task: asyncio.Task[None]) -> None:
        root.task = None
        self._working.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.error("watch_look_failed", root=str(root.path), exc_info=task.exception())
            root.looked_at = self._loop.time()

    def _in_thread(self, call: Callable[[], None]) -> None:
        """Run a short blocking call in a worker; closing waits for it."""
        future = self._loop.run_in_executor(self._workers, call)
        self._working.add(future)
        future.add_done_callback(self._working.discard)
