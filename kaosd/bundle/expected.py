"""The data that the code of a bundle reads and that is not in it. A save costs a reading of the changed files.

What was found is remembered by path, as a tree like the bundle's: what was replaced is forgotten with that.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from kaosd import encodings
from kaosd.bundle.source import model_tree
from kaosd.bundle.store import Store
from kaosd.bundle.tree import Entry, join, lookup
from kaosd.declared.data_paths import Code, DataRead, code_of, name_of_data, worth
from kaosd.declared.looking_up import joined
from kaosd.errors import ContentLost

_ENDINGS = (b".py", b".ipynb")
_OTHERS = frozenset({b"tests", b"test", b"node_modules", b"site-packages"})  # code that runs elsewhere
_SIZE = 2**21  # bytes; a larger file is not looked at
_FILES = 1000  # that are looked at, and directories, beside those that are known
_DEPTH = 12
_READS = 50  # that are remembered of a directory


@dataclass(frozen=True, slots=True)
class Expected:
    """Code that reads data which the bundle does not have. file: its path in the bundle; where, path: see DataRead.

    directories: where that data may be, from the notebook's root; absolute or with ".." where it is not below it.
    taken: the bundle has something else that is called `data` there.
    """

    file: str
    where: str
    path: str
    directories: tuple[str, ...]
    taken: bool = False


class _Found(NamedTuple):
    """What the code of one file or directory says. below: of the entries of a directory, by name."""

    digest: str
    reads: tuple[tuple[bytes, DataRead], ...] = ()
    made: frozenset[str] = frozenset()
    below: Mapping[bytes, _Found] = MappingProxyType({})


class Reading:
    """Looks for it in the versions of one bundle. To be used in a thread, by one at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last = _Found("")
        self._left = 0

    def expected(self, tree: str | None, root: str) -> tuple[Expected, ...]:
        """What the code of the bundle *tree* reads and does not have; first the top, in order of the names.

        root: the directory of the bundle that is the notebook's root, see `Declared`. Of very much code only some is
        looked at.
        """
        top = model_tree(self._store, tree)
        self._left = _FILES
        found = self._last = self._directory(top, self._last, 0) if top is not None else _Found("")
        taken = self._is_there(top, "data")
        answers = []
        for path, read in found.reads:
            file = os.fsdecode(path)
            places = tuple(_from_root(file, place) for place in read.places)
            if not any(name_of_data(place) in found.made or self._is_there(top, place) for place in places):
                answers.append(Expected(joined(root, file), read.where, read.path, places, taken))
        return tuple(answers)

    def _is_there(self, top: str | None, place: str) -> bool:
        if place.startswith("/"):
            return os.path.isdir(place)  # of the machine, as a notebook on it sees it
        return not place.startswith("..") and lookup(self._store, top, os.fsencode(place)) is not None

    def _directory(self, digest: str, before: _Found | None, depth: int) -> _Found:
        """What the code below a directory says, its own files first. before: what was found at its path last."""
        if before is not None and before.digest == digest:
            return before
        if self._left <= 0 or depth > _DEPTH:
            return _Found(digest)
        self._left -= 1
        known = before.below if before is not None else {}
        below: dict[bytes, _Found] = {}
        for entry in sorted(self._node(digest), key=lambda entry: entry.kind == "d"):
            found = self._entry(entry, known.get(entry.name), depth)
            if found is not None:
                below[entry.name] = found
        reads = [(join(name, path) if path else name, read) for name, one in below.items() for path, read in one.reads]
        made = frozenset[str]().union(*(one.made for one in below.values()))
        return _Found(digest, tuple(reads[:_READS]), made, below)

    def _entry(self, entry: Entry, before: _Found | None, depth: int) -> _Found | None:
        """What one entry of a directory says; None where that is nothing, and nothing to remember."""
        if entry.kind != "d":
            return self._file(entry, before)
        if entry.name in _OTHERS or entry.name.startswith(b"."):
            return None
        return self._directory(entry.digest, before, depth + 1)

    def _node(self, digest: str) -> tuple[Entry, ...]:
        try:
            return self._store.node(digest)
        except ContentLost:  # who needs it says so
            return ()

    def _file(self, entry: Entry, before: _Found | None) -> _Found | None:
        if entry.kind == "l" or not entry.name.endswith(_ENDINGS) or entry.size > _SIZE:
            return None
        if before is not None and before.digest == entry.digest:
            return before
        if self._left <= 0:
            return None
        self._left -= 1
        code = self._read(entry, entry.name.endswith(b".ipynb"))
        return _Found(entry.digest, tuple((b"", read) for read in code.reads[:_READS]), code.made)

    def _read(self, entry: Entry, is_notebook: bool) -> Code:
        try:
            content = self._store.get(entry.digest)
            return code_of(encodings.text(content), notebook=is_notebook) if worth(content) else Code()
        except (ContentLost, encodings.NotTextError):  # who needs it says so
            return Code()


def _from_root(file: str, place: str) -> str:
    """A path that code in *file* means, as seen from the notebook's root."""
    if place == "/kaggle/input":
        return place
    if place.startswith("/"):
        return place[1:]
    return posixpath.normpath(posixpath.join(posixpath.dirname(file), place))
