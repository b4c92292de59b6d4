"""One watched directory of a notebook: events in, scans out. What to do about a scan is not decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from kaosd.bundle import Scan, Scanner
from kaosd.bundle.expected import Expected
from kaosd.declared import Choice
from kaosd.errors import ContentLost, KaosError
from kaosd.watch import WatchedRoot, Watcher

log = structlog.get_logger("kaosd.notebook")

Key = tuple[str, tuple[str, ...], Choice]  # a source version, its globs, and what settings choose of it


class Asked(NamedTuple):
    """The environment that a source version asks for.

    warnings: what of that the engine does not honour. file: the environment file in use. reads: data that its code
    expects.
    """

    digest: str
    warnings: tuple[str, ...]
    file: str | None = None
    reads: tuple[Expected, ...] = ()


Prepared = tuple[Key, Asked]
FEW = 20  # changed paths; of more, the flush must not wait until they are looked up
RETRY_FIRST, RETRY_LAST = 0.5, 30.0  # seconds between looks while they fail


class Root:
    """A source or data directory with its latest scan.

    Owned by the event loop; scans run in a thread, one at a time per root. prepare: called there with each scan, and
    with whether it looked at few paths, for what is wanted of it next, which then is in `prepared`. changed: called in
    the loop after each scan, while what it found is still on its way to the disk, see `durable`.
    first, last: loop times of the events since `settle` was last called; one: see Dirty.
    """

    def __init__(
        self,
        key: str,
        path: Path,
        scanner: Scanner,
        watcher: Watcher | None,
        changed: Callable[[], None],
        prepare: Callable[[Scan, bool], Prepared | None] = lambda _, __: None,
    ) -> None:
        self.key = key
        self.path = path
        self.scanner = scanner
        self.watcher = watcher
        self.changed = changed
        self.prepare = prepare
        self.scan: Scan | None = None
        self.prepared: Prepared | None = None
        self.first: float | None = None
        self.last: float | None = None
        self.one = self._early = False
        self._task: asyncio.Task[None] | None = None
        self._full = True
        self._poked = False
        self._reading = False  # a scan looks at what events have told
        self._rules: object = None
        self._watched: WatchedRoot | None = None
        self.trouble: str | None = None  # why the last scan failed
        self._delay = 0.0
        self._again: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None  # to look at files that were being written
        self._flushing = False  # what the last scan found is on its way to the disk
        self._unflushed: Exception | None = None  # why it has not got there
        self._scans_begun = 0
        self._scans_ended = 0  # failed ones among them
        self._scans_wanted = 0
        self._ended = asyncio.Condition()

    @property
    def looking(self) -> bool:
        """Whether a scan runs or is due."""
        return self._task is not None and (not self._flushing or self._due())

    @property
    def unread(self) -> bool:
        """Whether events have reported changes that no scan has read yet."""
        return self._reading or self.pending

    @property
    def waiting(self) -> bool:
        """Whether files are still being written, so that the version has what they were before."""
        return self.scan is not None and bool(self.scan.saving)

    @property
    def pending(self) -> bool:
        """Whether more has been saved than any scan has looked at."""
        return self._watched is not None and self._watched.pending() is not None

    def open(self) -> None:
        """Watch the directory and scan it for the first time."""
        self._watch()
        self.poke()

    async def close(self) -> None:
        """Stop watching; a scan in its thread is waited for."""
        self._unwatch()
        if self._task is not None:
            await asyncio.wait([self._task])
        for timer in (self._again, self._retry):
            if timer is not None:
                timer.cancel()

    def poke(self) -> None:
        """Look again: the watcher says that something may have changed."""
        self._poked = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._look(), name=f"scan {self.key}")
            self._task.add_done_callback(self._done)

    def mend(self) -> None:
        """Read everything again, so that what the store has lost is put back."""
        self.scanner.distrust()
        self._full = True
        self.poke()

    async def fresh(self) -> None:
        """Return when a full scan that started after this call has ended; see trouble for whether it failed."""
        self._full = True
        self._scans_wanted = wanted = self._scans_begun + 1
        self.poke()
        async with self._ended:
            await self._ended.wait_for(lambda: self._scans_ended >= wanted)

    async def durable(self) -> None:
        """Return when what the last scan found would outlive a power cut. StoreError when it cannot be written."""
        async with self._ended:
            await self._ended.wait_for(lambda: not self._flushing)
        if self._unflushed is not None:
            raise self._unflushed

    def settle(self) -> None:
        """The notebook is at rest: the next event starts a new episode."""
        self.first = self.last = None

    @property
    def _failing(self) -> bool:
        """Whether the next scan is only due after a while."""
        return self.trouble is not None or (self.scan is not None and self.scan.problem is not None)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        due = self._due() if not self._failing else self.trouble is None and self._poked
        if due or self._scans_wanted > self._scans_begun:
            self.poke()

    def _failed(self, error: Exception) -> None:
        """A scan failed, for want of room for example: say so, and look at everything again before long."""
        if isinstance(error, ContentLost):
            self.scanner.distrust()
        if not isinstance(error, KaosError):
            log.error("scan_broke", root=str(self.path), exc_info=error)
        self.trouble = (
            str(error) if isinstance(error, KaosError) else f"kaosd itself failed to scan {self.path}: {error}"
        )
        self._look_later()

    def _look_later(self) -> None:
        """Look at everything again before long: what keeps us from reading may pass without an event."""
        self._full = True
        self._delay = min(self._delay * 2 or RETRY_FIRST, RETRY_LAST)
        if self._again is not None:
            self._again.cancel()
        self._again = asyncio.get_running_loop().call_later(self._delay, self.poke)

    def _due(self) -> bool:
        return self._full or self._poked

    async def _look(self) -> None:
        """Scan until nothing is due any more, or a scan fails."""
        while self._due():
            paths, closed = self._take()
            self._scans_begun += 1
            try:
                await self._scan(paths, closed)
                self._reading = False
                await self._flush()
            except Exception as error:  # noqa: BLE001 - one root's trouble is no other's
                self._failed(error)
                self.changed()
            self._scans_ended = self._scans_begun
            async with self._ended:
                self._ended.notify_all()
            if self.trouble is not None:
                return
            if self.scan is not None and self.scan.problem is not None and not self._due():
                self._look_later()
                return

    async def _scan(self, paths: frozenset[bytes] | None, closed: frozenset[bytes]) -> None:
        def look() -> tuple[Scan, Prepared | None]:
            scan = self.scanner.look(paths, closed)
            return scan, self.prepare(scan, paths is not None and len(paths) <= FEW)

        scan, self.prepared = await asyncio.to_thread(look)
        self.scan, self.trouble = scan, None
        if scan.problem is None:
            self._delay = 0.0
        if self._retry is not None:
            self._retry.cancel()
        self._retry = None if scan.again is None else asyncio.get_running_loop().call_later(scan.again, self.poke)
        if self.scanner.rules != self._rules:  # other directories count now: watch those
            self._watch()

    async def _flush(self) -> None:
        """Bring what was found to the disk; the caller continues meanwhile as far as it need not be there."""
        self._flushing = True
        if not self._was_too_early():
            self.changed()
        try:
            await asyncio.to_thread(self.scanner.flush)
        except Exception as error:
            self._unflushed = error
            raise
        finally:
            self._flushing = False
        self._unflushed = None

    def _was_too_early(self) -> bool:
        """Whether a save that was not waited for has turned out to be the first of several: a poke will tell of all."""
        return self._early and self.pending

    def _watch(self) -> None:
        self._rules = self.scanner.rules
        self._unwatch()
        if self.watcher is not None:
            self._watched = self.watcher.watch(self.path, self.scanner.ignored, self.poke, self.scanner.compare)

    def _unwatch(self) -> None:
        if self.watcher is not None and self._watched is not None:
            self.watcher.unwatch(self._watched)
            self._watched = None

    def _take(self) -> tuple[frozenset[bytes] | None, frozenset[bytes]]:
        """The paths to look at (None: all of them), and those that were closed or renamed since."""
        dirty = self._watched.take() if self._watched is not None else None
        full = self._full
        self._full, self._poked, self._early = False, False, False
        if dirty is None:
            return (None if full else frozenset()), frozenset()
        self._reading = True
        if dirty.paths is None:
            return None, dirty.closed
        self.first = dirty.first if self.first is None else min(self.first, dirty.first)
        self.last, self.one, self._early = dirty.last, dirty.one, dirty.early and not full
        return (None if full else dirty.paths), dirty.closed
