"""`kaosctl status --watch`: the status as it changes, calmly.

On a terminal the picture is drawn over itself, at most ten times a second, and of it only the lines that differ.
Nothing about the terminal is changed that would have to be put back (no other screen, no hidden cursor), so that
however this ends, the last picture stays and the terminal is as it was. In a pipe each change is printed once, and each
step of a build.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from kaosd.ctl import failure, picture, screen
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure

BREATH = 0.1  # seconds between two pictures
AGES = 1.0  # seconds after which ages are drawn again
Drawing = Callable[[dict[str, Any], float, screen.Screen], list[str]]


def keep_showing(
    client: Client, fetch: Callable[[], dict[str, Any]], *, detail: bool, verbose: bool = False, as_json: bool
) -> int:
    """Show the status, which *fetch* asks for, until interrupted; returns only by an exception."""

    def draw(found: dict[str, Any], now: float, where: screen.Screen) -> list[str]:
        return picture.draw(found, now, where, detail=detail, verbose=verbose)

    if sys.stdout.isatty() and not as_json:
        _on_terminal(statuses(client, fetch), draw)
    else:
        _in_pipe(statuses(client, fetch), draw, as_json=as_json)
    return 0


def statuses(client: Client, fetch: Callable[[], dict[str, Any]]) -> Iterator[dict[str, Any] | Failure]:
    """The status at every event and every second; a Failure while the daemon cannot be reached."""
    after = 0
    while True:
        try:
            seen = client.get(f"/v1/events?after={after}&timeout={AGES if after else 0:g}")
            after = seen["last"]
            yield fetch()
        except Failure as error:
            if error.exit_code == failure.NOT_FOUND:
                raise
            after = 0  # a daemon that was started again may count again
            yield error
            time.sleep(AGES)
        time.sleep(BREATH)


def _on_terminal(answers: Iterator[dict[str, Any] | Failure], draw: Drawing) -> None:
    size = os.terminal_size((0, 0))
    shown: list[str] = []
    last: list[str] = []
    for found in answers:
        where, now_size = screen.of(sys.stdout), os.get_terminal_size(sys.stdout.fileno())
        if isinstance(found, Failure):
            lines = [*last, where.paint("bad", f"{found.text}; waiting for it")]
        else:
            last = lines = draw(found, time.time(), where)
        lines = fitting(lines, now_size.lines, where)
        if size not in (now_size, (0, 0)):  # terminals differ in where the old lines are now
            sys.stdout.write("\x1b[H\x1b[2J")
            shown = []
        if lines != shown:
            sys.stdout.write(frame(lines, shown))
            sys.stdout.flush()
        shown, size = lines, now_size


def fitting(lines: list[str], height: int, where: screen.Screen) -> list[str]:
    """*lines*, or the first of them, on a terminal of *height* lines; the cursor stands below them."""
    if len(lines) < height:
        return lines
    kept = lines[: max(height - 2, 0)]
    return [*kept, where.paint("dim", f"… {len(lines) - len(kept)} more lines")]


def frame(lines: list[str], shown: list[str]) -> str:
    """What turns *shown*, which stands above the cursor, into *lines*: no more than differs, and nothing wraps."""
    up = f"\x1b[{len(shown)}A" if shown else ""
    moves = [
        "\n" if index < len(shown) and shown[index] == line else f"{line}\x1b[K\n" for index, line in enumerate(lines)
    ]
    rest = "\x1b[J" if len(lines) < len(shown) else ""
    return f"{up}\r\x1b[?7l" + "".join(moves) + f"{rest}\x1b[?7h"


def _facts(found: dict[str, Any]) -> dict[str, Any]:
    """A status without what changes from second to second: usage, and how far a step is."""
    notebooks = []
    for one in found["notebooks"]:
        build = one.get("build") and {**one["build"], "seconds": 0.0}
        progress = one.get("progress") and {**one["progress"], "text": "", "seconds": None}
        notebooks.append({**one, "build": build, "progress": progress, "usage": None})
    return {**found, "notebooks": notebooks}


def _in_pipe(answers: Iterator[dict[str, Any] | Failure], draw: Drawing, *, as_json: bool) -> None:
    shown: object = None
    where = screen.of(sys.stdout)
    for found in answers:
        if isinstance(found, Failure):
            facts: object = found.text
            text = json.dumps({"error": {"code": found.code, "text": found.text}}) if as_json else found.text
        else:
            facts = picture.draw(_facts(found), 0.0, screen.Screen(), detail=True)  # at one fixed time: without ages
            text = json.dumps(found) if as_json else "\n".join(draw(found, time.time(), where)) + "\n"
        if facts != shown:
            shown = facts
            print(text, flush=True)
