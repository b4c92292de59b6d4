"""What is on disk now: of everything, or of a few paths, set against what was known before."""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Collection, Mapping

from kaosd.bundle.ignore import Matcher
from kaosd.bundle.index import CachedDirectory
from kaosd.bundle.listing import describe, header_of, inode_of, kind_of, list_directory, pack, records
from kaosd.bundle.read_file import unreadable
from kaosd.bundle.tree import join, split
from kaosd.errors import BundleError

DEEPEST = 200  # directories; nothing that people make is deeper, and recursion elsewhere is bounded by it
_VANISHED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class Survey:
    """One survey of the bundle at *base* below *root*, set against *known* and *refused* of the last one.

    Paths are relative to root.

    listings: the new listing of each directory that was looked at. forced: names by directory that must be read
    even if their listing says that nothing changed. gone: known directories that are no more. refused: reasons
    by name, for each directory where they may have changed. BundleError when base itself cannot be listed.
    """

    def __init__(
        self,
        root: bytes,
        base: bytes,
        matcher: Matcher,
        known: Mapping[bytes, CachedDirectory],
        refused: Mapping[bytes, Mapping[bytes, str]],
    ) -> None:
        self._root = root
        self._base = base
        self._matcher = matcher
        self._known = known
        self._refused_before = refused
        self._rows: dict[bytes, dict[bytes, bytes]] = {}  # directories that are being edited, taken apart
        self.listings: dict[bytes, bytes] = {}
        self.forced: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self.gone: set[bytes] = set()
        self.refused: dict[bytes, dict[bytes, str]] = {}

    def everything(self) -> None:
        """Look at every directory."""
        self._walk(self._base, os.stat(self._absolute(self._base)).st_ino)
        self.gone = set(self._known) - set(self.listings)

    def some(self, dirty: Collection[bytes]) -> None:
        """Look at *dirty* only: a file, or a directory's own listing and the directories that are new in it."""
        names: defaultdict[bytes, set[bytes]] = defaultdict(set)
        whole: set[bytes] = set()
        for path in sorted({path.strip(b"/") for path in dirty}):
            if path == self._base or (path in self._known and self._stands(path)):
                whole.add(path)
            elif self._below_base(path):
                directory, name = self._nearest(path)
                names[directory].add(name)
        for directory in sorted(whole | set(names)):  # parents first: they may drop what is below
            if directory in self.gone or directory in self.listings:
                continue
            if directory in whole:
                self._relist(directory)
            for name in names[directory]:
                self._look_at(directory, name)
        for directory, rows in self._rows.items():
            if directory not in self.gone:
                self.listings[directory] = pack(inode_of(self._known[directory].listing), rows)

    def reasons(self, directory: bytes) -> dict[bytes, str]:
        """What is refused in *directory*, to be added to or taken from."""
        if directory not in self.refused:
            self.refused[directory] = dict(self._refused_before.get(directory, {}))
        return self.refused[directory]

    def _below_base(self, path: bytes) -> bool:
        return path != b"" and (not self._base or path.startswith(self._base + b"/"))

    def _nearest(self, path: bytes) -> tuple[bytes, bytes]:
        """The nearest directory above *path* that is known and still the same, and the name to look at in it."""
        directory, name = split(path)
        while directory != self._base and not (directory in self._known and self._stands(directory)):
            directory, name = split(directory)
        return directory, name

    def _stands(self, directory: bytes) -> bool:
        try:
            status = os.lstat(self._absolute(directory))
        except OSError:
            return False
        return stat.S_ISDIR(status.st_mode) and status.st_ino == inode_of(self._known[directory].listing)

    def _relist(self, directory: bytes) -> None:
        known = self._known[directory]
        inode = inode_of(known.listing)
        try:
            listed = list_directory(self._absolute(directory), directory, inode, self._matcher)
        except OSError as error:
            self._failed(directory, error)
            return
        before, self._rows[directory] = records(known.listing), records(listed.listing)
        self.refused[directory] = dict(listed.refused)
        inodes = dict(listed.directories)
        for name, header in before.items():
            if kind_of(header) == b"d" and self._rows[directory].get(name) != header:
                self._drop(join(directory, name))
        for name, inode in inodes.items():
            path = join(directory, name)
            if path not in self._known or inode != inode_of(self._known[path].listing):
                self._drop(path)
                self._walk(path, inode)

    def _look_at(self, directory: bytes, name: bytes) -> None:
        """Look at one name in a directory that is known."""
        if directory not in self._rows:
            self._rows[directory] = records(self._known[directory].listing)
        rows = self._rows[directory]
        path = join(directory, name)
        rows.pop(name, None)
        self.reasons(directory).pop(name, None)
        self._drop(path)
        try:
            status = os.lstat(self._absolute(path))
        except OSError as error:
            if error.errno not in _VANISHED:
                self.reasons(directory)[name] = unreadable(path, error)
            return  # not there: that is the news
        is_dir = stat.S_ISDIR(status.st_mode)
        if self._matcher.entry_ignored(directory, name, is_dir=is_dir):
            return
        header = header_of(name, status)
        if header is None:
            self.reasons(directory)[name] = describe(status.st_mode)
            return
        rows[name] = header
        if is_dir:
            self._walk(path, status.st_ino)
        else:
            self.forced[directory].add(name)

    def _walk(self, top: bytes, inode: int) -> None:
        """List *top* and all below it as if nothing were known."""
        pending = [(top, inode)]
        while pending:
            path, inode = pending.pop()
            if path.count(b"/") >= DEEPEST:
                self._refuse(path, f"lies more than {DEEPEST} directories deep")
                continue
            try:
                listed = list_directory(self._absolute(path), path, inode, self._matcher)
            except OSError as error:
                self._failed(path, error)
                continue
            self.gone.discard(path)
            self.listings[path] = listed.listing
            self.refused[path] = dict(listed.refused)
            pending.extend((join(path, name), each) for name, each in listed.directories)

    def _drop(self, path: bytes) -> None:
        """*path* is no longer the directory it was, if it was one: forget it and all below it."""
        if path in self._known and path not in self.gone:
            self.gone.add(path)
            for name, header in records(self._known[path].listing).items():
                if kind_of(header) == b"d":
                    self._drop(join(path, name))

    def _failed(self, directory: bytes, error: OSError) -> None:
        if directory == self._base:
            shown = os.fsdecode(self._absolute(directory))
            raise BundleError(f"{shown} cannot be listed: {error.strerror}", hint="make it readable") from error
        if error.errno in _VANISHED:
            self._drop(directory)
        else:
            self._refuse(directory, unreadable(directory, error))

    def _refuse(self, directory: bytes, reason: str) -> None:
        self._drop(directory)
        above, name = split(directory)
        self.reasons(above)[name] = reason

    def _absolute(self, path: bytes) -> bytes:
        return self._root + b"/" + path if path else self._root
