"""Attaching data: the link a notebook reads through moves from one complete directory to another in one step.

Each version is a directory of its own below `home`, and is not written to once the link has led to it: a program that
resolved the link, changed into it or has a file open keeps seeing one whole version. Unchanged files are hard links
between versions. Nothing of the store is hard-linked here: notebooks can write where their data is.

A marker beside a directory says which tree it holds, and is there only while that is so: a killed attach is done
again. Versions that were replaced stay for a while (`_kept`) and as long as a process has one in hand. One that goes
becomes the spare, under a name that no process has seen, and is brought to the next version by what differs: so a
save costs what it changes, and not the size of the tree.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from kaosd.bundle.ignore import TEMPORARY
from kaosd.bundle.openat import directory
from kaosd.bundle.store import Store
from kaosd.bundle.store_errors import store_errors
from kaosd.bundle.tree import Entry, diff, find, split
from kaosd.bundle.users import in_use
from kaosd.bundle.writing import MODES, create
from kaosd.errors import ContentLost

_PART = TEMPORARY + b"part"
_SPARE = "spare"
_LEAVING = "leaving-"
RETIRED, RETIRED_FILES = 8, 100_000  # versions that were replaced, and files in all of them; one is kept in any case
TOGETHER = 8  # of small ones so many go at a time
OWN_BYTES = 1 << 30  # what replaced versions may hold that the attached one does not; the latest in any case
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
DIGEST = 32  # bytes
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Marked(NamedTuple):
    """A complete version. since: when it was attached or replaced last, in ns. files: in it, links too.

    at: when it was completed; nothing of it is younger. own: bytes that the version after it does not hold; negative
    when the store could not tell.
    """

    since: int
    name: str
    tree: str
    files: int
    at: int
    own: int = 0


def attach(store: Store, home: Path, link: Path, tree: str) -> None:
    """Make *link* lead to a directory below *home* that holds *tree*. StoreError leaves the old one attached."""
    with store_errors("write to", home):
        home.mkdir(parents=True, exist_ok=True)
        known = {one.name: one for one in _marked(home)}
        live = known.get(_led_to(link, home) or "")
        if live is None or live.tree != tree:
            again = next((one for one in known.values() if one.tree == tree and one.name != _SPARE), None)
            name = again.name if again is not None else _new(store, home, tree, known, live)
            if again is not None:
                os.utime(_marker(home, name))  # the latest one now
            attach_link(link, home / name)
            if live is not None:
                _mark(home, live._replace(own=_own_bytes(store, live.tree, tree)))
        _tidy(home, _led_to(link, home) or "")


def attached(home: Path, link: Path) -> str | None:
    """The tree that *link* shows; None when it leads to nothing that is known to be whole. StoreError."""
    with store_errors("read", home):
        name = _led_to(link, home)
        return next((one.tree for one in _marked(home) if one.name == name), None)


def attach_link(link: Path, target: Path) -> None:
    """Make *link* lead to *target*, in one step; for data that is used where it is."""
    with store_errors("write to", link.parent):
        temporary = link.with_name(os.fsdecode(TEMPORARY) + link.name)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)


# -- making a version --------------------------------------------------------------------------------------


def _new(store: Store, home: Path, tree: str, known: dict[str, Marked], live: Marked | None) -> str:
    """Make a directory that holds *tree*, and return its name."""
    numbers = [int(name) for name in os.listdir(home) if name.isdecimal()]
    name = str(max(numbers, default=0) + 1)
    spare = known.get(_SPARE)
    if spare is not None:
        _marker(home, _SPARE).unlink()
        (home / _SPARE).rename(home / name)
        try:
            _bring(store, home / name, spare.tree, tree, _Like(home, live, store))
        except ContentLost:
            spare = None  # what it held cannot be read any more, but *tree* perhaps
        except OSError as error:
            if error.errno in _FULL:
                raise
            spare = None  # a notebook has changed it
    if spare is None:
        _fresh(store, home / name, tree, _Like(home, live, store))
    _mark(home, Marked(0, name, tree, _count(store, tree, live), time.time_ns()))
    return name


class _Like:
    """The version that is attached: where files of the same content can be had by a hard link."""

    def __init__(self, home: Path, live: Marked | None, store: Store) -> None:
        self.top = home / live.name if live is not None else None
        self.tree = live.tree if live is not None else None
        self._at = live.at if live is not None else 0
        self._store = store

    def node(self, digest: str | None) -> tuple[Entry, ...]:
        """Its directory *digest*; nothing when the store has lost it."""
        with contextlib.suppress(ContentLost):
            return self._store.node(digest) if digest is not None else ()
        return ()

    def link(self, entry: Entry, source: int, name: bytes, parent: int) -> bool:
        """Link its file from the directory *source* as *name* into *parent*, if it is untouched."""
        try:
            status = os.stat(entry.name, dir_fd=source, follow_symlinks=False)
            mode = stat.S_IMODE(status.st_mode) == MODES.get(entry.kind, 0) & 0o555
            untouched = mode and status.st_size == entry.size and status.st_mtime_ns <= self._at
            if not (stat.S_ISREG(status.st_mode) and untouched):
                return False
            os.link(entry.name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except OSError:  # too many links, for example
            return False
        return True


def _fresh(store: Store, target: Path, tree: str, like: _Like) -> None:
    """Make *target* hold *tree*, whatever was there."""
    _remove_all(target)
    target.mkdir()
    root, other = _open(target), _open(like.top) if like.top is not None else -1
    try:
        _fill(store, root, tree, (other, like.tree), like)
    finally:
        for descriptor in (root, other):
            if descriptor >= 0:
                os.close(descriptor)


def _fill(store: Store, parent: int, node: str, beside: tuple[int, str | None], like: _Like) -> None:
    """Make what *node* holds in the empty directory *parent*. beside: the same directory of *like*, -1 for none."""
    other, tree = beside
    there = {entry.name: entry for entry in like.node(tree)} if other >= 0 else {}
    for entry in store.node(node):
        same = there.get(entry.name)
        if entry.kind != "d":
            if same != entry or not like.link(entry, other, entry.name, parent):
                create(store, entry, entry.name, parent, writable=False)
            continue
        os.mkdir(entry.name, 0o755, dir_fd=parent)
        inner, outer = os.open(entry.name, _DIRECTORY, dir_fd=parent), -1
        try:
            if same is not None and same.kind == "d":
                with contextlib.suppress(OSError):
                    outer = os.open(entry.name, _DIRECTORY, dir_fd=other)
            _fill(store, inner, entry.digest, (outer, same.digest if same is not None else None), like)
        finally:
            os.close(inner)
            if outer >= 0:
                os.close(outer)


def _bring(store: Store, side: Path, held: str, tree: str, like: _Like) -> None:
    """Bring the directory *side* from tree *held* to *tree*."""
    root, other = _open(side), _open(like.top) if like.top is not None else -1
    try:
        changes = diff(store, held, tree)
        for change in reversed(changes):
            if change.old is not None and (change.new is None or "d" in (change.old.kind, change.new.kind)):
                _remove(root, change.path)
        for change in changes:
            if change.new is not None:
                _put(store, root, split(change.path)[0], change.new, (other, like))
    finally:
        os.close(root)
        if other >= 0:
            os.close(other)


def _put(store: Store, root: int, above: bytes, entry: Entry, beside: tuple[int, _Like]) -> None:
    """Make one name in the directory *above* what it shall be."""
    other, like = beside
    with directory(root, above) as parent:
        if entry.kind == "d":
            os.mkdir(entry.name, 0o755, dir_fd=parent)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_PART, dir_fd=parent)
        linked = False
        if other >= 0 and _same_there(like, above, entry):
            with contextlib.suppress(OSError), directory(other, above) as source:
                linked = like.link(entry, source, _PART, parent)
        if not linked:
            create(store, entry, _PART, parent, writable=False)
        os.rename(_PART, entry.name, src_dir_fd=parent, dst_dir_fd=parent)


def _same_there(like: _Like, above: bytes, entry: Entry) -> bool:
    digest = like.tree
    for name in above.split(b"/") if above else ():
        within = find(like.node(digest), name)
        digest = within.digest if within is not None and within.kind == "d" else None
    return find(like.node(digest), entry.name) == entry


def _count(store: Store, tree: str, live: Marked | None) -> int:
    """How many files *tree* has: by what differs from the attached version, whose number is known."""
    with contextlib.suppress(ContentLost):
        changes = diff(store, live.tree if live is not None else None, tree)
        came = sum(change.new is not None and change.new.kind != "d" for change in changes)
        went = sum(change.old is not None and change.old.kind != "d" for change in changes)
        return (live.files if live is not None else 0) + came - went
    return 0


def _remove(root: int, path: bytes) -> None:
    above, name = split(path)
    with directory(root, above) as parent:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=parent)  # with what a notebook may have left in it
        else:
            os.unlink(name, dir_fd=parent)


def _open(side: Path) -> int:
    """A descriptor of a version, which is never reached through a link."""
    return os.open(side, _DIRECTORY)


# -- letting go of versions --------------------------------------------------------------------------------


def _tidy(home: Path, live: str) -> None:
    """Take away what is not a version, and versions that are not kept and that no process has in hand."""
    known = {one.name: one for one in _marked(home)}
    retired = sorted((one for one in known.values() if one.name not in {live, _SPARE}), reverse=True)
    kept = {live, _SPARE} & known.keys() | {one.name for one in _kept(retired)}
    going = sorted((name for name in _directories(home) if name not in kept), key=lambda name: known.get(name, _NONE))
    if _may_wait([known.get(name) for name in going]):
        return
    used = in_use([os.fsencode(home / name) for name in going])
    for name in going:
        if os.fsencode(home / name) not in used:
            with contextlib.suppress(OSError):  # a notebook writes there just now: it goes with the next version
                _let_go(home, known.get(name), name)


def _kept(retired: Iterable[Marked]) -> list[Marked]:
    """Those of the replaced versions, the latest first, that stay although no process has them in hand."""
    found: list[Marked] = []
    files = size = 0
    for one in retired:
        files += one.files
        size += max(one.own, 0)
        if found and (len(found) == RETIRED or files > RETIRED_FILES or size > OWN_BYTES):
            break
        found.append(one)
    return found


def _may_wait(going: list[Marked | None]) -> bool:
    """Whether versions that are to go are few and small: looking at all processes costs more than a small save."""
    whole = [one for one in going if one is not None]
    size, files = sum(one.own for one in whole), sum(one.files for one in whole)
    few = len(whole) == len(going) < TOGETHER
    return not going or (few and size <= OWN_BYTES // TOGETHER and files <= RETIRED_FILES // TOGETHER)


_NONE = Marked(0, "", "", 0, 0)


def _own_bytes(store: Store, old: str, new: str) -> int:
    """What the version *old* holds that *new* does not; -1 when the store does not know it any more."""
    try:
        return sum(change.old.size for change in diff(store, old, new) if change.old is not None)
    except ContentLost:
        return -1


def _let_go(home: Path, version: Marked | None, name: str) -> None:
    """Remove a directory, or make it the spare if that can be of use and there is none.

    It gets another name first: what has it in hand after that had it before, and a path that was resolved leads to
    nothing rather than to some other version.
    """
    leaving = home / f"{_LEAVING}{name}"
    if name.startswith(_LEAVING):
        leaving = home / name
    else:
        _marker(home, name).unlink(missing_ok=True)
        (home / name).rename(leaving)
    if in_use([os.fsencode(leaving)]):
        return  # it goes next time
    if version is not None and 0 <= version.own <= OWN_BYTES and not os.path.lexists(home / _SPARE):
        leaving.rename(home / _SPARE)
        _mark(home, version._replace(name=_SPARE))
    else:
        _remove_all(leaving)


def _directories(home: Path) -> Collection[str]:
    """All that is not a marker."""
    return [name for name in os.listdir(home) if not name.endswith((".tree", ".tree.new"))]


def _remove_all(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


# -- markers -----------------------------------------------------------------------------------------------


def _led_to(link: Path, home: Path) -> str | None:
    """The name below *home* that *link* leads to."""
    with contextlib.suppress(OSError):
        above, name = os.path.split(os.readlink(link))
        return name if above == str(home) else None
    return None


def _marker(home: Path, name: str) -> Path:
    return home / f"{name}.tree"


def _marked(home: Path) -> Iterable[Marked]:
    """The versions that are known to be whole; not those of before the machine was started."""
    for file in home.glob("*.tree"):
        with contextlib.suppress(OSError, ValueError):
            tree, boot, *more = file.read_text().split()
            whole = len(bytes.fromhex(tree)) == DIGEST and boot == _boot()
            if whole and stat.S_ISDIR(os.lstat(file.with_suffix("")).st_mode):
                since = file.stat().st_mtime_ns
                files, at, own = map(int, more or (0, since, 0))  # earlier versions of kaosd wrote no more
                yield Marked(since, file.stem, tree, files, at, own)


def _mark(home: Path, version: Marked) -> None:
    """Say what a directory holds, from now on."""
    temporary = home / f"{version.name}.tree.new"
    temporary.write_text(f"{version.tree} {_boot()} {version.files} {version.at} {version.own}\n")
    temporary.replace(_marker(home, version.name))


def _boot() -> str:
    """What this start of the machine is called.

    The files of a version are not synced one by one; after a power cut it is made again instead of trusted.
    """
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
