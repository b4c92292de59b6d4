"""The store's index in sqlite: where each content lies, how far each pack counts, and the stat caches of the roots.

Each commit is synced, so what it says survives a power cut; the contents it speaks of are synced before it.
The Store holds its lock around every call.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

LARGE = 0  # in the place of a pack's number: a file of its own

_SCHEMA = """
create table if not exists contents (
    digest blob primary key, pack integer not null, offset integer not null, size integer not null
) without rowid;
create table if not exists packs (id integer primary key, length integer not null);
create table if not exists directories (
    root blob not null, path blob not null, node blob not null, listing blob not null,
    files integer not null, bytes integer not null, primary key (root, path)
);
create table if not exists trees (root blob primary key, tree blob not null);
"""


class Spot(NamedTuple):
    """Where a content lies: pack (LARGE: its own file), offset and size in bytes."""

    pack: int
    offset: int
    size: int


class Known(NamedTuple):
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
    changed: Mapping[bytes, Known]
    gone: Iterable[bytes] = field(default=())


class Index:
    """One connection to index.db, in a transaction only inside its own methods."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("pragma locking_mode=exclusive")  # no shared memory file, one process only
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma synchronous=full")
        self._connection.execute("pragma wal_autocheckpoint=10000")  # pages: rarely, since it delays one save
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def find(self, digest: str) -> Spot | None:
        """Where *digest* lies; None when it is not in the store."""
        row = self._connection.execute(
            "select pack, offset, size from contents where digest = ?", (bytes.fromhex(digest),)
        ).fetchone()
        return Spot(*row) if row is not None else None

    def spots_after(self, digest: bytes, count: int) -> dict[str, Spot]:
        """The next *count* contents in the order of their digests; fewer at the end."""
        rows = self._connection.execute(
            "select digest, pack, offset, size from contents where digest > ? order by digest limit ?", (digest, count)
        )
        return {row[0].hex(): Spot(*row[1:]) for row in rows}

    def spots_in(self, pack: int) -> dict[str, Spot]:
        """The contents of one pack."""
        rows = self._connection.execute("select digest, pack, offset, size from contents where pack = ?", (pack,))
        return {digest.hex(): Spot(*spot) for digest, *spot in rows}

    def large(self) -> set[str]:
        """The digests that are files of their own."""
        rows = self._connection.execute("select digest from contents where pack = ?", (LARGE,))
        return {digest.hex() for (digest,) in rows}

    def packs(self) -> dict[int, int]:
        """The committed length of each pack."""
        return dict(self._connection.execute("select id, length from packs"))

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

    def drop(self, digests: Iterable[str], packs: Iterable[int] = ()) -> None:
        """Forget contents and whole packs."""
        with self._transaction():
            rows = ((bytes.fromhex(digest),) for digest in digests)
            self._connection.executemany("delete from contents where digest = ?", rows)
            self._connection.executemany("delete from packs where id = ?", ((pack,) for pack in packs))

    def cache(self, root: bytes) -> dict[bytes, Known]:
        """The stat cache of *root*: its directories by path."""
        rows = self._connection.execute(
            "select path, node, listing, files, bytes from directories where root = ?", (root,)
        )
        return {path: Known(node.hex(), listing, files, size) for path, node, listing, files, size in rows}

    def trees(self) -> dict[bytes, str]:
        """The tree that each root's stat cache speaks of."""
        return {root: tree.hex() for root, tree in self._connection.execute("select root, tree from trees")}

    def forget(self, roots: Iterable[bytes]) -> None:
        """Drop the stat caches of *roots*."""
        with self._transaction():
            for root in roots:
                self._connection.execute("delete from directories where root = ?", (root,))
                self._connection.execute("delete from trees where root = ?", (root,))

    def _update(self, update: CacheUpdate) -> None:
        root = update.root
        if self.trees().get(root) != update.before:  # another scanner of the same root wrote it: mix nothing
            self._connection.execute("delete from directories where root = ?", (root,))
        self._connection.executemany(
            "delete from directories where root = ? and path = ?", ((root, path) for path in update.gone)
        )
        self._connection.executemany(
            "insert or replace into directories values (?, ?, ?, ?, ?, ?)",
            (
                (root, path, bytes.fromhex(known.node), known.listing, known.files, known.bytes)
                for path, known in update.changed.items()
            ),
        )
        self._connection.execute("insert or replace into trees values (?, ?)", (root, bytes.fromhex(update.tree)))

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)


class _Transaction:
    """begin and commit, or roll back on any exception."""

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
