"""A bare `kaosctl`: the status where a daemon runs, else how to start; on 40 rows at the most."""

from __future__ import annotations

import sys
import time
from typing import Any

from kaosd.ctl import failure, picture, screen, status
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure

ROWS = 40
FIRST = (
    ("kaosd demo", "hosts a ready example, and ends with its address"),
    ("kaosctl up DIR", "hosts the repository in DIR, and starts kaosd where it does not run"),
    ("kaosctl help", "lists the commands and the topics"),
)


def show() -> int:
    """Print it; the exit code is that of `kaosctl status`, and 0 where no daemon runs."""
    where = screen.of(sys.stdout)
    try:
        found = status.fetch(Client(), None)
    except Failure as error:
        if error.exit_code != failure.NOT_RUNNING:
            raise
        lines, code = start(where), 0
    else:
        lines, code = overview(found, time.time(), where), status.exit_code(found)
    sys.stdout.write("\n".join(lines) + "\n")
    return code


def start(where: screen.Screen) -> list[str]:
    """What kaosd is, and the commands to start with."""
    lines = where.flow([("", "kaosd keeps hosted notebooks as they are on disk."), ("busy", "It is not running.")])
    rows = [[("strong", f"  {command}"), ("", does)] for command, does in FIRST]
    narrow = [line for (_, command), (_, does) in rows for line in where.flow([("strong", command), ("", does)], 4)]
    return [*lines, "", *(where.aligned(rows, "   ") or narrow)]


def overview(found: dict[str, Any], now: float, where: screen.Screen) -> list[str]:
    """The status, cut to what fits, and where the commands are listed."""
    lines, more = picture.draw(found, now, where), where.paint("dim", "commands and topics: kaosctl help")
    if len(lines) < ROWS:
        return [*lines, more]
    kept = lines[: ROWS - 2]
    return [*kept, where.paint("dim", f"… {len(lines) - len(kept)} more lines: kaosctl status"), more]
