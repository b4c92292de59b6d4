"""Notebooks that people registered, what each of them serves, and what people want of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaosd.journal.database import Database
from kaosd.journal.rows import Intent, Live, Registration, Value, decode, encode

if TYPE_CHECKING:
    from typing import Literal

    Table = Literal["registrations", "live", "intents"]


class Notebooks(Database):
    """One row of each kind per notebook."""

    def register(self, registration: Registration) -> None:
        """Keep a notebook that `kaosctl notebook deploy` made, in place of one of the same name."""
        self._put("registrations", registration.name, registration)

    def registered(self) -> tuple[Registration, ...]:
        """The notebooks that are kept, by name."""
        rows = self._rows("SELECT body FROM registrations ORDER BY notebook")
        return tuple(decode(Registration, body) for (body,) in rows)

    def unregister(self, name: str) -> None:
        """Keep the notebook no longer; no error when it was not."""
        with self._transaction() as db:
            db.execute("DELETE FROM registrations WHERE notebook = ?", (name,))

    def live(self, name: str) -> Live:
        """What the notebook serves; an empty Live when nothing is known."""
        return self._get("live", name, Live) or Live()

    def save_live(self, name: str, live: Live) -> None:
        """Keep what the notebook serves."""
        self._put("live", name, live)

    def lives(self) -> dict[str, Live]:
        """What each notebook serves or served, by name, configured or not."""
        rows = self._rows("SELECT notebook, body FROM live ORDER BY notebook")
        return {name: decode(Live, body) for name, body in rows}

    def hosted(self) -> tuple[str, ...]:
        """Names of all notebooks that a host was last known of, configured or not."""
        return tuple(name for name, live in self.lives().items() if live.host is not None)

    def intent(self, name: str) -> Intent:
        """What people want of the notebook; a plain Intent when nothing is known."""
        return self._get("intents", name, Intent) or Intent()

    def save_intent(self, name: str, intent: Intent) -> None:
        """Keep what people want of the notebook."""
        self._put("intents", name, intent)

    def forget(self, name: str) -> None:
        """Drop live state and intent. Registration, versions, deployments and recovered files stay."""
        with self._transaction() as db:
            for table in ("live", "intents"):
                db.execute(f"DELETE FROM {table} WHERE notebook = ?", (name,))  # noqa: S608 - names of our own tables

    def _get(self, table: Table, name: str, kind: type[Value]) -> Value | None:
        rows = self._rows(f"SELECT body FROM {table} WHERE notebook = ?", name)  # noqa: S608 - names of our own tables
        return decode(kind, rows[0][0]) if rows else None

    def _put(self, table: Table, name: str, value: object) -> None:
        with self._transaction() as db:
            db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (name, encode(value)))  # noqa: S608 - likewise
