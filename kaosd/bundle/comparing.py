"""Comparing a root with its stat cache, for what no event tells: writes through maps, other hard links, later mounts.

It has to cost next to nothing, since it is done all the time. So of each directory a number is remembered that changes
when anything in it does, and only where that is another one the directory is held against the stat cache.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from kaosd.bundle.copying import hash_file
from kaosd.bundle.ignore import Matcher
from kaosd.bundle.index import CachedDirectory
from kaosd.bundle.listing import inode_of, list_directory, records, unsure
from kaosd.bundle.read_file import GRAIN
from kaosd.bundle.tree import Entry, join, split
from kaosd.bundle.writers import Writers

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ExpectedEntry(NamedTuple):
    """What the last scan of *root* found, to compare with. entry: the entry of a path in the version, None without any.

    refused: names by directory that are not in the version; waiting: paths that are not yet. Neither is compared again
    until it changes.
    """

    root: bytes
    known: Mapping[bytes, CachedDirectory]
    refused: Mapping[bytes, Mapping[bytes, str]]
    waiting: Collection[bytes]
    matcher: Matcher
    entry: Callable[[bytes], Entry | None]


class Comparison:
    """The comparison of one root. Used by one thread at a time."""

    def __init__(self, writers: Writers) -> None:
        self._writers = writers
        # by directory, as of the last time that it was found as expected: its mark, and what was expected
        self._marks: dict[bytes, tuple[int, bytes]] = {}
        self._sure: dict[bytes, bytes] = {}  # records by path of files that were looked at once more as they are
        self._left: list[bytes] = []  # directories of a comparison that was stopped

    @property
    def complete(self) -> bool:
        """Whether the last run was not stopped."""
        return not self._left

    def forget(self) -> None:
        """What is known is no longer what it was: compare everything with it."""
        self._marks.clear()
        self._sure.clear()
        self._left.clear()

    def run(self, expected: ExpectedEntry, stopped: Callable[[], bool]) -> set[bytes]:
        """The paths that differ; of those directories that it gets to before it is stopped. The next run continues."""
        if not self._left:
            self._left = list(expected.known)
            self._marks = {path: mark for path, mark in self._marks.items() if path in expected.known}
            self._sure = {path: header for path, header in self._sure.items() if split(path)[0] in expected.known}
        kept = [path for path in self._writers.kept_open() if path not in expected.waiting]
        found = {path for path in kept if not self._still(expected, path)}
        while self._left and not stopped():
            directory = self._left.pop()
            if directory in expected.known:
                found |= self._differing(expected, directory)
        return found

    def _differing(self, expected: ExpectedEntry, directory: bytes) -> set[bytes]:
        absolute = expected.root + b"/" + directory if directory else expected.root
        now, known = mark(absolute), expected.known[directory].listing
        if now is not None and self._marks.get(directory) == (now, known):
            return set()
        try:
            listed = list_directory(absolute, directory, inode_of(known), expected.matcher).listing
        except OSError:
            return {directory}
        found = self._paths(expected, directory, records(known), records(listed)) if listed != known else set()
        if now is not None and not found:
            self._marks[directory] = now, known
        return found

    def _paths(
        self, expected: ExpectedEntry, directory: bytes, known: dict[bytes, bytes], listed: dict[bytes, bytes]
    ) -> set[bytes]:
        """The paths in *directory* whose records differ, but for those of which it is known why."""
        found = set()
        refused = expected.refused.get(directory, {})
        for name in known.keys() | listed.keys():
            path, before, now = join(directory, name), known.get(name), listed.get(name)
            if before == now or path in expected.waiting:
                continue
            if now is not None and self._sure.get(path) == now:
                continue
            if now is not None and before == unsure(now):  # left out, or read in the moment in which it was written
                earlier, self._sure[path] = self._sure.get(path), now
                if earlier is None if name in refused else self._still(expected, path):
                    continue
            found.add(path)
        return found

    def _still(self, expected: ExpectedEntry, path: bytes) -> bool:
        """Whether the file at *path* holds what is in the version."""
        began, entry = self._writers.now(), expected.entry(path)
        try:
            descriptor = os.open(expected.root + b"/" + path, _READ)
        except OSError:
            self._writers.gone(path)
            return False
        try:
            status = os.fstat(descriptor)
            self._writers.read_again(path, descriptor, began)
            if entry is None or entry.kind not in {"f", "x"} or not stat.S_ISREG(status.st_mode):
                return False
            return time.time_ns() - status.st_ctime_ns > GRAIN and hash_file(descriptor) == entry.digest
        except OSError:
            return False
        finally:
            os.close(descriptor)


def mark(directory: bytes) -> int | None:
    """A number that is another one when anything directly in *directory* has changed; None when that is not known."""
    total = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                total += hash((entry.name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    except OSError:
        return None
    return total
