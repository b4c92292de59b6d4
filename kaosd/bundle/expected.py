"""The data that the code of a bundle reads and that is not in it. A save costs a reading of the changed files."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from typing import NamedTuple

from kaosd import encodings
from kaosd.bundle.source import model_tree
from kaosd.bundle.store import Store
from kaosd.bundle.tree import Entry, join, lookup
from kaosd.declared.data_paths import Code, Read, code_of, name_of_data, worth
from kaosd.declared.looking_up import joined
from kaosd.errors import ContentLost

_ENDINGS = (b".py", b".ipynb")
_OTHERS = frozenset({b"tests", b"test", b"node_modules", b"site-packages"})  # code that runs elsewhere
_SIZE = 2**21  # bytes; a larger file is not looked at
_FILES = 1000  # that are looked at, and directories, beside those that are known
_DEPTH = 12
_READS = 50  # that are remembered of a directory
_KNOWN = 20_000  # files and directories whose answers are remembered


@dataclass(frozen=True, slots=True)
class Expected:
    """Code that reads data which the bundle does not have. file: its path in the bundle; where, path: see Read.

    directories: where that data may be, from the notebook's root; absolute or with ".." where it is not below it.
    taken: the bundle has something else that is called `data` there.
    """

    file: str
    where: str
    path: str
    directories: tuple[str, ...]
    taken: bool = False


class _Found(NamedTuple):
    reads: tuple[tuple[bytes, Read], ...] = ()
    made: frozenset[str] = frozenset()


class Reading:
    """Looks for it in the versions of one bundle. To be used in a thread, by one at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, _Found] = {}
        self._left = 0

    def expected(self, tree: str | None, root: str) -> tuple[Expected, ...]:
        """What the code of the bundle *tree* reads and does not have; first the top, in order of the names.

        root: the directory of the bundle that is the notebook's root, see `Declared`. Of very much code only some is
        looked at.
        """
        top = model_tree(self._store, tree)
        if len(self._known) > _KNOWN:
            self._known.clear()
        self._left = _FILES
        found = self._directory(top, 0) if top is not None else _Found()
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

    def _directory(self, digest: str, depth: int) -> _Found:
        """What the code below a directory says, its own files first."""
        known = self._known.get(digest)
        if known is not None or self._left <= 0 or depth > _DEPTH:
            return known or self._known.setdefault(digest, _Found())
        self._left -= 1
        reads: list[tuple[bytes, Read]] = []
        made: set[str] = set()
        for entry in sorted(self._node(digest), key=lambda entry: entry.kind == "d"):
            if entry.kind != "d":
                code = self._code(entry)
                reads += [(entry.name, read) for read in code.reads]
                made |= code.made
            elif entry.name not in _OTHERS and not entry.name.startswith(b"."):
                below = self._directory(entry.digest, depth + 1)
                reads += [(join(entry.name, path), read) for path, read in below.reads]
                made |= below.made
        return self._known.setdefault(digest, _Found(tuple(reads[:_READS]), frozenset(made)))

    def _node(self, digest: str) -> tuple[Entry, ...]:
        try:
            return self._store.node(digest)
        except ContentLost:  # who needs it says so
            return ()

    def _code(self, entry: Entry) -> Code:
        if entry.kind == "l" or not entry.name.endswith(_ENDINGS) or entry.size > _SIZE:
            return Code()
        is_notebook = entry.name.endswith(b".ipynb")
        key = f"{entry.digest} {is_notebook}"
        known = self._known.get(key)
        if known is None and self._left > 0:
            self._left -= 1
            code = self._read(entry, is_notebook)
            known = self._known[key] = _Found(tuple((b"", read) for read in code.reads[:_READS]), code.made)
        known = known or _Found()
        return Code(tuple(read for _, read in known.reads), known.made)

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
