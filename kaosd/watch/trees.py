"""The directories under watch, and what the kernel's events mean for them.

Used by the thread that reads the events and by those that walk trees; every table is guarded by one lock. A
directory is always put under watch first and read afterwards, so that whatever is made in it in between is
found by the walk or told by an event. Moves are not paired: where a directory went is walked again.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from watchdog.observers.inotify_c import InotifyConstants

from kaosd.watch.kernel import InotifyReader, WatchLimit
from kaosd.watch.polling import join
from kaosd.watch.saves import Fate, fate

if TYPE_CHECKING:
    from watchdog.observers.inotify_c import InotifyEvent

    from kaosd.watch.file_systems import PathIdentity

_ARRIVED = InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO
_LOST = InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_IGNORED
_WRITTEN = InotifyConstants.IN_CLOSE_WRITE | InotifyConstants.IN_ATTRIB


class Released(Exception):
    """The tree, or all of inotify, is no longer wanted; a walk of it ends."""


class Tree:
    """The directories below one root that are under watch.

    identity: the directory that it was made for. lost: that is no longer what the root's path leads to, or a
    part of it came to light again below a mount; a new tree must take its place. limited: watches are missing.
    """

    def __init__(self, watches: Watches, identity: PathIdentity, ignored: Callable[[bytes, bool], bool]) -> None:
        self.watches = watches
        self.identity = identity
        self.ignored = ignored
        self.lost = False
        self.limited = False
        self.released = False
        self.walk = 0
        self.directories: dict[bytes, tuple[int, int]] = {}  # path → watch descriptor, number of the walk that saw it

    def cover_all(self) -> None:
        """Walk the whole tree: watch what is not watched yet, let go of what is gone. Raises WatchLimit, Released.

        Watches that stand are left as they are, so that a walk makes no events of its own.
        """
        self.walk += 1
        self.cover(b"")
        self.watches.drop(self, lambda _, walk: walk < self.walk)

    def cover(self, start: bytes) -> None:
        """Watch the directory *start* and all below it that is not ignored. Raises WatchLimit, Released."""
        waiting = [start]
        while waiting:
            directory = waiting.pop()
            if self.watches.add(self, directory):
                waiting.extend(path for path in self._directories_in(directory) if not self.ignored(path, True))

    def uncover(self, start: bytes) -> None:
        """Let go of the directory *start* and all below it."""
        inside = start + b"/"
        self.watches.drop(self, lambda path, _: path == start or path.startswith(inside))

    def release(self) -> None:
        """Let go of everything; a walk in another thread ends."""
        self.released = True
        self.watches.drop(self, lambda *_: True)

    def _directories_in(self, directory: bytes) -> list[bytes]:
        try:
            with os.scandir(os.path.join(self.identity.place, directory)) as entries:
                return [join(directory, entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []  # gone, or unreadable: an attribute event tells when that changes


class Watches:
    """One kernel instance and whose directories its descriptors stand for. OSError when there is none to have.

    changed: called in the reading thread with what each tree reported (None: look at everything).
    overflowed: called there when the kernel dropped events.
    """

    def __init__(self, changed: Callable[[Changes], None], overflowed: Callable[[], None]) -> None:
        self._changed = changed
        self._overflowed = overflowed
        self.lock = threading.Lock()
        self._owners: dict[int, dict[Tree, bytes]] = {}  # roots may overlap
        self._finished = False
        self._kernel = InotifyReader(self._deliver)
        self._kernel.start()

    @property
    def alive(self) -> bool:
        """Whether the reading thread runs."""
        return self._kernel.is_alive()

    def finish(self) -> None:
        """Close the instance and wait for its thread."""
        with self.lock:
            self._finished = True  # its descriptor's number may soon be another's
        self._kernel.finish()

    def add(self, tree: Tree, directory: bytes) -> bool:
        """Watch *directory* for *tree*; False when it cannot be. Raises WatchLimit, Released."""
        with self.lock:
            if tree.released or self._finished:
                raise Released
            descriptor = self._kernel.add(os.path.join(tree.identity.place, directory))
            before = tree.directories.pop(directory, (None, 0))[0]
            if before is not None and before != descriptor:
                self._disown(tree, before)
            if descriptor is None:
                return False
            owners = self._owners.setdefault(descriptor, {})
            moved_from = owners.get(tree, directory)
            if moved_from != directory:
                tree.directories.pop(moved_from, None)
            owners[tree] = directory
            tree.directories[directory] = (descriptor, tree.walk)
            return True

    def drop(self, tree: Tree, unwanted: Callable[[bytes, int], bool]) -> None:
        """Let go of the directories of *tree* for whose path and walk *unwanted* is true."""
        with self.lock:
            for path, (descriptor, walk) in list(tree.directories.items()):
                if unwanted(path, walk):
                    del tree.directories[path]
                    self._disown(tree, descriptor)

    def _disown(self, tree: Tree, descriptor: int) -> None:
        owners = self._owners.get(descriptor)
        if owners is None:
            return
        owners.pop(tree, None)
        if not owners:
            del self._owners[descriptor]
            if not self._finished:
                self._kernel.remove(descriptor)

    def _deliver(self, events: list[InotifyEvent]) -> None:
        """What a batch of events means; runs in the reading thread."""
        changes: Changes = {}
        for event in events:
            if event.is_queue_overflow:
                self._overflowed()
                continue
            with self.lock:
                owners = self._owners.pop(event.wd, {}) if event.is_ignored else self._owners.get(event.wd, {})
                found = list(owners.items())
                if event.is_ignored:
                    for tree, directory in found:
                        tree.directories.pop(directory, None)
            for tree, directory in found:
                _interpret(tree, directory, event, changes)
        if changes:
            self._changed(changes)


Changes = dict[Tree, dict[bytes, Fate] | None]  # by path; None: anything may have changed


def _interpret(tree: Tree, directory: bytes, event: InotifyEvent, changes: Changes) -> None:
    """Add what one event says about one tree to *changes*, and watch what it brought."""
    if not event.name:  # about the watched directory itself: of all but the root, its parent tells
        if event.mask & InotifyConstants.IN_UNMOUNT or (not directory and event.mask & _LOST):
            tree.lost = True
            changes[tree] = None
        elif not directory:
            changes[tree] = None
        return
    path = join(directory, event.name)
    is_directory = bool(event.mask & InotifyConstants.IN_ISDIR)
    paths = changes.setdefault(tree, {})
    before = paths.get(path) if paths is not None else None
    if (before is None or is_directory) and tree.ignored(path, is_directory):
        return
    if is_directory:
        _follow(tree, path, event)
    elif event.mask & _WRITTEN and _has_other_names(os.path.join(tree.identity.place, path)):
        changes[tree] = paths = None
    if paths is not None:
        paths[path] = before.then(fate(event.mask)) if before else fate(event.mask)


def _follow(tree: Tree, path: bytes, event: InotifyEvent) -> None:
    """Keep the watches in step with a directory that came, left or changed its permissions."""
    left = event.mask & InotifyConstants.IN_MOVED_FROM
    opened = event.mask & InotifyConstants.IN_ATTRIB and path not in tree.directories
    try:
        if left:
            tree.uncover(path)
        if left or opened or event.mask & _ARRIVED:  # even if it left: two directories may have changed places
            tree.cover(path)
    except WatchLimit:
        tree.limited = True
    except Released:
        structlog.get_logger("kaosd.watch").debug("watch_released_while_reading", place=os.fsdecode(path))


def _has_other_names(path: bytes) -> bool:
    """Whether a file has hard links: the event names only the one that was written through."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink > 1
