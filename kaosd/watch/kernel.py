"""The inotify instance: the only module that depends on watchdog's internals (tests/watch/test_watch_kernel.py).

watchdog's observer is not used above its reading thread. It adds watches to all directories, ignored ones
too, gives back no word of those that the kernel refused, holds every event behind a rename out of the tree for
half a second, and answers an overflow by removing and adding all watches, which can overflow the queue again.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import time
from collections.abc import Callable

import structlog
from watchdog.observers.inotify_c import (
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    WatchDescriptor,
    inotify_add_watch,
    inotify_rm_watch,
)

_EVENT = struct.Struct("iIII")  # struct inotify_event: watch descriptor, mask, cookie, length of the name

log = structlog.get_logger("kaosd.watch")

# Modify too, for what is kept open (see `_pause`). No open, access or close without write: our own reading makes no
# events.
MASK = (
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MODIFY
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_DONT_FOLLOW
)


BUFFER = 512 << 10  # bytes; as much as the kernel's queue holds by default, so that a read leaves nothing behind
FREE = 4  # reads of nothing but writes that follow each other at once
LONGEST = 0.02  # seconds


def pause(writes: int) -> float:
    """Seconds to wait before the next read, after so many reads of nothing but writes.

    Who writes in small pieces makes an event of each. The kernel makes one of all that follow each other while it is
    not read; the pause grows with the time that the writing has lasted, so that a short one is not held up.
    """
    return min(LONGEST, 0.0005 * 2 ** min(writes - FREE, 8)) if writes > FREE else 0.0


def parse(buffer: bytes) -> list[InotifyEvent]:
    """The events that were read, without those that say once more that a file is being written.

    The kernel leaves these out itself only while nothing else is written at the same time.
    """
    events: list[InotifyEvent] = []
    written: set[bytes] = set()
    at = 0
    while at < len(buffer):
        descriptor, mask, cookie, length = _EVENT.unpack_from(buffer, at)
        end = at + _EVENT.size + length
        is_write = mask == InotifyConstants.IN_MODIFY
        if not is_write:
            written.clear()
        if not (is_write and buffer[at:end] in written):
            events.append(InotifyEvent(descriptor, mask, cookie, buffer[at + _EVENT.size : end].rstrip(b"\0")))
        if is_write:
            written.add(buffer[at:end])
        at = end
    return events


class WatchLimit(Exception):
    """The kernel gives this user no more watches."""


class InotifyReader(InotifyFD):
    """One inotify instance and the thread that reads it. OSError (EMFILE) when there is none to have.

    deliver: called in that thread with the events of each read, in order; overflow has the descriptor -1.
    """

    def __init__(self, deliver: Callable[[list[InotifyEvent]], None]) -> None:
        super().__init__()
        os.set_inheritable(self._inotify_fd, False)
        # watchdog starts with True, and then leaks three descriptors when closed before the first read.
        self._is_reading = False
        self._deliver = deliver
        self.name = "kaosd-inotify"

    def add(self, path: bytes) -> int | None:
        """Watch the directory *path*; None when it is gone, no directory or not readable. Raises WatchLimit."""
        descriptor = inotify_add_watch(self._inotify_fd, path, MASK)
        if descriptor != -1:
            return descriptor
        if ctypes.get_errno() in (errno.ENOSPC, errno.ENOMEM):
            raise WatchLimit
        return None

    def remove(self, descriptor: int) -> None:
        """Stop a watch; one that the kernel has already dropped is fine."""
        inotify_rm_watch(self._inotify_fd, WatchDescriptor(descriptor))

    def run(self) -> None:
        """Read until stopped; a failure ends the thread, which the watcher sees and repairs."""
        try:
            writes = 0
            while self.should_keep_running():
                asked = time.monotonic()
                events = parse(self._read_event_buffer(BUFFER))
                if events:
                    self._deliver(events)
                rested = time.monotonic() - asked > LONGEST
                only_writes = all(event.mask == InotifyConstants.IN_MODIFY for event in events)
                writes = writes + 1 if only_writes and not rested else 0
                if seconds := pause(writes):
                    self.stopped_event.wait(seconds)
        except Exception:
            log.exception("watch_thread_failed")
            with self._lock:
                self._is_reading = False  # so that closing closes the descriptors itself

    def finish(self) -> None:
        """Stop, close all descriptors and wait for the thread."""
        self.stop()
        self.join()
