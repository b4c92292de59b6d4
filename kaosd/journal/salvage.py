"""Rows that cannot be read any more: sqlite vouches for its pages, and not for what stands in them."""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

from kaosd.errors import StoreError
from kaosd.journal.rows import Intent, KnownVersion, Live, Recovered, decode
from kaosd.model import Deployment, Job, NotebookSpec

_KINDS: dict[str, type[Any]] = {
    "registrations": NotebookSpec,
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
    lost = []
    for table, kind in _KINDS.items():
        for rowid, notebook, body in db.execute(f"SELECT rowid, notebook, body FROM {table}").fetchall():  # noqa: S608
            if not _is_readable(kind, body):
                db.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))  # noqa: S608
                lost.append(Lost(table, str(notebook)))
    broken = db.execute("DELETE FROM events WHERE NOT json_valid(data)").rowcount
    return (*lost, *[Lost("events", "")] * broken)


def sentence(lost: tuple[Lost, ...]) -> str:
    """What is gone, in words."""
    counts: dict[str, int] = {}
    for one in lost:
        what = f"{one.table} of {one.notebook}" if one.notebook else one.table
        counts[what] = counts.get(what, 0) + 1
    return ", ".join(f"{count} x {what}" for what, count in counts.items())


def _is_readable(kind: type[Any], body: object) -> bool:
    try:
        decode(kind, str(body))
    except StoreError:
        return False
    return True
