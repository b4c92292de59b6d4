"""The numbered stream of events that readers can resume."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kaosd.journal.database import BUSY, Database
from kaosd.journal.rows import Event

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEEP_EVENTS = 10_000
TRIM_EVERY = 100  # events between two trims
_NOTE_TRIM = """
UPDATE trimmed SET seq = COALESCE((SELECT events.seq FROM events ORDER BY events.seq DESC LIMIT 1 OFFSET ?), seq)
"""


class EventLog(Database):
    """The last KEEP_EVENTS events. last_seq: number of the newest one ever given out; it never goes back."""

    def __init__(self, path: Path, at: float, *, busy: float = BUSY) -> None:
        super().__init__(path, at, busy=busy)
        self.last_seq: int = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'events'")[0][0]

    def append(self, kind: str, notebook: str | None, data: Mapping[str, object], at: float) -> Event:
        """Add one event; *data* holds JSON values only."""
        with self._transaction() as db:
            row = (at, notebook, kind, json.dumps(data))
            added = db.execute("INSERT INTO events (time, notebook, kind, data) VALUES (?, ?, ?, ?)", row)
            seq = added.lastrowid or 0
            if seq % TRIM_EVERY == 0:
                db.execute(_NOTE_TRIM, (KEEP_EVENTS,))
                db.execute("DELETE FROM events WHERE seq <= (SELECT seq FROM trimmed)")
        self.last_seq = max(self.last_seq, seq)
        return Event(seq, at, notebook, kind, dict(data))

    def events(self, after: int, limit: int) -> tuple[tuple[Event, ...], bool]:
        """The oldest *limit* events with a number above *after*, and whether some before them are gone.

        A number that was never given out is one of another journal: that reader has missed everything.
        """
        gap = after > self.last_seq or after < self._rows("SELECT seq FROM trimmed")[0][0]
        query = "SELECT seq, time, notebook, kind, data FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        rows = self._rows(query, 0 if after > self.last_seq else after, limit)
        return tuple(Event(seq, at, notebook, kind, json.loads(data)) for seq, at, notebook, kind, data in rows), gap
