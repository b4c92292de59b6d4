"""Versions that were deployed, which trees must be kept for them, and recovered files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaosd.journal.database import Database
from kaosd.journal.rows import Intent, KnownVersion, Live, Recovered, decode, encode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Literal

    from kaosd.model import Version

    Kind = Literal["source", "data"]


class Versions(Database):
    """For rollback and retention."""

    def note_version(self, notebook: str, kind: str, version: Version, files: int, size: int, at: float) -> None:
        """Remember a version that was deployed; files and size (bytes) 0: not known, what is known stays."""
        known = self._known(notebook, kind, version)
        if known is not None and files == 0:
            files, size = known.files, known.bytes
        body = encode(KnownVersion(notebook, kind, version, files, size, at))
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?)", (notebook, kind, version.digest, at, body)
            )

    def versions(self, notebook: str, kind: str) -> tuple[KnownVersion, ...]:
        """The known versions of one kind, the one deployed last first."""
        query = "SELECT body FROM versions WHERE notebook = ? AND kind = ? ORDER BY at DESC"
        return tuple(decode(KnownVersion, body) for (body,) in self._rows(query, notebook, kind))

    def files(self, notebook: str, kind: str, version: Version) -> int:
        """How many files a version has; 0 when that is not known."""
        known = self._known(notebook, kind, version)
        return known.files if known is not None else 0

    def prune(self, notebook: str, kind: str, keep: Collection[str]) -> tuple[KnownVersion, ...]:
        """Forget all versions of one kind but those with the digests *keep*; the forgotten ones."""
        gone = tuple(one for one in self.versions(notebook, kind) if one.version.digest not in keep)
        with self._transaction() as db:
            delete = "DELETE FROM versions WHERE notebook = ? AND kind = ? AND digest = ?"
            db.executemany(delete, [(notebook, one.kind, one.version.digest) for one in gone])
        return gone

    def roots(self) -> frozenset[str]:
        """Digests of all trees that anything here refers to: what the store must not sweep."""
        found = {digest for (digest,) in self._rows("SELECT digest FROM versions")}
        for (body,) in self._rows("SELECT body FROM live"):
            found.update(_live_roots(decode(Live, body)))
        for (body,) in self._rows("SELECT body FROM intents"):
            intent = decode(Intent, body)
            found.update(one.digest for one in (intent.pinned_source, intent.pinned_data) if one is not None)
        return frozenset(found)

    def note_recovered(self, copies: Iterable[Recovered]) -> None:
        """Remember where a person's edits were kept before something else took their path."""
        rows = [(one.notebook, encode(one)) for one in copies]
        with self._transaction() as db:
            db.executemany("INSERT INTO recovered (notebook, body) VALUES (?, ?)", rows)

    def forget_recovered(self, notebook: str, copies: Iterable[Recovered]) -> None:
        """Forget these copies, which were deleted."""
        rows = [(notebook, encode(one)) for one in copies]
        with self._transaction() as db:
            db.executemany("DELETE FROM recovered WHERE notebook = ? AND body = ?", rows)

    def recovered(self, notebook: str) -> tuple[Recovered, ...]:
        """The recovered files, oldest first."""
        rows = self._rows("SELECT body FROM recovered WHERE notebook = ? ORDER BY id", notebook)
        return tuple(decode(Recovered, body) for (body,) in rows)

    def _known(self, notebook: str, kind: str, version: Version) -> KnownVersion | None:
        query = "SELECT body FROM versions WHERE notebook = ? AND kind = ? AND digest = ?"
        rows = self._rows(query, notebook, kind, version.digest)
        return decode(KnownVersion, rows[0][0]) if rows else None


def _live_roots(live: Live) -> Iterator[str]:
    for version in (live.source, live.data):
        if version is not None:
            yield version.digest
    for tree in (live.source_tree, live.model_tree, live.syncing, *live.left):
        if tree is not None:
            yield tree
