"""The store's index in sqlite: where each content lies, how far each pack was taken in, and the stat caches of roots.

Each commit is synced, so what it says survives a power cut; the contents it speaks of are synced before it.
It is only an index: a damaged one is set aside, and the Store makes another one from the packs and large files.
What sqlite does not vouch for is checked here or there: a stat cache by a checksum of each row, the position of a
content by the content's digest. The Store holds its lock around every call.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from blake3 import blake3

from kaosd.aside import discard, is_file, set_aside

LARGE = 0  # in the place of a pack's number: a file of its own

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BESIDE = ("-wal", "-shm", "-journal")
_SCHEMA = """
create table if not exists contents (
    digest blob primary key, pack integer not null, offset integer not null, size integer not null
) without rowid;
create table if not exists packs (id integer primary key, length integer not null);
create table if not exists caches (
    root blob not null, path blob not null, node blob not null, listing blob not null,
    files integer not null, bytes integer not null, sum blob not null, primary key (root, path)
);
drop table if exists directories; -- caches without checksums, of versions before this one
create table if not exists lost (digest blob primary key) without rowid;
create table if not exists trees (root blob primary key, tree blob not null);
"""
# Fails where tables of these names are not ours.
_CHECKS = (
    "select digest, pack, offset, size from contents limit 0", "select id, length from packs limit 0",
    "select root, path, node, listing, files, bytes, sum from caches limit 0", "select root, tree from trees limit 0",
    "select digest from lost limit 0",
)  # fmt: skip


class Spot(NamedTuple):
    """Where a content lies: pack (LARGE: its own file), offset and size in bytes."""

    pack: int
    offset: int
    size: int


class CachedDirectory(NamedTuple):
    """What the stat cache holds of one directory.

    node: digest of its node. listing: what it looked like on disk. files, bytes: of its own entries, not below.
    """

    node: str
    listing: bytes
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CacheUpdate:
    """A change of one root's stat cache, from tree *before* (None: there was none) to *tree*, which sweeps keep.

    gone: paths to drop.
    """

    root: bytes
    before: str | None
    tree: str
    changed: Mapping[bytes, CachedDirectory]
    gone: Iterable[bytes] = field(default=())


class CacheDamagedError(Exception):
    """A row of a stat cache is not what was written."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether *error* says that the file is not what it must be; a full disk or a lock does not."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _DAMAGE


