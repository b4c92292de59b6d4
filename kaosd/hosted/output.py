"""All that the host and its kernels print, as lines with a UTC time stamp and without the token."""

from __future__ import annotations

import faulthandler
import io
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LAST_WORDS = 1.0  # seconds; longer only if a child process lives on and holds the pipe open


class Lines(io.TextIOBase):
    """A text stream that writes whole lines to *descriptor*, each with its time, each at once; thread-safe."""

    encoding = "utf-8"

    def __init__(self, descriptor: int, token: str) -> None:
        self._descriptor = descriptor
        self._token = token
        self._lock = threading.Lock()
        self._rest = ""

    def writable(self) -> bool:
        """Say that it is."""
        return True

    def fileno(self) -> int:
        """The descriptor behind it, for those who write past it."""
        return self._descriptor

    def write(self, text: str) -> int:
        """Write the lines that *text* completes, and keep the rest."""
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            stamped = "".join(f"{_now()} {self._masked(line)}\n" for line in lines)
            data = stamped.encode("utf-8", "backslashreplace")
            while data:
                data = data[os.write(self._descriptor, data) :]
        return len(text)

    def _masked(self, line: str) -> str:
        return line.replace(self._token, "[token]") if self._token else line


def take_over(token: str) -> Callable[[], None]:
    """Send all output to what is standard output now; the answer waits (briefly) until the last of it is written.

    The interpreter's own goes there directly. What comes from below it (kernels, C libraries) goes through a pipe
    and a thread that puts the time in front. A crash of the interpreter is dumped past all this.
    """
    descriptor = os.dup(1)
    sys.stdout = sys.stderr = Lines(descriptor, token)
    faulthandler.enable(descriptor)
    reading, writing = os.pipe()
    for standard in (1, 2):
        os.dup2(writing, standard)
    os.close(writing)
    thread = threading.Thread(target=_copy, args=(reading, Lines(descriptor, token)), name="output", daemon=True)
    thread.start()

    def finish() -> None:
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        thread.join(_LAST_WORDS)

    return finish


def _copy(descriptor: int, lines: Lines) -> None:
    with open(descriptor, encoding="utf-8", errors="backslashreplace", newline="\n") as source:
        for line in source:
            lines.write(line)


def _now() -> str:
    """The time as "2026-11-23T14:07:31.123Z"."""
    milliseconds = time.time_ns() // 1_000_000
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{seconds}.{milliseconds % 1000:03d}Z"
