"""What differs between a work directory and the tree that was deployed there: the edits made in the notebook.

It is asked for again and again, so that it must cost little more than listing the files. Of each directory the survey
remembers, as one number for each file (of its name, inode, size, times and deployed digest), which files hold what was
deployed and which do not. Only a file with another number is read.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from kaosd.bundle.caches import CACHES
from kaosd.bundle.entry_state import state, state_at
from kaosd.bundle.ignore import TEMPORARY
from kaosd.bundle.openat import directory, open_root
from kaosd.bundle.read_file import GRAIN
from kaosd.bundle.store import Store
from kaosd.bundle.tree import Entry, join, walk
from kaosd.errors import ContentLost
from kaosd.hosted.states import alike

Kind = Literal["edited", "new", "deleted"]
_CONTENT = {stat.S_IFREG, stat.S_IFLNK}


class HostedEdit(NamedTuple):
    """One file or link of a notebook that is not as it was deployed.

    deployed: its entry in the deployed tree, None when it is new. size (bytes), modified_at: as it is in the
    notebook; None when it is deleted there.
    """

    path: bytes
    kind: Kind
    deployed: Entry | None
    size: int | None = None
    modified_at: float | None = None


class _Seen(NamedTuple):
    """What is remembered of one directory. node: of the deployed tree.

    mark: of all that is in it; 0 when a file is too young to be known by its times. same, other: numbers of files that
    hold what was deployed, and that do not. below: its directories, each with the deployed node. found: the edits
    directly in it, and those of deployed directories that are gone.
    """

    node: str | None
    mark: int
    same: array[int]
    other: array[int]
    below: tuple[tuple[bytes, str | None], ...]
    found: tuple[HostedEdit, ...]


class EditSurvey:
    """Surveys of one work directory; one at a time, in any thread.

    ignored: whether a path (and whether it is a directory) that was not deployed is left out. equal: whether the file
    at a path means the same as its entry although its bytes differ; asked with a descriptor of its directory.
    """

    def __init__(
        self,
        store: Store,
        top: Path,
        ignored: Callable[[bytes, bool], bool],
        equal: Callable[[int, bytes, Entry], bool] = lambda _parent, _path, _entry: False,
    ) -> None:
        self._store = store
        self._top = top
        self._ignored = ignored
        self._equal = equal
        self._seen: dict[bytes, _Seen] = {}
        self.read = 0  # files whose content was compared, in all

    def run(self, tree: str, stopped: Callable[[], bool] = lambda: False) -> tuple[HostedEdit, ...] | None:
        """What differs from *tree*, sorted by path; None when it was stopped, or the store has lost the tree.

        OSError when the directory itself cannot be read.
        """
        found, visited = list[HostedEdit](), set[bytes]()
        root = open_root(self._top)
        try:
            pending: list[tuple[bytes, str | None]] = [(b"", tree)]
            while pending:
                if stopped():
                    return None
                above, node = pending.pop()
                visited.add(above)
                seen = self._seen[above] = self._look(root, above, node)
                found += seen.found
                pending += seen.below
        except ContentLost:
            return None
        finally:
            os.close(root)
        self._seen = {path: seen for path, seen in self._seen.items() if path in visited}
        return tuple(sorted(found, key=lambda one: one.path))

    def _look(self, root: int, above: bytes, node: str | None) -> _Seen:
        """What there is to say of one directory, whose deployed node is only read when something has changed."""
        statuses = _list(root, above)
        mark = hash(frozenset(_number(name, status, "") for name, status in statuses.items())) or 1
        before = self._seen.get(above)
        if before is not None and (before.mark, before.node) == (mark, node):
            return before
        entries = {one.name: one for one in self._store.node(node)} if node is not None else {}
        files = {name: one for name, one in statuses.items() if stat.S_IFMT(one.st_mode) in _CONTENT}
        deployed = {name: one for name, one in entries.items() if one.kind != "d"}
        numbers = {name: _number(name, files[name], one.digest) for name, one in deployed.items() if name in files}
        same = set(before.same) if before is not None else set()
        other = set(before.other) if before is not None else set()
        holds = {
            name: number in same or (number not in other and self._holds(root, above, deployed[name]))
            for name, number in numbers.items()
        }
        edge = time.time_ns() - GRAIN
        old = {name for name, status in files.items() if status.st_ctime_ns < edge}
        return _Seen(
            node,
            mark if len(old) == len(files) else 0,
            array("q", [numbers[name] for name, is_same in holds.items() if is_same and name in old]),
            array("q", [numbers[name] for name, is_same in holds.items() if not is_same and name in old]),
            tuple(self._below(above, entries, statuses)),
            (*self._gone(above, entries, statuses), *self._differing(above, files, deployed, holds)),
        )

    def _gone(
        self, above: bytes, entries: dict[bytes, Entry], statuses: dict[bytes, os.stat_result]
    ) -> Iterator[HostedEdit]:
        """The deployed files that are not there, with those of directories that are not."""
        for name, entry in entries.items():
            mode = stat.S_IFMT(statuses[name].st_mode) if name in statuses else 0
            if entry.kind == "d" and mode != stat.S_IFDIR:
                for path, one in walk(self._store, entry.digest, join(above, name)):
                    if one.kind != "d":
                        yield HostedEdit(path, "deleted", one)
            elif entry.kind != "d" and mode not in _CONTENT:
                yield HostedEdit(join(above, name), "deleted", entry)

    def _below(
        self, above: bytes, entries: dict[bytes, Entry], statuses: dict[bytes, os.stat_result]
    ) -> Iterator[tuple[bytes, str | None]]:
        """The directories in *above* that are to be looked at, with the deployed node of each."""
        for name, status in statuses.items():
            if not stat.S_ISDIR(status.st_mode):
                continue
            entry = entries.get(name)
            if entry is not None and entry.kind == "d":
                yield join(above, name), entry.digest
            elif name not in CACHES and not self._ignored(join(above, name), True):
                yield join(above, name), None

    def _differing(
        self,
        above: bytes,
        files: dict[bytes, os.stat_result],
        deployed: dict[bytes, Entry],
        holds: dict[bytes, bool],
    ) -> Iterator[HostedEdit]:
        """The edited and new files directly in *above*; what stands in the place of a directory is new."""
        for name, status in files.items():
            path, entry = join(above, name), deployed.get(name)
            if holds.get(name) or (entry is None and self._ignored(path, False)):
                continue
            yield HostedEdit(path, "edited" if entry is not None else "new", entry, status.st_size, status.st_mtime)

    def _holds(self, root: int, above: bytes, entry: Entry) -> bool:
        """Whether the file of *entry* holds what was deployed; one that cannot be read does not."""
        self.read += 1
        try:
            with directory(root, above) as parent:
                there = state_at(parent, entry.name)
                if there is None:
                    return False
                path = join(above, entry.name)
                return alike(there, state(entry)) or (there.kind in "fx" and self._equal(parent, path, entry))
        except OSError:
            return False


def _list(root: int, above: bytes) -> dict[bytes, os.stat_result]:
    """What is in a directory, but kaosd's own temporary names; nothing when it has just gone. OSError for the top."""
    found = {}
    try:
        with directory(root, above) as descriptor:
            for name in map(os.fsencode, os.listdir(descriptor)):
                if name.startswith(TEMPORARY):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    found[name] = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except OSError:
        if not above:
            raise
    return found


def _number(name: bytes, status: os.stat_result, digest: str) -> int:
    """A number of a file that is another one when it, or *digest* of what was deployed there, is."""
    if stat.S_ISDIR(status.st_mode):
        return hash((name, status.st_ino))
    return hash((name, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, digest))
