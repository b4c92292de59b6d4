"""The sqlite file: made whole or not at all, checked when opened, set aside when damaged, and its transactions.

One of an older kaosd is brought up to date by migration.py, one of a newer kaosd is refused.

Write-ahead logging with synchronous=NORMAL: a commit costs no wait for the disk and survives the death of the
process; a power cut may take the last commits, but never the consistency of what is left.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from kaosd.aside import discard, is_file, set_aside
from kaosd.errors import ConfigError, StoreError
from kaosd.journal import migration
from kaosd.journal.migration import SCHEMA
from kaosd.journal.salvage import remove_unreadable, sentence, take_over

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

BUSY = 2.0  # seconds to wait for another program that has the file locked
WAL_LIMIT = 4 * 2**20  # bytes that the write-ahead log keeps after a checkpoint
SKIP = 1000  # numbers of events left out at each opening, see Database._open

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLES = """
CREATE TABLE registrations (notebook TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE live (notebook TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE intents (notebook TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE deployments (
    notebook TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (notebook, number));
CREATE TABLE jobs (id TEXT PRIMARY KEY, notebook TEXT NOT NULL, deployment INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX jobs_of_deployment ON jobs (notebook, deployment);
CREATE TABLE versions (
    notebook TEXT NOT NULL, kind TEXT NOT NULL, digest TEXT NOT NULL, at REAL NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (notebook, kind, digest));
CREATE TABLE recovered (id INTEGER PRIMARY KEY, notebook TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX recovered_of_notebook ON recovered (notebook);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, notebook TEXT, kind TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE trimmed (seq INTEGER NOT NULL);
INSERT INTO trimmed VALUES (0);
"""


class Database:
    """One connection to the journal's file, for all threads.

    path: of the file; made, mode 0600, when absent. at: the time now, for the name of a damaged file that is
    moved aside. repaired: the sentence that reports it; None when nothing was wrong.
    Raises ConfigError when a newer kaosd made it, StoreError when it is locked, there is no permission or no room.
    """

    def __init__(self, path: Path, at: float, *, busy: float = BUSY) -> None:
        self.path = path
        self.repaired: str | None = None
        self._lock = threading.Lock()
        with self._sentences():
            self._db = self._open(at, busy)

    def close(self) -> None:
        """Write everything into the one file and close it; idempotent."""
        with self._lock, self._sentences():
            self._db.close()

    def copy_to(self, target: Path) -> None:
        """Write a consistent copy of the whole journal to *target*, a file that is made."""
        with self._lock, self._sentences(), closing(sqlite3.connect(target)) as copy:
            self._db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- for the subjects ----------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All writes of the block, or none of them."""
        with self._lock, self._sentences(), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db

    def _rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """The rows of one query."""
        with self._lock, self._sentences():
            return self._db.execute(query, arguments).fetchall()

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise _failure(self.path, error) from error

    # -- opening -------------------------------------------------------------------------------------------

    def _open(self, at: float, busy: float) -> sqlite3.Connection:
        first, aside = 0, None
        for beside in (self.path.with_name(self.path.name + each) for each in ("-wal", "-shm")):
            if not is_file(beside):
                discard(beside)
        if os.path.lexists(self.path):
            damage = _damage(self.path, busy) if is_file(self.path) else "it is not a file"
            if damage is not None:
                aside = set_aside(self.path, at)
                self.repaired = f"{self.path} was damaged ({damage}): it is now {aside.name}, and a new one was started"
                # Ahead of every number that the old journal can have given out, at one event per second.
                first = int(at)
        if not os.path.lexists(self.path):
            _create(self.path, first, aside)
        db = _connect(self.path, busy)
        try:
            migration.migrate(db, self.path)
            db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
            db.execute("PRAGMA synchronous = NORMAL")
            # Readers may have seen events that a power cut then took: their numbers must not come again.
            db.execute("UPDATE sqlite_sequence SET seq = seq + ?", (SKIP,))
            if lost := remove_unreadable(db):
                self.repaired = f"{self.path} had rows that cannot be read, which were removed: {sentence(lost)}"
        except BaseException:
            db.close()
            raise
        return db


def _connect(path: Path, busy: float) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=busy, isolation_level=None, check_same_thread=False)


def _damage(path: Path, busy: float) -> str | None:
    """What is wrong with the file, None when nothing is; ConfigError when a newer kaosd made it."""
    try:
        with closing(_connect(path, busy)) as db:
            schema = db.execute("PRAGMA user_version").fetchone()[0]
            if schema > SCHEMA:
                raise ConfigError(
                    f"{path} was made by a newer kaosd (schema {schema}, this one knows {SCHEMA})",
                    hint="start that newer kaosd, or move the file away to start a new journal",
                )
            if schema < 1:
                return "it holds no journal"
            found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
            return None if found == "ok" else " ".join(found.split())
    except sqlite3.DatabaseError as error:
        if _code(error) in _DAMAGE:
            return str(error)
        raise


def _create(path: Path, first: int, damaged: Path | None) -> None:
    """Make a journal whose events start after number *first*: under another name, then renamed.

    It holds what can still be read of the *damaged* one: a notebook whose registration is lost would be forgotten.
    """
    new = path.with_name(path.name + ".new")
    # A write-ahead log without its file would be applied to the new one.
    for stale in (f"{new}", f"{new}-wal", f"{new}-shm", f"{path}-wal", f"{path}-shm"):
        if os.path.lexists(stale):
            os.unlink(stale)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(_connect(new, BUSY)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript("BEGIN;" + _TABLES)
        db.execute("INSERT INTO sqlite_sequence VALUES ('events', ?)", (first,))
        db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")
        if damaged is not None:
            db.execute("BEGIN")
            take_over(db, damaged)
            db.execute("COMMIT")
    os.rename(new, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _code(error: sqlite3.Error) -> int:
    """The primary result code; 0 when the error is not sqlite's own."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _failure(path: Path, error: sqlite3.Error | OSError) -> StoreError:
    """The sentence for what sqlite or the system said."""
    if isinstance(error, OSError):
        return StoreError(
            f"{error.filename or path}: {error.strerror}", hint=f"see `ls -ld {path.parent}`, `df {path}`"
        )
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(f"{path} is locked by another program", hint=f"end it; `fuser -v {path}` names it")
        case sqlite3.SQLITE_FULL:
            return _full(path)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if _no_space(path):
            return _full(path)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            hint = "restart kaosd: it sets the file aside and starts a new one"
            return StoreError(f"{path} is damaged: {error}", hint=hint, retryable=False)
    return StoreError(f"{path} cannot be used: {error}", hint=f"it and {path.parent} must be yours and writable")


def _full(path: Path) -> StoreError:
    return StoreError(f"the disk that holds {path} is full", hint=f"make room; see `df {path.parent}`")


def _no_space(path: Path) -> bool:
    """Whether an unspecific failure is one of space: sqlite tells so only for the main file."""
    try:
        return os.statvfs(path.parent).f_bavail == 0
    except OSError:
        return False
