"""How long a log file may get, and its lines. Standard library only: for the host and for the daemon."""

from __future__ import annotations

import os
import time

LONGEST = 16 * 2**20  # bytes of a file; then only its beginning and its end are kept
HEAD, TAIL = 2**20, 4 * 2**20
LINE = 64 * 1024  # characters or bytes of a line; the rest of a longer one is a line of its own


def bound(path: str) -> None:
    """Cut the log file at *path* when it is too long. Raises OSError."""
    if os.stat(path).st_size > LONGEST:
        cut(path)


def cut(path: str) -> None:
    """Keep the start and the end of a log file in place.

    A program that appends to it keeps appending. Raises OSError.
    """
    with open(path, "r+b") as file:
        head = file.read(HEAD)
        head = head[: head.rfind(b"\n") + 1]
        file.seek(-TAIL, os.SEEK_END)
        tail = file.read(TAIL)
        tail = tail[tail.find(b"\n") + 1 :]
        gone = file.tell() - len(head) - len(tail)
        file.seek(0)
        file.write(head + f"{now()} ... {gone} bytes were cut here ...\n".encode() + tail)
        file.truncate()


def now() -> str:
    """The time as "2026-11-23T14:07:31.123Z"."""
    milliseconds = time.time_ns() // 1_000_000
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{seconds}.{milliseconds % 1000:03d}Z"
