"""What the host's programs leave behind stays below the host: who stops the host finds it by descent.

A process that a cell has put into a session of its own, with an environment of its own, would become a child of the
system when its parent ends, and nothing would tell whose it was. A host asks to become its parent instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time

_PR_SET_CHILD_SUBREAPER = 36
_LOOKS_EVERY = 30.0  # seconds


def adopt() -> None:
    """Become the parent of all descendants that lose theirs, and take away those of them that have ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        print(f"orphans are not kept together: {os.strerror(ctypes.get_errno())}")  # noqa: T201 - into the log
        return
    threading.Thread(target=_reap, name="orphans", daemon=True).start()


def _reap() -> None:
    before: set[int] = set()
    while True:
        before = reap(before)
        time.sleep(_LOOKS_EVERY)


def reap(before: set[int]) -> set[int]:
    """Take away the children that have ended and were so *before* already; those that have ended since.

    Whoever has started a child looks at it sooner than that. Only children that were not started here are left.
    """
    ended = {pid for pid in _children() if _has_ended(pid)}
    for pid in ended & before:
        with contextlib.suppress(ChildProcessError):  # it was somebody's after all
            os.waitpid(pid, os.WNOHANG)
    return ended - before


def _children() -> list[int]:
    found: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
        except OSError:  # the thread has ended meanwhile, or this kernel does not tell
            continue
    return found


def _has_ended(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return False
