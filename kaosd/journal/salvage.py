"""Rows that cannot be read any more: sqlite vouches for its pages, and not for what stands in them."""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

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
