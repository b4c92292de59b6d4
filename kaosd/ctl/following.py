"""`kaosctl logs -f`: goes on over later deployments, new notebooks, and restarts of the daemon.

Sizes and names are looked at a few times a second: the standard library has no inotify, and this costs less
than a thousandth of a core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from kaosd.ctl import files
from kaosd.ctl.client import Client
from kaosd.ctl.printing import Printer
from kaosd.ctl.reading import Wanted, last, selected
from kaosd.logs import Entry, Excerpt, StageLog, Tail, order

PAUSE = 0.15  # seconds between two looks


class Tails:
    """The growing log files among those that *listing* finds, also ones that appear later."""

    def __init__(self, listing: Callable[[], list[StageLog]]) -> None:
        self._listing = listing
        self._tails = {log.path: Tail(log, from_end=True) for log in listing()}

    def catch_up(self, excerpts: list[Excerpt]) -> list[Entry]:
        """What *excerpts* hold now; their files are then followed from just there."""
        entries: list[Entry] = []
        for excerpt in excerpts:
            tail = self._tails[excerpt.log.path] = Tail(excerpt.log)
            entries += [entry for entry in tail.read() if excerpt.start <= entry.time < excerpt.end]
        return sorted(entries, key=order)

    def poll(self) -> list[Entry]:
        """The lines that were added since the last call, in the order of their times."""
        present = {log.path: log for log in self._listing()}
        self._tails = {path: self._tails.get(path) or Tail(log) for path, log in present.items()}
        entries = [entry for tail in self._tails.values() for entry in tail.read()]
        return sorted(entries, key=order)


class Presence:
    """Whether the daemon is there, told by its socket without a word to it."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._seen = self._look()

    def change(self) -> str | None:
        """What has happened to the daemon since the last call, in words."""
        before, self._seen = self._seen, self._look()
        if before == self._seen:
            return None
        if self._seen is None:
            return "kaosd stopped; the notebooks go on, and so does this"
        return "kaosd is back" if before is None else "kaosd was restarted"

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._socket)
        except OSError:
            return None
        return found.st_ino, found.st_ctime_ns


def follow_logs(
    client: Client, state: str, name: str | None, wanted: Wanted, printer: Printer, lines: int | None
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
    printer.show(last(filter(wanted.passes, entries), lines))
    while True:
        time.sleep(PAUSE)
        if change := presence.change():
            printer.seam(change, time.time())
        printer.show(filter(wanted.passes, tails.poll()))
