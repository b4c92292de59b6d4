"""The life of the inotify instance: opened, fed into the event loop, rested when it is of no use, opened again."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import structlog

from kaosd.model import Problem
from kaosd.watch import advice
from kaosd.watch.trees import Changes, Watches

REST = 30.0  # seconds of polling after inotify failed; doubles each time, up to ...
REST_MOST = 600.0


class Instance:
    """The one inotify instance of a watcher, if there is one. Owned by the event loop.

    changed: called in the loop with what the trees reported. lost: called there when events were, or when
    `watches` is another one (None: poll). in_thread: runs a blocking call in a worker.
    """

    def __init__(
        self,
        changed: Callable[[Changes], None],
        lost: Callable[[], None],
        in_thread: Callable[[Callable[[], None]], object],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed, self._lost, self._in_thread = changed, lost, in_thread
        self._log = structlog.get_logger("kaosd.watch")
        self._batches: deque[Changes | None] = deque()  # filled by the reading thread; None: an overflow
        self._scheduled = False
        self._overflow_times: deque[float] = deque(maxlen=advice.STORM)
        self._rests = 0
        self._opened_at = self._retry_at = 0.0
        self.watches: Watches | None = None
        self.trouble: Problem | None = None
        self.overflows = 0

    def open(self) -> None:
        """Open inotify, or rest when the kernel gives none."""
        try:
            self.watches = Watches(self._hand_over, lambda: self._hand_over(None))
        except OSError as error:
            self._log.warning("watch_unavailable", error=str(error))
            self._rest(advice.no_instance(advice.limit("instances"), time.time()))
            return
        self._opened_at = self._loop.time()
        self.trouble = None

    def close(self) -> None:
        """Close inotify, in a worker thread."""
        watches, self.watches = self.watches, None
        if watches is not None:
            self._in_thread(watches.finish)

    def check(self) -> None:
        """Rest when the reading thread has failed; open again after a rest."""
        if self.watches is not None and not self.watches.alive:
            self._rest(advice.failed(time.time()))
            self._lost()
        elif self.watches is None and self._loop.time() >= self._retry_at:
            self.open()
            self._lost()

    def _rest(self, trouble: Problem) -> None:
        """Do without inotify for a while."""
        now = self._loop.time()
        if now - self._opened_at > REST_MOST:
            self._rests = 0
        rest = min(REST * 2**self._rests, REST_MOST)
        self._rests += 1
        self._retry_at = now + rest
        self._overflow_times.clear()
        self.trouble = trouble
        self._log.warning("watch_resting", seconds=rest, reason=trouble.text)
        self.close()

    def _hand_over(self, batch: Changes | None) -> None:
        """In the reading thread: one callback for all batches that wait."""
        self._batches.append(batch)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._scheduled = False  # first: what is appended from here on schedules again
        while self._batches:
            batch = self._batches.popleft()
            if batch is None:
                self._overflowed()
            else:
                self._changed(batch)

    def _overflowed(self) -> None:
        self.overflows += 1
        now = self._loop.time()
        self._overflow_times.append(now)
        self._log.warning("watch_overflowed", count=self.overflows)
        if self.watches is not None and advice.storming(self._overflow_times, now):
            self._rest(advice.storm(advice.limit("events"), time.time()))
        self._lost()
