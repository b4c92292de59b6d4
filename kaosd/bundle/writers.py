"""Whether a file is still being written, asked of the kernel and not guessed; and when it may be taken nevertheless.

A file that no program has open for writing is whole. One that is kept open (a database, a memory map) is taken after
two seconds without a write, and one that was served already and only grows (a log) every two seconds. Not guarded
against: a program that pauses for longer than that in the middle of a file, and a network whose other machines write.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from kaosd.bundle.copying import hash_file, stamp
from kaosd.bundle.databases import at_rest
from kaosd.bundle.tree import Entry

QUIET = 2.0  # seconds without a write after which a file that is kept open is taken
STALLED = 60.0  # the same for a temporary that is going to be renamed: a transfer over a slow line may stall
GROWN = 1.8  # seconds between two takes of a file that only grows, so that what is served is at most QUIET old
SOON = 0.1  # seconds after which a file that was caught at a bad moment is looked at again
SHARE = 20  # a file that only grows is taken at most every so many times what its last take took
AGAIN_SHARE = 500  # the same for a file that is kept open and is read again although nothing says that it changed
_CLOSING = (0.0005, 0.001, 0.002, 0.004)  # seconds; the event of a close comes just before the kernel has closed
# What rsync and the JetBrains editors write before they rename it, also after its close while a slow disk syncs it.
_TEMPORARY = re.compile(rb"\..+\.[A-Za-z0-9]{6}|.+___jb_(tmp|old)___", re.DOTALL)

# ctypes.PyDLL keeps the interpreter lock between the two calls, so that a lease is held for microseconds only.
_fcntl = ctypes.PyDLL(None, use_errno=True).fcntl
_fcntl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long)


def has_writer(descriptor: int) -> bool | None:
    """Whether somebody has the file open for writing, or mapped so; None when the kernel does not tell.

    *descriptor* is open for reading only. The kernel grants a read lease on a file without writers. The lease is given
    back at once; a writer that opens the file in between waits for that, and the signal about it is one that is
    ignored. Not known of files of other users (without CAP_LEASE), and by file systems that have no leases.
    """
    _fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    if _fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK) == 0:
        _fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    return True if ctypes.get_errno() == errno.EAGAIN else None


def is_temporary(name: bytes) -> bool:
    """Whether a new file of this name is likely to be renamed soon; it then waits, but is never left out."""
    return _TEMPORARY.fullmatch(name) is not None


class Seen(NamedTuple):
    """What is seen of one file. writer: see `has_writer`. closed: the last event said that it was closed or renamed.

    quiet: seconds since its last write. temporary: it is new, and its name is that of a temporary.
    """

    writer: bool | None
    closed: bool
    quiet: float
    temporary: bool = False


def left(seen: Seen) -> float:
    """Seconds to wait before the file may be taken, if nothing more is written; 0.0: it may be taken now."""
    whole = seen.writer is False or (seen.writer is None and seen.closed)
    if seen.temporary:
        return max(0.0, (QUIET if whole else STALLED) - seen.quiet)
    return 0.0 if whole else max(0.0, QUIET - seen.quiet)


class WriterVerdict(Enum):
    """What to do about one file."""

    TAKE = "take"
    GROWS = "take what there is of it"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class _Waiting:
    """stamp: of the file since the clock's time *since*. rewritten: it holds less or other than what is served."""

    stamp: tuple[int, int, int, int]
    since: float
    rewritten: bool = False


@dataclass(frozen=True, slots=True)
class _KeptOpen:
    """A file that somebody had open for writing when it was read. at: when it was. took: seconds that it took."""

    at: float
    took: float


