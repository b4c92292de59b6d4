"""Three-way sync into a work directory where a person edits at the same time: no edit is ever lost.

Each path is judged by what was deployed last, what is hosted now, and what comes in. Whatever leaves its name is
taken away in one step first and looked at afterwards, so that an edit made in the last instant is seen as well.
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaosd.bundle.beneath import open_root
from kaosd.bundle.failing import store_errors
from kaosd.bundle.hosted import State, alike, state, state_at
from kaosd.bundle.store import Store
from kaosd.bundle.tree import Entry, diff, lookup, split
from kaosd.bundle.work import Recovered, Work

_ATTEMPTS = 10


class Action(enum.Enum):
    """What is to be done at one path."""

    NOTHING = "nothing"
    WRITE = "write"
    DELETE = "delete"
    KEEP = "keep"
    RECOVER = "recover"  # save the hosted one, then write or delete


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did; paths are relative to the work directory, directories are not listed.

    recovered: also what an interrupted sync before it had saved, since nobody was told.
    kept: hosted edits that stay although their path was looked at. skipped: paths of *skip* that would have changed.
    """

    written: tuple[bytes, ...] = ()
    deleted: tuple[bytes, ...] = ()
    kept: tuple[bytes, ...] = ()
    recovered: tuple[Recovered, ...] = ()
    skipped: tuple[bytes, ...] = ()


def decide(bases: Collection[State | None], hosted: State | None, incoming: State | None) -> Action:
    """The three-way rule. bases: the states that count as ours; several when a sync was interrupted.

    After an interruption nobody knows which of them a hosted edit was made on, so it is saved and not kept.
    """
    if hosted == incoming:
        return Action.NOTHING
    if any(alike(hosted, base) for base in bases):
        return Action.DELETE if incoming is None else Action.WRITE
    if all(base == incoming for base in bases):
        return Action.KEEP
    if hosted is None:
        return Action.WRITE
    if incoming is None and hosted.kind == "d":
        return Action.KEEP  # its files exist only in the host
    return Action.RECOVER


def sync(
    store: Store,
    work: Path,
    bases: Sequence[str | None],
    incoming: str | None,
    recovered: Path,
    skip: frozenset[bytes] = frozenset(),
) -> SyncReport:
    """Bring *work* (made if absent) from the trees *bases* to the tree *incoming*, and return what was done.

    bases: the tree deployed last (None: nothing yet) and the target of a sync that was interrupted, if one was.
    Hosted edits that must give way go to a fresh directory below *recovered*. StoreError (disk full) leaves every
    name either as it was or as it shall be; call again with the same incoming among *bases*.
    """
    with store_errors("write to", work):
        work.mkdir(parents=True, exist_ok=True)
        root = open_root(work)
        try:
            return _Sync(store, root, tuple(bases) or (None,), incoming, recovered, skip).run()
        finally:
            os.close(root)


class _Sync:
    """One sync into the directory descriptor *root*."""

    def __init__(
        self,
        store: Store,
        root: int,
        bases: tuple[str | None, ...],
        incoming: str | None,
        recovered: Path,
        skip: frozenset[bytes],
    ) -> None:
        self._store = store
        self._bases = bases
        self._incoming = incoming
        self._skip = skip
        self._work = Work(store, root, recovered, lambda path: self._states((*bases, incoming), path))
        self._written: list[bytes] = []
        self._deleted: list[bytes] = []
        self._kept: list[bytes] = []
        self._skipped: list[bytes] = []

    def run(self) -> SyncReport:
        """Do it."""
        changes = {
            change.path: change.new for base in self._bases for change in diff(self._store, base, self._incoming)
        }
        try:
            if self._work.interrupted:
                self._work.take_over(self._names)
            if changes:
                self._work.begin()
            for path in sorted((path for path, new in changes.items() if new is None), reverse=True):
                self._settle(path, None)  # what is inside goes before its directory
            for path in sorted(path for path, new in changes.items() if new is not None):
                self._settle(path, changes[path])
            self._work.end()
        finally:
            self._work.close()
        report = (sorted(paths) for paths in (self._written, self._deleted, self._kept))
        written, deleted, kept = map(tuple, report)
        return SyncReport(written, deleted, kept, tuple(self._work.saved), tuple(sorted(self._skipped)))

    def _settle(self, path: bytes, new: Entry | None) -> None:
        """Bring one path to what the three-way rule says."""
        if path in self._skip:
            self._skipped.append(path)
            return None
        for _ in range(_ATTEMPTS):
            try:
                return self._try(path, new)
            except (FileExistsError, FileNotFoundError):
                continue  # the host was quicker: judge anew
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)

    def _try(self, path: bytes, new: Entry | None) -> None:
        above, name = split(path)
        parent = self._work.find(above)
        hosted = state_at(parent, name) if parent is not None else None
        action = decide(self._states(self._bases, path), hosted, state(new))
        if action is Action.NOTHING:
            return
        if action is Action.KEEP:
            self._kept.append(path)
        elif new is not None:
            self._work.write(self._work.reach(above), path, new)
            self._note(self._written, path, new.kind)
        elif parent is not None and hosted is not None and self._work.delete(parent, path, hosted.kind):
            self._note(self._deleted, path, hosted.kind)

    def _note(self, where: list[bytes], path: bytes, kind: str) -> None:
        if kind != "d":
            where.append(path)

    def _states(self, trees: tuple[str | None, ...], path: bytes) -> tuple[State | None, ...]:
        return tuple(state(lookup(self._store, tree, path)) for tree in trees)

    def _names(self, directory: bytes) -> set[bytes]:
        """What kaosd's own files in *directory* are called, in all trees concerned."""
        names: set[bytes] = set()
        for tree in (*self._bases, self._incoming):
            node = tree
            if directory:
                entry = lookup(self._store, tree, directory)
                node = entry.digest if entry is not None and entry.kind == "d" else None
            if node is not None:
                names.update(each.name for each in self._store.node(node))
        return names
