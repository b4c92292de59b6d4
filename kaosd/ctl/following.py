"""`kaosctl logs -f`: continues through later deployments, new notebooks, and restarts of the daemon.

Sizes and names are examined a few times a second: the standard library has no inotify, and this costs less
than a thousandth of a core. On a terminal the last line shows how far a build is.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from kaosd.ctl import files
from kaosd.ctl.client import Client
from kaosd.ctl.printing import Printer
from kaosd.ctl.progress import ProgressLine
from kaosd.ctl.screen import Screen
from kaosd.ctl.searching import Search
from kaosd.ctl.wanted_lines import WantedLines, last, selected
from kaosd.stage_logs import Excerpt, LogLine, StageLog, Tail, order

PAUSE = 0.15  # seconds between two examinations
ASK = 1.0  # seconds between two questions for the progress


class Tails:
    """The growing log files among those that *listing* finds, also ones that appear later."""

    def __init__(self, listing: Callable[[], list[StageLog]]) -> None:
        self._listing = listing
        self._tails = {log.path: Tail(log, from_end=True) for log in listing()}

    def catch_up(self, excerpts: list[Excerpt]) -> list[LogLine]:
        """What *excerpts* hold now; their files are then followed from just there."""
        entries: list[LogLine] = []
        for excerpt in excerpts:
            tail = self._tails[excerpt.log.path] = Tail(excerpt.log)
            entries += [entry for entry in tail.read() if excerpt.start <= entry.time < excerpt.end]
        return sorted(entries, key=order)

    def poll(self) -> list[LogLine]:
        """The lines that were added since the last call, in the order of their times."""
        present = {log.path: log for log in self._listing()}
        self._tails = {path: self._tails.get(path) or Tail(log) for path, log in present.items()}
        entries = [entry for tail in self._tails.values() for entry in tail.read()]
        return sorted(entries, key=order)


class Presence:
    """Whether the daemon is there, told by its socket without a word to it."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._seen = self._identity()

    def change(self) -> str | None:
        """What has happened to the daemon since the last call, in words."""
        before, self._seen = self._seen, self._identity()
        if before == self._seen:
            return None
        if self._seen is None:
            return "kaosd stopped; the notebooks keep running, and this keeps following"
        return "kaosd is back" if before is None else "kaosd was restarted"

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._socket)
        except OSError:
            return None
        return found.st_ino, found.st_ctime_ns


def follow_logs(
    client: Client, state: str, name: str | None, wanted: WantedLines, printer: Printer, lines: int | None
) -> int:
    """Print what is there, then what comes, until interrupted."""

    def listing() -> list[StageLog]:
        if wanted.stage == "daemon":
            return [files.daemon_log(state)]
        names = files.notebook_names(state) if name is None else [name]
        return [log for log in files.logs_of(state, names) if wanted.follows(log)]

    presence, tails = Presence(client.path), Tails(listing)
    names = files.notebook_names(state) if name is None else [name]
    entries = tails.catch_up(selected(state, names, wanted))
    if wanted.grep is not None:
        matches = sum(map(wanted.matches, filter(wanted.passes, entries)))
        search = Search(wanted.matches, 0 if lines is None else max(0, matches - lines))
        printer.show_found(search.take(filter(wanted.passes, entries)))
    else:
        search = None
        printer.show(last(filter(wanted.passes, entries), lines))
    builds = _Builds(client, name, printer.screen, silent=printer.as_json or wanted.stage not in (None, "build"))
    while True:
        time.sleep(PAUSE)
        change, new = presence.change(), list(filter(wanted.passes, tails.poll()))
        if change or new:
            builds.clear()
        if change:
            printer.seam(change, time.time())
        if search is not None:
            printer.show_found(search.take(new))
        else:
            printer.show(new)
        builds.show()


class _Builds:
    """The last line on a terminal: how far the first build in progress is. silent: never show any."""

    def __init__(self, client: Client, name: str | None, screen: Screen, *, silent: bool) -> None:
        self._client = client
        self._name = name
        self._silent = silent or not sys.stdout.isatty()
        self._progress = ProgressLine(screen, silent=self._silent)
        self._asked = 0.0

    def show(self) -> None:
        """Ask the daemon if it is time to, and show what it says."""
        if self._silent or time.monotonic() - self._asked < ASK:
            return
        self._asked = time.monotonic()
        status = files.status_of(self._client) or {"notebooks": ()}
        wanted = (one for one in status["notebooks"] if self._name in (None, one["name"]) and one.get("progress"))
        notebook = next(wanted, None)
        self._progress.clear()
        if notebook is not None:
            self._progress.now(notebook)

    def clear(self) -> None:
        """Take the line away, since others are to be written."""
        self._progress.clear()
