"""Attaching data: the link a notebook reads through moves from one complete directory to another in one step.

Two directories take turns below `home`. The one behind the link is never changed; the other is brought to the new
tree, files by rename and never in place, and then the link moves. A marker says which tree a directory holds; it is
gone while the directory changes, so that a killed attach is done again. Nothing of the store is hard-linked here:
notebooks can write where their data is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path

from kaosd.bundle.beneath import directory
from kaosd.bundle.failing import store_errors
from kaosd.bundle.ignore import TEMPORARY
from kaosd.bundle.store import Store
from kaosd.bundle.tree import Entry, diff, lookup, split
from kaosd.bundle.writing import MODES, create
from kaosd.errors import ContentLost

_SIDES = ("a", "b")
_PART = TEMPORARY + b"part"


def attach(store: Store, home: Path, link: Path, tree: str) -> None:
    """Make *link* lead to a directory below *home* that holds *tree*. StoreError leaves the old one attached."""
    with store_errors("write to", home):
        home.mkdir(parents=True, exist_ok=True)
        front = next((side for side in _SIDES if _leads_to(link, home / side)), None)
        if front is not None and _marked(home, front) == tree:
            return
        back = _SIDES[1] if front == _SIDES[0] else _SIDES[0]
        held = _marked(home, back)
        _marker(home, back).unlink(missing_ok=True)
        shown = (home / front, _marked(home, front)) if front is not None else None
        try:
            _bring(store, home / back, held, tree, shown)
        except OSError as error:
            if held is None or error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise
            _bring(store, home / back, None, tree, shown)  # a notebook has changed it: make it anew
        except ContentLost:
            _bring(store, home / back, None, tree, None)  # what it held cannot be read any more, but *tree* perhaps
        _mark(home, back, tree)
        attach_link(link, home / back)


def attach_link(link: Path, target: Path) -> None:
    """Make *link* lead to *target*, in one step; for data that is used where it is."""
    with store_errors("write to", link.parent):
        temporary = link.with_name(os.fsdecode(TEMPORARY) + link.name)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)


def _bring(store: Store, side: Path, held: str | None, tree: str, front: tuple[Path, str | None] | None) -> None:
    """Bring the directory *side* from tree *held* (None: whatever is there goes) to *tree*."""
    if held is None:
        _clear(side)
    root = _open(side)
    other = _open(front[0]) if front is not None and front[1] is not None else None
    try:
        changes = diff(store, held, tree)
        for change in reversed(changes):
            if change.old is not None and (change.new is None or "d" in (change.old.kind, change.new.kind)):
                _remove(root, change.path)
        for change in changes:
            if change.new is not None:
                shared = front is not None and lookup(store, front[1], change.path) == change.new
                _put(store, root, split(change.path)[0], change.new, other if shared else None)
    finally:
        os.close(root)
        if other is not None:
            os.close(other)


def _clear(side: Path) -> None:
    if side.is_symlink() or side.is_file():
        side.unlink()
    elif side.exists():
        shutil.rmtree(side)
    side.mkdir()


def _open(side: Path) -> int:
    """A descriptor of a side, which is never reached through a link."""
    return os.open(side, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _remove(root: int, path: bytes) -> None:
    above, name = split(path)
    with directory(root, above) as parent:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=parent)  # with what a notebook may have left in it
        else:
            os.unlink(name, dir_fd=parent)


def _put(store: Store, root: int, above: bytes, entry: Entry, other: int | None) -> None:
    """Make one name in the directory *above* what it shall be. other: the side that has the same file, if one has."""
    with directory(root, above) as parent:
        if entry.kind == "d":
            os.mkdir(entry.name, 0o755, dir_fd=parent)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_PART, dir_fd=parent)
        if other is None or not _shared(other, above, entry, parent):
            create(store, entry, _PART, parent, writable=False)
        os.rename(_PART, entry.name, src_dir_fd=parent, dst_dir_fd=parent)


def _shared(other: int, above: bytes, entry: Entry, parent: int) -> bool:
    """Hard-link a file of the other side if nobody has touched it."""
    try:
        with directory(other, above) as source:
            status = os.stat(entry.name, dir_fd=source, follow_symlinks=False)
            untouched = stat.S_IMODE(status.st_mode) == MODES.get(entry.kind, 0) & 0o555
            if not (stat.S_ISREG(status.st_mode) and untouched and status.st_size == entry.size):
                return False
            os.link(entry.name, _PART, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
    except OSError:
        return False
    return True


def _leads_to(link: Path, side: Path) -> bool:
    try:
        return os.readlink(link) == str(side)
    except OSError:
        return False


def _marker(home: Path, side: str) -> Path:
    return home / f"{side}.tree"


def _marked(home: Path, side: str) -> str | None:
    """The tree that a side is known to hold; None when it is not, or when the machine has been started since."""
    try:
        tree, boot = _marker(home, side).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return tree if boot == _boot() and (home / side).is_dir() else None


def _mark(home: Path, side: str, tree: str) -> None:
    temporary = home / f"{side}.tree.new"
    temporary.write_text(f"{tree} {_boot()}\n")
    temporary.replace(_marker(home, side))


def _boot() -> str:
    """What this start of the machine is called.

    The files of a side are not synced one by one; after a power cut a side is made anew instead of trusted.
    """
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
