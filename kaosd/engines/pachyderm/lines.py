"""What is written of hosts and their data: lines in logs, and sentences made of them."""

from __future__ import annotations

import contextlib
import os

from kaosd.hosted import logfile

LAST_LINES = 3  # of a host that did not come up, in the sentence about it


def not_kept(executable: int, empty: int) -> str:
    """What PFS does not keep of data, in a sentence; "" when that is nothing."""
    files = f"that {executable} of the files are executable" if executable else ""
    directories = f"{empty} empty directories" if empty else ""
    lost = " nor ".join(part for part in (files, directories) if part)
    return f"warning: Pachyderm does not keep {lost}" if lost else ""


def last_lines(path: str) -> str:
    """The last things that a host said, to be put behind a sentence; blocking, but short."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        told = [line for line in lines if line][-LAST_LINES:]
        return f"; it said: {' | '.join(told)}" if told else ""
    return ""


def append(path: str, line: str) -> None:
    """One line at the end of a file, which is cut when it gets too long; blocking."""
    with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(line + "\n")
    logfile.bound(path)
