"""Rows that cannot be read any more: sqlite vouches for its pages, and not for what stands in them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from kaosd.aside import is_file
from kaosd.errors import StoreError
from kaosd.journal.rows import Intent, KnownVersion, Live, Recovered, Registration, decode
from kaosd.model import Deployment, Job

_KINDS: dict[str, type[Any]] = {
    "registrations": Registration,
    "live": Live,
    "intents": Intent,
    "deployments": Deployment,
    "jobs": Job,
    "versions": KnownVersion,
    "recovered": Recovered,
}


_COLUMNS = {
    "registrations": 2, "live": 2, "intents": 2, "deployments": 3, "jobs": 4, "versions": 5, "recovered": 3,
}  # fmt: skip


def take_over(db: sqlite3.Connection, damaged: Path) -> None:
    """Bring over to *db* the rows of a journal that was set aside which can still be read; none is an error.

    Events stay behind: readers count on their order.
    """
    if not is_file(damaged):
        return
    try:
        with closing(sqlite3.connect(f"{damaged.as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)) as old:
            old.execute("PRAGMA writable_schema = ON")  # or sqlite refuses a file that was cut off
            for table, columns in _COLUMNS.items():
                _take_table(db, old, table, columns)
    except sqlite3.Error:
        return  # nothing can be read; that it is damaged is told already


def _take_table(db: sqlite3.Connection, old: sqlite3.Connection, table: str, columns: int) -> None:
    """Forwards up to the damage, then backwards from the end up to it."""
    marks = ", ".join("?" * columns)
    for order in ("ASC", "DESC"):
        try:
            for row in old.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY rowid {order}"):  # noqa: S608
                if len(row) == columns:
                    db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608
        except sqlite3.Error:
            continue
        return


class Lost(NamedTuple):
    """A row that was removed: of which table, and whose."""

    table: str
    notebook: str


def remove_unreadable(db: sqlite3.Connection) -> tuple[Lost, ...]:
    """Remove every row that is not what it must be, so that one damaged row does not take all the others with it."""
    lost = [one for table in (*_KINDS, "events") for one in _remove_from(db, table)]
    broken = db.execute("DELETE FROM events WHERE NOT json_valid(data)").rowcount
    return (*lost, *[Lost("events", "")] * broken)


def _remove_from(db: sqlite3.Connection, table: str) -> list[Lost]:
    columns = [name for _, name, kind, *_ in db.execute(f"PRAGMA table_info({table})") if kind == "TEXT"]
    bytes_of = ", ".join(f"CAST({name} AS BLOB)" for name in columns)  # text need not be text any more
    lost = []
    for rowid, *values in db.execute(f"SELECT rowid, {bytes_of} FROM {table}").fetchall():  # noqa: S608
        row = {name: value for name, value in zip(columns, values, strict=True) if value is not None}
        if not _is_readable(_KINDS.get(table), row):
            db.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))  # noqa: S608
            lost.append(Lost(table, row.get("notebook", b"").decode(errors="replace") if table in _KINDS else ""))
    return lost


def sentence(lost: tuple[Lost, ...]) -> str:
    """What is gone, in words."""
    counts: dict[str, int] = {}
    for one in lost:
        what = f"{one.table} of {one.notebook}" if one.notebook else one.table
        counts[what] = counts.get(what, 0) + 1
    return ", ".join(f"{count} x {what}" for what, count in counts.items())


def _is_readable(kind: type[Any] | None, row: dict[str, bytes]) -> bool:
    try:
        texts = {name: value.decode() for name, value in row.items()}
        if kind is not None:
            decode(kind, texts["body"])
    except (UnicodeDecodeError, KeyError, StoreError):
        return False
    return True
