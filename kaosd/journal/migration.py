"""The journal's schema and the way to it from older ones: one transaction, and a copy of the file as it was.

Whenever it is ended in between, the file is either of the old schema or of the new one.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = 2
# What makes schema N + 1 out of schema N, by N: statements, none of which ends a transaction.
STEPS: Mapping[int, tuple[str, ...]] = {
    # Registrations hold what was given. What is not JSON is left for salvage.py.
    1: (
        """UPDATE registrations SET body = json_object('name', notebook, 'given', json(body), 'complete', json('true'))
        WHERE json_valid(body)""",
    ),
}


def migrate(
    db: sqlite3.Connection, path: Path, *, steps: Mapping[int, tuple[str, ...]] = STEPS, schema: int = SCHEMA
) -> None:
    """Bring the open journal at *path* to *schema*. A copy stays beside it as `<name>.schema-<older>`.

    Raises sqlite3.Error or OSError; the journal is then what it was.
    """
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found >= schema:
        return
    _copy(db, path.with_name(f"{path.name}.schema-{found}"))
    with db:
        db.execute("BEGIN EXCLUSIVE")
        for step in range(found, schema):
            for statement in steps[step]:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {schema}")


def _copy(db: sqlite3.Connection, target: Path) -> None:
    """A copy of the whole journal, which has its name only when it is complete and on disk."""
    draft = target.with_name(target.name + ".new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(draft)) as copy:
        db.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    descriptor = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(draft, target)
