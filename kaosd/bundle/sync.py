"""Three-way sync into a work directory where a person edits at the same time: no edit is ever lost.

Each path is judged by what was deployed last, what is hosted now, and what comes in. Whatever leaves its name is
taken away in one step first and looked at afterwards, so that an edit made in the last instant is seen as well.

Where the store cannot tell any more what was deployed last, every file of the directory concerned is compared with
what comes in. Then a content that is or was the store's counts as ours, and any other as a person's.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaosd.bundle.caches import files_below
from kaosd.bundle.entry_state import state, state_at, status_at
from kaosd.bundle.openat import open_root
from kaosd.bundle.replacer import Replacer, SavedCopy
from kaosd.bundle.store import Store
from kaosd.bundle.store_errors import store_errors
from kaosd.bundle.tree import Entry, diff, lookup, split
from kaosd.errors import ContentLost
from kaosd.hosted.states import State, alike

UNKNOWN = "f" * 64  # in the place of a tree that nobody knows; no content has this digest
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

    recovered: also what an interrupted sync before it had saved, since that was not reported.
    kept: hosted edits that stay although their path was looked at. skipped: paths of *skip* that would have changed.
    undecided: files that stay because it is no longer known whether they were deployed or are a person's.
    """

    written: tuple[bytes, ...] = ()
    deleted: tuple[bytes, ...] = ()
    kept: tuple[bytes, ...] = ()
    recovered: tuple[SavedCopy, ...] = ()
    skipped: tuple[bytes, ...] = ()
    undecided: tuple[bytes, ...] = ()


def decide(
    bases: Collection[State | None],
    hosted: State | None,
    incoming: State | None,
    *,
    unknown: bool = False,
    ours: bool = False,
) -> Action:
    """The three-way rule. bases: the states that count as ours; several when a sync was interrupted.

    After an interruption it is unknown which of them a hosted edit was made on, so it is saved and not kept.
    unknown: the bases may have been others as well. ours: then, whether the hosted content is or was the store's.
    """
    if hosted == incoming:
        return Action.NOTHING
    if any(alike(hosted, base) for base in bases):
        return Action.DELETE if incoming is None else Action.WRITE
    if unknown and hosted is not None:
        return _decide_unknown(hosted, incoming, ours=ours)
    if all(base == incoming for base in bases) and not unknown:
        return Action.KEEP
    if hosted is None:
        return Action.WRITE
    if incoming is None and hosted.kind == "d":
        return Action.KEEP  # its files exist only in the host
    return Action.RECOVER


def _decide_unknown(hosted: State, incoming: State | None, *, ours: bool) -> Action:
    """What is served must be what comes in, and what may be a person's must not be lost."""
    if incoming is not None:
        return Action.WRITE if ours else Action.RECOVER
    if hosted.kind == "d":
        return Action.DELETE  # if nothing is left in it
    return Action.RECOVER if ours else Action.KEEP  # the person may have copied it there


