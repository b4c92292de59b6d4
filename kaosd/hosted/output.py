"""All that the host and its kernels print, as lines with a UTC time stamp and without the token.

Whatever is printed, neither a line nor the file grows without end; see `logfile`.
"""

from __future__ import annotations

import codecs
import faulthandler
import io
import os
import stat
import sys
import threading
from typing import TYPE_CHECKING

from . import logfile

if TYPE_CHECKING:
    from collections.abc import Callable

_LAST_WORDS = 1.0  # seconds; longer only if a child process lives on and holds the pipe open


class Output:
    """The descriptor that lines are written to; a file is cut when it is too long. Thread-safe."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Write all of it."""
        with self._lock:
            while data:
                data = data[os.write(self.descriptor, data) :]
            found = os.fstat(self.descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_size > logfile.LONGEST:
                logfile.cut(f"/proc/self/fd/{self.descriptor}")


class Lines(io.TextIOBase):
    """A text stream that writes whole lines to *output*, each with its time, each at once; thread-safe."""

    encoding = "utf-8"

    def __init__(self, output: Output, token: str) -> None:
        self._output = output
        self._token = token
        self._lock = threading.Lock()
        self._rest = ""

    def writable(self) -> bool:
        """Say that it is."""
        return True

    def fileno(self) -> int:
        """The descriptor behind it, for those who write past it."""
        return self._output.descriptor

    def write(self, text: str) -> int:
        """Write the lines that *text* completes, and keep the rest."""
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            if len(self._rest) > logfile.LINE:
                lines.append(self._rest)
                self._rest = ""
            self._put(lines)
        return len(text)

    def end(self) -> None:
        """Write the rest, which no line break will follow."""
        with self._lock:
            self._put([self._rest] if self._rest else [])
            self._rest = ""

    def _put(self, lines: list[str]) -> None:
        stamped = "".join(f"{logfile.now()} {self._masked(line)}\n" for line in lines)
        self._output.write(stamped.encode("utf-8", "backslashreplace"))

    def _masked(self, line: str) -> str:
        return line.replace(self._token, "[token]") if self._token else line


def take_over(token: str) -> Callable[[], None]:
    """Send all output to what is standard output now; the answer waits (briefly) until the last of it is written.

    The interpreter's own goes there directly. What comes from below it (kernels, C libraries) goes through a pipe
    and a thread that puts the time in front. A crash of the interpreter is dumped past all this.
    """
    output = Output(os.dup(1))
    sys.stdout = sys.stderr = Lines(output, token)
    faulthandler.enable(output.descriptor)
    reading, writing = os.pipe()
    for standard in (1, 2):
        os.dup2(writing, standard)
    os.close(writing)
    thread = threading.Thread(target=_copy, args=(reading, Lines(output, token)), name="output", daemon=True)
    thread.start()

    def finish() -> None:
        for standard in (1, 2):
            os.dup2(output.descriptor, standard)
        thread.join(_LAST_WORDS)

    return finish


def _copy(descriptor: int, lines: Lines) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    while data := os.read(descriptor, logfile.LINE):
        lines.write(decoder.decode(data))
    lines.write(decoder.decode(b"", final=True))
    lines.end()
    os.close(descriptor)
