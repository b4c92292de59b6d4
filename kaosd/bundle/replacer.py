"""Changing a work directory under the hands of a person: each name in one step, and what leaves it is examined.

New content is made complete under a temporary name, then swapped with what is there; what comes out of the swap is
thrown away only if it is ours. A kill at any instant leaves temporary names, which `take_over` judges the same way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from kaosd.bundle import caches
from kaosd.bundle.copying import read_all, write_all
from kaosd.bundle.entry_state import mode_at, state_at
from kaosd.bundle.ignore import TEMPORARY
from kaosd.bundle.openat import opened
from kaosd.bundle.store import Store
from kaosd.bundle.tree import Entry, digest_of, join, split
from kaosd.bundle.writing import create
from kaosd.hosted import bytecode
from kaosd.hosted.renaming import ASIDE, exchange, place
from kaosd.hosted.states import State

_RUNNING = TEMPORARY + b"syncing"  # stands in the work directory from begin to end, and names what was saved where
_PART = TEMPORARY + b"part"  # perhaps incomplete, and never a person's
_SWAP = TEMPORARY + b"swap-"  # complete, and perhaps a person's; a digest of the name it belongs to follows
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class SavedCopy(NamedTuple):
    """A hosted edit that gave way: its path, and the file (link, directory) where it is now."""

    path: bytes
    file: Path


class Replacer:
    """A work directory during one sync. root: its descriptor. recovered: where hosted edits are saved.

    ours: whether this state of a path can be lost without harm. saved: what was put below recovered.
    """

    def __init__(self, store: Store, root: int, recovered: Path, ours: Callable[[bytes, State], bool]) -> None:
        self._store = store
        self._root = root
        self._recovered = recovered
        self._ours = ours
        self._fresh: Path | None = None
        self._opened: tuple[bytes, int] | None = None
        self._replaced: list[bytes] = []  # names in the directory that is open
        self.saved: list[SavedCopy] = []

    @property
    def interrupted(self) -> bool:
        """Whether an earlier sync did not come to its end."""
        return mode_at(self._root, _RUNNING) is not None

    def begin(self) -> None:
        """Leave a mark, so that the next sync knows when this one is killed."""
        self._mark(b"")

    def end(self) -> None:
        """Take the mark away; everything is done."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_RUNNING, dir_fd=self._root)

    def close(self) -> None:
        """Close what is open, when Python has forgotten what was replaced in it."""
        if self._opened is not None:
            bytecode.forget(self._opened[1], *self._replaced)
            os.close(self._opened[1])
            self._opened = None
        self._replaced.clear()

    def replaced(self, name: bytes) -> None:
        """A file of the directory that `find` or `reach` came to last is another one than Python may have compiled."""
        self._replaced.append(name)

    def find(self, path: bytes) -> int | None:
        """A descriptor of the directory *path*, valid until the next call; None when there is no directory."""
        try:
            return self._walk_to(path, make=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def reach(self, path: bytes) -> int:
        """Like `find`, but what is absent is made, and what stands in the place of a directory saved and replaced."""
        return self._walk_to(path, make=True)

    def write(self, parent: int, path: bytes, entry: Entry, *, free: bool | None = None) -> None:
        """Put *entry* at *path*, whose directory is *parent*, in the place of whatever is there.

        free: whether nothing was there a moment ago, if that is known.
        FileNotFoundError or FileExistsError when the host was quicker; then nothing has changed.
        """
        name = split(path)[1]
        free = mode_at(parent, name) is None if free is None else free
        if free and entry.kind == "d":
            os.mkdir(name, 0o755, dir_fd=parent)
            return
        self._make(parent, entry)
        if free:
            try:
                place(parent, _PART, name)
            except FileExistsError:
                os.unlink(_PART, dir_fd=parent)
                raise
            self.replaced(name)
            return
        swap = _swap_name(name)
        os.rename(_PART, swap, src_dir_fd=parent, dst_dir_fd=parent)
        try:
            exchange(parent, swap, name)
        except FileNotFoundError:
            _throw_away(parent, swap)
            raise
        self.replaced(name)
        self._examine(parent, swap, path)

    def delete(self, parent: int, path: bytes, kind: str) -> bool:
        """Remove what is at *path*: a directory only if nothing but caches is in it. Whether it went."""
        name = split(path)[1]
        if kind == "d":
            try:
                caches.remove(parent, name)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                    raise
                return False
            return True
        swap = _swap_name(name)
        os.rename(name, swap, src_dir_fd=parent, dst_dir_fd=parent)
        self._examine(parent, swap, path)
        return True

    def take_over(self, names_in: Callable[[bytes], Iterable[bytes]]) -> None:
        """Report what an interrupted sync has saved, and judge the temporary names that it left.

        names_in: what one of ours may be called in a directory.
        """
        with opened(_RUNNING, os.O_RDONLY, dir_fd=self._root) as descriptor:
            fresh = read_all(descriptor, os.fstat(descriptor).st_size).split(b"\0")
        for directory in fresh:
            self.saved.extend(SavedCopy(path, file) for path, file in _leaves(directory) if directory)
        for top, directories, files, descriptor in os.fwalk(b".", dir_fd=self._root):
            above = top[2:]  # "./a/b"
            ours = [name for name in (*directories, *files) if name.startswith((_PART, _SWAP))]
            directories[:] = [name for name in directories if name not in ours]
            known = {_swap_name(name): name for name in names_in(above)} if ours else {}
            for temporary in sorted(ours):
                self._clear_one(descriptor, above, temporary, known)

    def _make(self, parent: int, entry: Entry) -> None:
        """Make *entry* complete under a temporary name, which a killed sync may have left."""
        for last in (False, True):
            try:
                if entry.kind == "d":
                    os.mkdir(_PART, 0o755, dir_fd=parent)
                else:
                    create(self._store, entry, _PART, parent)
            except FileExistsError:
                if last:
                    raise
                _throw_away(parent, _PART)
            else:
                return

    def _mark(self, saved: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with opened(_RUNNING, flags, dir_fd=self._root) as descriptor:
            write_all(descriptor, saved)

    def _clear_one(self, parent: int, above: bytes, temporary: bytes, known: dict[bytes, bytes]) -> None:
        if temporary.startswith(_PART):
            _throw_away(parent, temporary)
            return
        name = known.get(temporary.removesuffix(ASIDE), temporary)
        if temporary.endswith(ASIDE) and name != temporary and mode_at(parent, name) is None:
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)  # it was never meant to be absent
        else:
            self._examine(parent, temporary, join(above, name))

    def _walk_to(self, path: bytes, *, make: bool) -> int:
        if self._opened is not None and self._opened[0] == path and os.fstat(self._opened[1]).st_nlink:
            return self._opened[1]  # and it has not been removed meanwhile
        self.close()
        descriptor = os.dup(self._root)
        reached = b""
        for name in path.split(b"/") if path else ():
            reached = join(reached, name)
            above = descriptor
            try:
                descriptor = self._enter(above, name, reached, make=make)
            finally:
                os.close(above)
        self._opened = (path, descriptor)
        return descriptor

    def _enter(self, above: int, name: bytes, path: bytes, *, make: bool) -> int:
        """Open the directory *name*; NotADirectoryError or FileNotFoundError when there is none and *make* is not."""
        for _ in range(10):
            try:
                return os.open(name, _DIRECTORY, dir_fd=above)
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                    raise
                if not make:
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from error
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                self.write(above, path, Entry(name, "d", "", 0))
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)

    def _examine(self, parent: int, temporary: bytes, path: bytes) -> None:
        """Throw away what left *path* if it is ours, else save it."""
        left = state_at(parent, temporary)
        if left is None:
            return
        if left.kind == "d":
            with contextlib.suppress(OSError):  # not empty: then it is saved
                caches.remove(parent, temporary)
                return
        elif self._ours(path, left):
            os.unlink(temporary, dir_fd=parent)
            return
        self._save(parent, temporary, path)

    def _save(self, parent: int, temporary: bytes, path: bytes) -> None:
        while True:
            if self._fresh is None:
                self._fresh = _fresh_directory(self._recovered)
                self._mark(os.fsencode(self._fresh) + b"\0")
            target = self._fresh / os.fsdecode(path)
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                target.parent.mkdir(parents=True, exist_ok=True)
                if not os.path.lexists(target):
                    break
            self._fresh = None  # that place is taken by something saved before: begin another directory
        os.rename(temporary, target, src_dir_fd=parent)
        self.saved.append(SavedCopy(path, target))


def _throw_away(parent: int, temporary: bytes) -> None:
    """Remove a name that can only be ours, if it is there: a file, a link or an empty directory."""
    mode = mode_at(parent, temporary)
    if mode is not None and stat.S_ISDIR(mode):
        os.rmdir(temporary, dir_fd=parent)
    elif mode is not None:
        os.unlink(temporary, dir_fd=parent)


def _leaves(top: bytes) -> Iterator[tuple[bytes, Path]]:
    """What was saved below *top*: files and links but for caches, and directories that had nothing in them."""
    for directory, names, files in os.walk(top):
        names[:] = [name for name in names if name not in caches.CACHES]
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        for name in (*files, *links):
            full = os.path.join(directory, name)
            yield os.path.relpath(full, top), Path(os.fsdecode(full))
        if not names and not files and directory != top:
            yield os.path.relpath(directory, top), Path(os.fsdecode(directory))


def _swap_name(name: bytes) -> bytes:
    return _SWAP + digest_of(name)[:16].encode()


def _fresh_directory(recovered: Path) -> Path:
    stamp = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    number = 1
    while True:
        fresh = recovered / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            fresh.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return fresh