class Writers:
    """What one scanner knows of files that are being written. Used by one thread at a time.

    clock: seconds, never set back. closed: paths whose last event said that they were closed or renamed. again:
    seconds until one of the files that wait in the running look is due. found_writer: of the file judged last.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[bytes, _Waiting] = {}
        self._kept: dict[bytes, _KeptOpen] = {}
        self._closed: set[bytes] = set()
        self.again: float | None = None
        self.found_writer = False

    def begin(self, closed: Collection[bytes] = ()) -> None:
        """A scan starts."""
        self._closed = set(closed)
        self.again = None

    def end(self, waiting: Collection[bytes]) -> None:
        """A scan has ended, after which the paths *waiting* wait."""
        self._waiting = {path: self._waiting[path] for path in waiting if path in self._waiting}

    def judge(
        self, path: bytes, name: bytes, descriptor: int, status: os.stat_result, previous: Entry | None
    ) -> WriterVerdict:
        """Whether to take the file now; *status* is its fstat, *previous* what is served of it. OSError."""
        writer = self._writer(path, descriptor)
        self.found_writer = bool(writer)
        temporary = previous is None and is_temporary(name)
        if writer is False and not temporary:
            return WriterVerdict.TAKE
        now = self._clock()
        self._note(path, status, previous, now)
        wait = left(Seen(writer, path in self._closed, self._quiet(path, status, now), temporary))
        if not wait:
            return WriterVerdict.TAKE
        kept = self._kept.get(path)
        due = kept.at + max(GROWN, SHARE * kept.took) - now if kept is not None else 0.0
        if at_rest(descriptor):
            if due <= 0:
                return WriterVerdict.TAKE
            wait = min(wait, due)
        elif previous is not None and self._may_grow(path, status, previous):
            if due <= 0 and self._grows(path, descriptor, previous):
                return WriterVerdict.GROWS
            wait = min(wait, due) if due > 0 else wait
        self.later(wait)
        return WriterVerdict.WAIT

    def later(self, seconds: float = SOON) -> None:
        """A file has to be looked at again after so long."""
        self.again = seconds if self.again is None else min(self.again, seconds)

    def changed(self, path: bytes) -> None:
        """A file changed while it was read, whatever the events said."""
        self._closed.discard(path)

    def taken(self, path: bytes, began: float) -> None:
        """The file that was judged last was read, from the clock's time *began* on."""
        if self.found_writer:
            self._kept[path] = _KeptOpen(began, self._clock() - began)
        elif self._kept:
            self._kept.pop(path, None)

    def now(self) -> float:
        """The clock's time."""
        return self._clock()

    def kept_open(self) -> list[bytes]:
        """Files to read again: somebody had them open, and a write through a map need not change their times."""
        now = self._clock()
        return [path for path, kept in self._kept.items() if now >= kept.at + max(QUIET, AGAIN_SHARE * kept.took)]

    def read_again(self, path: bytes, descriptor: int, began: float) -> None:
        """A file is read again, from the clock's time *began* on; it is remembered for as long as it is kept open."""
        kept = self._kept.get(path)
        if kept is not None and has_writer(descriptor):
            self._kept[path] = replace(kept, at=began)
        else:
            self._kept.pop(path, None)

    def gone(self, path: bytes) -> None:
        """A file is gone."""
        self._kept.pop(path, None)

    def _writer(self, path: bytes, descriptor: int) -> bool | None:
        writer = has_writer(descriptor)
        for seconds in _CLOSING if path in self._closed else ():
            if not writer:
                break
            time.sleep(seconds)
            writer = has_writer(descriptor)
        return writer

    def _note(self, path: bytes, status: os.stat_result, previous: Entry | None, now: float) -> None:
        """Remember how long a file has been as it is, and whether what is served of it was overwritten."""
        before, mark = self._waiting.get(path), stamp(status)
        since = before.since if before is not None and before.stamp == mark else now
        rewritten = before is not None and before.rewritten
        shorter = previous is not None and status.st_size < previous.size
        self._waiting[path] = _Waiting(mark, since, rewritten or shorter)

    def _quiet(self, path: bytes, status: os.stat_result, now: float) -> float:
        """Seconds since the last write: by the file's times if these can be true, or by what was seen of it."""
        wall = time.time_ns()
        latest = max((at for at in (status.st_ctime_ns, status.st_mtime_ns) if at <= wall), default=wall)
        age = (wall - latest) / 1e9 if status.st_ctime_ns <= wall else 0.0
        return max(now - self._waiting[path].since, age)

    def _may_grow(self, path: bytes, status: os.stat_result, previous: Entry) -> bool:
        """Whether what is served of a file may still be its start."""
        longer = 0 < previous.size < status.st_size
        return longer and previous.kind in {"f", "x"} and not self._waiting[path].rewritten

    def _grows(self, path: bytes, descriptor: int, previous: Entry) -> bool:
        """Whether the file starts with all that is served of it."""
        if hash_file(descriptor, previous.size) == previous.digest:
            return True
        self._waiting[path] = replace(self._waiting[path], rewritten=True)
        return False