def sync(
    store: Store,
    work: Path,
    bases: Sequence[str | None],
    incoming: str | None,
    recovered: Path,
    skip: frozenset[bytes] = frozenset(),
) -> SyncReport:
    """Bring *work* (made if absent) from the trees *bases* to the tree *incoming*, and return what was done.

    bases: the tree deployed last (None: nothing yet; UNKNOWN: it is not known, so all files of *work* are compared with
    *incoming*) and the target of a sync that was interrupted, if one was.
    Hosted edits that are replaced go to a fresh directory below *recovered*. StoreError (disk full) leaves every
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
        self._root = root
        self._bases = bases
        self._incoming = incoming
        self._skip = skip
        self._unknown = set[bytes]()  # directories of which some base cannot be told
        self._changes: dict[bytes, Entry | None] = {}  # what comes in, where it is not what was deployed
        self._olds: dict[bytes, Entry | None] = {}  # what was deployed there, if there is but one base, and it is known
        self._work = Replacer(store, root, recovered, self._is_ours)
        self._written: list[bytes] = []
        self._deleted: list[bytes] = []
        self._kept: list[bytes] = []
        self._skipped: list[bytes] = []
        self._undecided: list[bytes] = []
        self._resumed = False  # after one that did not come to its end

    def run(self) -> SyncReport:
        """Do it."""
        found = [change for base in self._bases for change in diff(self._store, base, self._incoming, self._unknown)]
        self._changes = changes = {change.path: change.new for change in found}
        if len(self._bases) == 1 and not self._unknown:
            self._olds = {change.path: change.old for change in found}
        for directory in self._unknown:
            changes |= {path: self._new(path) for path in files_below(self._root, directory)}
        try:
            self._resumed = self._work.interrupted
            if self._resumed:
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
        skipped, undecided = tuple(sorted(self._skipped)), tuple(sorted(self._undecided))
        return SyncReport(written, deleted, kept, tuple(self._work.saved), skipped, undecided)

    def _new(self, path: bytes) -> Entry | None:
        if path in self._changes:
            return self._changes[path]
        return lookup(self._store, self._incoming, path)

    def _settle(self, path: bytes, new: Entry | None) -> None:
        """Bring one path to what the three-way rule says."""
        if path in self._skip:
            self._skipped.append(path)
            return None
        for _ in range(_ATTEMPTS):
            try:
                return self._try(path, new)
            except (FileExistsError, FileNotFoundError):
                continue  # the host was quicker: judge again
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)

    def _try(self, path: bytes, new: Entry | None) -> None:
        above, name = split(path)
        parent = self._work.find(above)
        if parent is not None and new is not None and self._is_other(parent, name, path, new):
            self._write(parent, path, new, free=False)
            return
        hosted = state_at(parent, name) if parent is not None else None
        bases, unknown = self._states(path)
        ours = unknown and self._is_the_stores(hosted)
        action = decide(bases, hosted, state(new), unknown=unknown, ours=ours)
        if action is Action.NOTHING:
            if self._resumed and new is not None:  # the one before was perhaps killed before it came to that
                self._work.replaced(name)
            return
        if action is Action.KEEP:
            (self._undecided if unknown else self._kept).append(path)
        elif new is not None:
            reached = parent if parent is not None else self._work.reach(above)
            self._write(reached, path, new, free=hosted is None)
        elif parent is not None and hosted is not None and self._work.delete(parent, path, hosted.kind):
            self._note(self._deleted, path, hosted.kind)

    def _is_other(self, parent: int, name: bytes, path: bytes, new: Entry) -> bool:
        """Whether a file is there that is not what comes in, as its size tells.

        Whoever made it, it is replaced then, since what comes in is not what was deployed: it need not be read before.
        """
        if path not in self._olds:
            return False
        status = status_at(parent, name)
        return status is not None and stat.S_ISREG(status.st_mode) and status.st_size != new.size

    def _write(self, parent: int, path: bytes, new: Entry, *, free: bool) -> None:
        self._work.write(parent, path, new, free=free)
        self._note(self._written, path, new.kind)

    def _note(self, where: list[bytes], path: bytes, kind: str) -> None:
        if kind != "d":
            where.append(path)

    def _states(self, path: bytes) -> tuple[tuple[State | None, ...], bool]:
        """What the bases say of *path*, and whether not all of them can be known."""
        if path in self._olds:
            return (state(self._olds[path]),), False
        states, unknown = [], False
        for tree in self._bases:
            if tree == UNKNOWN:
                unknown = True
                continue
            try:
                states.append(state(lookup(self._store, tree, path)))
            except ContentLost:
                unknown = True
        return tuple(states), unknown

    def _is_ours(self, path: bytes, left: State) -> bool:
        """Whether what left *path* can be lost without harm."""
        bases, unknown = self._states(path)
        new = state(self._new(path))
        if any(alike(left, one) for one in (*bases, new)):
            return True
        return unknown and new is not None and self._is_the_stores(left)

    def _is_the_stores(self, hosted: State | None) -> bool:
        return hosted is not None and bool(hosted.digest) and self._store.had(hosted.digest)

    def _names(self, directory: bytes) -> set[bytes]:
        """What kaosd's own files in *directory* are called, in all trees concerned."""
        names: set[bytes] = set()
        for tree in (*self._bases, self._incoming):
            with contextlib.suppress(ContentLost):
                node = tree
                if directory:
                    entry = lookup(self._store, tree, directory)
                    node = entry.digest if entry is not None and entry.kind == "d" else None
                if node is not None:
                    names.update(each.name for each in self._store.node(node))
        return names
