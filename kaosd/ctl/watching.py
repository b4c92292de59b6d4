"""`kaosctl status --watch`: the status as it changes, calmly.

On a terminal the picture is drawn over itself, at most ten times a second and only when it differs; nothing about
the terminal is changed that would have to be put back. In a pipe each change is printed once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from kaosd.ctl import failure, picture, screen, status
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure

BREATH = 0.1  # seconds between two pictures
AGES = 1.0  # seconds after which ages are drawn anew


def keep_showing(client: Client, name: str | None, *, as_json: bool) -> int:
    """Show the status until interrupted; returns only by an exception."""
    if sys.stdout.isatty() and not as_json:
        _on_terminal(client, name)
    else:
        _in_pipe(client, name, as_json=as_json)
    return 0


def statuses(client: Client, name: str | None) -> Iterator[dict[str, Any] | Failure]:
    """The status at every event and every second; a Failure while the daemon cannot be reached."""
    after = 0
    while True:
        try:
            seen = client.get(f"/v1/events?after={after}&timeout={AGES if after else 0:g}")
            after = seen["last"]
            yield status.fetch(client, name)
        except Failure as error:
            if error.exit_code == failure.NOT_FOUND:
                raise
            after = 0  # a daemon that starts anew may count anew
            yield error
            time.sleep(AGES)
        time.sleep(BREATH)


def _on_terminal(client: Client, name: str | None) -> None:
    drawn, size = 0, os.terminal_size((0, 0))
    shown: list[str] = []
    last: list[str] = []
    for found in statuses(client, name):
        where, now_size = screen.of(sys.stdout), os.get_terminal_size(sys.stdout.fileno())
        if isinstance(found, Failure):
            lines = [where.paint("bad", f"{found.text}; waiting for it"), *last]
        else:
            last = lines = picture.draw(found, time.time(), where, detail=name is not None)
        if len(lines) >= now_size.lines:
            rest = len(lines) - now_size.lines + 2
            lines = [*lines[: now_size.lines - 2], where.paint("dim", f"… {rest} more lines")]
        if size not in (now_size, (0, 0)):
            sys.stdout.write("\x1b[H\x1b[2J")
            shown, drawn = [], 0
        if lines != shown:
            sys.stdout.write(frame(lines, drawn))
            sys.stdout.flush()
            shown, drawn = lines, len(lines)
        size = now_size


def frame(lines: list[str], drawn: int) -> str:
    """What draws *lines* over the *drawn* lines above the cursor, without a flicker and without wrapping."""
    up = f"\x1b[{drawn}A" if drawn else ""
    return f"{up}\r\x1b[?7l" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J\x1b[?7h"


def _in_pipe(client: Client, name: str | None, *, as_json: bool) -> None:
    shown: object = None
    where = screen.of(sys.stdout)
    for found in statuses(client, name):
        if isinstance(found, Failure):
            facts: object = found.text
            text = json.dumps({"error": {"code": found.code, "text": found.text}}) if as_json else found.text
        else:
            facts = picture.draw(found, 0.0, screen.Screen(), detail=True)  # at one fixed time: without the ages
            drawn = picture.draw(found, time.time(), where, detail=name is not None)
            text = json.dumps(found) if as_json else "\n".join(drawn) + "\n"
        if facts != shown:
            shown = facts
            print(text, flush=True)
