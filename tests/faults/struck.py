"""kaosd with a hand on its system calls: `python struck.py run` is `kaosd run`, which can be struck at any of them.

The program is the real one: only os, sqlite3 and subprocess are wrapped, before it is imported. A point is a call
that changes something, named after the function of kaosd that makes it, such as "bundle.store._flush fsync". What is
to happen at which point stands in the file *plan* of the directory KAOSD_FAULTS, read at start and at SIGUSR2:

    {"do": "kill", "at": 7, "after": false}          kill -9 before (or right after) the 7th point from now
    {"do": "error", "at": 7, "errno": 28, "for": 3}  that point and the next two fail with this errno
    {"do": "slow", "seconds": 0.2}                   every fsync takes longer
    {"do": "clock", "seconds": -86400}               the clock has been set
    {"do": "slay", "for": 2}                         the next two programs that make an environment get kill -9
    {"do": "starve", "for": 2}                       or not a byte more of memory
    {"do": "unreadable", "name": "a.txt"}            no file of this name can be opened to read it: EIO

"only" names the calls that count, for example ["fsync"]. The points that were met are appended to *points*, the one
that was struck to *struck*.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

assert shutil
assert tempfile  # they look at os when they are imported, so before it is wrapped
PLACE = os.environ["KAOSD_FAULTS"]
DEPTH = 40  # frames that are searched for a function of kaosd
CHANGING = (
    "write", "rename", "replace", "unlink", "rmdir", "mkdir", "link", "symlink", "fsync", "fchmod", "ftruncate",
    "posix_fallocate", "copy_file_range",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR
_open, _write, _close, _unlink, _kill, _time = os.open, os.write, os.close, os.unlink, os.kill, time.time


class Hand:
    """The plan, and how many points it has seen."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.met: set[str] = set()
        self.load()

    def load(self, *_: object) -> None:
        """Read the plan and begin to count."""
        try:
            with open(os.path.join(PLACE, "plan")) as file:
                plan = json.load(file)
        except (FileNotFoundError, ValueError):
            plan = {}
        self.plan: dict[str, Any] = plan
        self.count = 0

    def point(self, call: str, real: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Make one call, or strike."""
        name = _name(call)
        if name is None:
            return real(*arguments, **named)
        with self.lock:
            if name not in self.met:
                self.met.add(name)
                _append("points", name)
            plan, only = self.plan, self.plan.get("only")
            counts = only is None or call in only
            self.count += counts
            number, at = self.count, plan.get("at", 0)
        if plan.get("do") == "slow" and call == "fsync":
            time.sleep(plan["seconds"])
        if plan.get("do") == "error" and counts and at <= number < at + plan.get("for", 1):
            _append("struck", name)
            raise _error(call, plan["errno"])
        struck = plan.get("do") == "kill" and counts and number == at
        if struck and not plan.get("after"):
            _end(name)
        done = real(*arguments, **named)
        if struck:
            _end(name + " (done)")
        return done

    def child(self, process: Any) -> None:
        """A program was started: end it, or take its memory, if it makes an environment and that is the plan."""
        words = process.args if isinstance(process.args, (list, tuple)) else [process.args]
        line = " ".join(os.fsdecode(word) for word in words)
        with self.lock:
            do, left = self.plan.get("do"), self.plan.get("for", 0)
            if do not in ("slay", "starve") or left < 1 or "/environments/" not in line or "launch.py" in line:
                return
            self.plan["for"] = left - 1
        _append("struck", f"{do} a builder")
        if do == "slay":
            _kill(process.pid, signal.SIGKILL)
        else:
            resource.prlimit(process.pid, resource.RLIMIT_AS, (1 << 20, 1 << 20))


def _name(call: str) -> str | None:
    """What a point is called; None when no function of kaosd makes the call."""
    frame = sys._getframe(3)
    for _ in range(DEPTH):
        if frame is None:
            return None
        module = frame.f_globals.get("__name__", "")
        if module.startswith("kaosd."):
            return f"{module.removeprefix('kaosd.')}.{frame.f_code.co_name} {call}"
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _append(name: str, line: str) -> None:
    descriptor = _open(os.path.join(PLACE, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    _write(descriptor, line.encode() + b"\n")
    _close(descriptor)


def _end(name: str) -> None:
    _append("struck", name)
    _unlink(os.path.join(PLACE, "plan"))  # it has come true
    _kill(os.getpid(), signal.SIGKILL)


def _error(call: str, number: int) -> Exception:
    if not call.startswith("sqlite "):
        return OSError(number, os.strerror(number))
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def wrap(hand: Hand) -> None:
    """Put the hand on everything that changes something."""

    def over(module: Any, name: str, counts: Callable[..., bool] = lambda *_, **__: True) -> None:
        real = getattr(module, name)

        def call(*arguments: Any, **named: Any) -> Any:
            if not counts(*arguments, **named):
                return real(*arguments, **named)
            return hand.point(name, real, arguments, named)

        setattr(module, name, call)

    for name in CHANGING:
        over(os, name)
    over(os, "open", lambda _, flags, *__, **___: bool(flags & WRITING))
    counted = os.open

    def open_(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        plan, reads = hand.plan, not flags & (WRITING | os.O_DIRECTORY)
        if plan.get("do") == "unreadable" and reads and os.path.basename(os.fsdecode(path)) == plan["name"]:
            _append("struck", "reading open")
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return counted(path, flags, *arguments, **named)

    os.open = open_
    over(os, "scandir")
    _wrap_renameat2(hand)
    _wrap_sqlite(hand)
    started = subprocess.Popen.__init__

    def start(self: Any, *arguments: Any, **named: Any) -> None:
        hand.point("start", lambda: started(self, *arguments, **named), (), {})
        hand.child(self)

    subprocess.Popen.__init__ = start  # type: ignore[method-assign]
    time.time = lambda: _time() + (hand.plan["seconds"] if hand.plan.get("do") == "clock" else 0)


def _wrap_renameat2(hand: Hand) -> None:
    found = ctypes.CDLL.__getattr__

    def getattribute(self: ctypes.CDLL, name: str) -> Any:
        real = found(self, name)
        return real if name != "renameat2" else lambda *arguments: hand.point("renameat2", real, arguments, {})

    ctypes.CDLL.__getattr__ = getattribute  # type: ignore[method-assign]


def _wrap_sqlite(hand: Hand) -> None:
    connect = sqlite3.connect

    class Struck(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            word = sql.split(None, 1)[0].upper()
            if word not in ("BEGIN", "COMMIT"):
                return super().execute(sql, *arguments)
            real = super().execute
            found: sqlite3.Cursor = hand.point(f"sqlite {word.lower()}", real, (sql, *arguments), {})
            return found

        def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
            leave = super().__exit__
            if kind is not None:
                return leave(kind, error, trace)
            try:
                return hand.point("sqlite commit", leave, (None, None, None), {})
            except sqlite3.OperationalError:
                self.rollback()
                raise

    def connected(*arguments: Any, **named: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*arguments, factory=Struck, **named)
        return made

    sqlite3.connect = connected  # type: ignore[assignment]


if __name__ == "__main__":
    sys.path.pop(0)  # this directory, whose modules are none of kaosd's
    HAND = Hand()
    wrap(HAND)
    signal.signal(signal.SIGUSR2, HAND.load)
    from kaosd.__main__ import main

    sys.exit(main())