class Index:
    """One connection to index.db, in a transaction only inside its own methods.

    damage: what was wrong with the file when it was opened, so that another one was started; None when nothing was.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damage: str | None = None
        if os.path.lexists(path) and not is_file(path):
            self._put_aside("it was not a file")
        elif path.exists() and path.stat().st_size == 0:
            self._put_aside("it was empty")
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if not is_damage(error) and getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_ERROR:
                raise
            self._put_aside(str(error))
            self._connection = self._open()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def begin_again(self, damage: str) -> None:
        """Set the file aside and start an empty one. OSError, sqlite3.Error."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._put_aside(damage)
        self._connection = self._open()

    def _put_aside(self, damage: str) -> None:
        if os.path.lexists(self._path):
            set_aside(self._path, time.time())
        self.damage = damage

    def _open(self) -> sqlite3.Connection:
        there = os.path.lexists(self._path)
        for beside in (self._path.with_name(self._path.name + each) for each in _BESIDE):
            if not there or not is_file(beside):  # without its file it would be applied to the new one
                discard(beside)
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("pragma locking_mode=exclusive")  # no shared memory file, one process only
            connection.execute("pragma journal_mode=wal")
            connection.execute("pragma synchronous=full")
            connection.execute("pragma wal_autocheckpoint=10000")  # pages: rarely, since it delays one save
            connection.executescript(_SCHEMA)
            for check in _CHECKS:
                connection.execute(check)
        except BaseException:
            connection.close()
            raise
        return connection

    def find(self, digest: str) -> Spot | None:
        """Where *digest* lies; None when it is not in the store."""
        row = self._connection.execute(
            "select pack, offset, size from contents where digest = ?", (bytes.fromhex(digest),)
        ).fetchone()
        return Spot(*row) if row is not None and _is_spot(row) else None

    def spots_after(self, digest: bytes, count: int) -> dict[str, Spot]:
        """The next *count* contents in the order of their digests; fewer at the end."""
        rows = self._connection.execute(
            "select digest, pack, offset, size from contents where digest > ? order by digest limit ?", (digest, count)
        )
        return _spots(rows)

    def spots_in(self, pack: int) -> dict[str, Spot]:
        """The contents of one pack."""
        rows = self._connection.execute("select digest, pack, offset, size from contents where pack = ?", (pack,))
        return _spots(rows)

    def large(self) -> set[str]:
        """The digests that are files of their own."""
        rows = self._connection.execute("select digest, pack, offset, size from contents where pack = ?", (LARGE,))
        return set(_spots(rows))

    def packs(self) -> dict[int, int]:
        """How many bytes of each pack were taken in: what lies behind them is known by its headers alone."""
        rows = self._connection.execute("select id, length from packs")
        return {pack: length for pack, length in rows if _is_spot((pack, length))}

    def ends(self) -> dict[int, int]:
        """Where the last content of each pack ends."""
        rows = self._connection.execute("select pack, max(offset + size) from contents where pack != 0 group by pack")
        return {pack: end for pack, end in rows if _is_spot((pack, end))}

    def commit(self, spots: Mapping[str, Spot], packs: Mapping[int, int], update: CacheUpdate | None) -> None:
        """Add contents, set the lengths of packs and change a stat cache, all or nothing."""
        with self._transaction():
            self._connection.executemany(
                "insert or replace into contents values (?, ?, ?, ?)",
                ((bytes.fromhex(digest), *spot) for digest, spot in spots.items()),
            )
            self._connection.executemany("insert or replace into packs values (?, ?)", packs.items())
            if update is not None:
                self._update(update)

    def drop(self, digests: Iterable[str], packs: Iterable[int] = (), *, lost: bool = False) -> None:
        """Forget contents and whole packs. lost: but remember that these contents were the store's."""
        rows = [(bytes.fromhex(digest),) for digest in digests]
        with self._transaction():
            self._connection.executemany("delete from contents where digest = ?", rows)
            if lost:
                self._connection.executemany("insert or ignore into lost values (?)", rows)
            self._connection.executemany("delete from packs where id = ?", ((pack,) for pack in packs))

    def was_lost(self, digest: str) -> bool:
        """Whether *digest* was dropped as lost since `forget_lost`."""
        query = "select 1 from lost where digest = ?"
        return self._connection.execute(query, (bytes.fromhex(digest),)).fetchone() is not None

    def forget_lost(self) -> None:
        """What was lost need not be known any more."""
        with self._transaction():
            self._connection.execute("delete from lost")

    def cache(self, root: bytes) -> dict[bytes, CachedDirectory]:
        """The stat cache of *root*: its directories by path. CacheDamagedError when a row is not what was written."""
        rows = self._connection.execute(
            "select path, node, listing, files, bytes, sum from caches where root = ?", (root,)
        )
        found = {}
        for path, node, listing, files, size, told in rows:
            if told != _sum(root, path, node, listing, files, size):
                raise CacheDamagedError
            found[path] = CachedDirectory(node.hex(), listing, files, size)
        return found

    def trees(self) -> dict[bytes, str]:
        """The tree that each root's stat cache speaks of."""
        rows = self._connection.execute("select root, tree from trees")
        return {root: tree.hex() for root, tree in rows if isinstance(tree, bytes)}

    def forget(self, roots: Iterable[bytes]) -> None:
        """Drop the stat caches of *roots*."""
        with self._transaction():
            for root in roots:
                self._connection.execute("delete from caches where root = ?", (root,))
                self._connection.execute("delete from trees where root = ?", (root,))

    def _update(self, update: CacheUpdate) -> None:
        root = update.root
        if self.trees().get(root) != update.before:  # another scanner of the same root wrote it: mix nothing
            self._connection.execute("delete from caches where root = ?", (root,))
        self._connection.executemany(
            "delete from caches where root = ? and path = ?", ((root, path) for path in update.gone)
        )
        self._connection.executemany(
            "insert or replace into caches values (?, ?, ?, ?, ?, ?, ?)",
            (_row(root, path, known) for path, known in update.changed.items()),
        )
        self._connection.execute("insert or replace into trees values (?, ?)", (root, bytes.fromhex(update.tree)))

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)


def _is_spot(row: Iterable[object]) -> bool:
    """Whether these are numbers, which sqlite does not vouch for."""
    return all(isinstance(value, int) and value >= 0 for value in row)


def _spots(rows: Iterable[tuple[Any, ...]]) -> dict[str, Spot]:
    return {digest.hex(): Spot(*spot) for digest, *spot in rows if isinstance(digest, bytes) and _is_spot(spot)}


def _row(root: bytes, path: bytes, known: CachedDirectory) -> tuple[bytes | int, ...]:
    row = (root, path, bytes.fromhex(known.node), known.listing, known.files, known.bytes)
    return (*row, _sum(*row))


def _sum(root: object, path: object, node: object, listing: object, files: object, size: object) -> bytes:
    """What vouches for one row of a stat cache; of anything that stands in it."""
    hasher = blake3()
    for value in (root, path, node, listing, files, size):
        data = value if isinstance(value, bytes) else repr(value).encode()
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.digest(length=8)


class _Transaction:
    """start and commit, or roll back on any exception."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("begin immediate")

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is None:
            try:
                self._connection.execute("commit")
            except sqlite3.Error:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # a full disk may have ended it already
            self._connection.execute("rollback")
