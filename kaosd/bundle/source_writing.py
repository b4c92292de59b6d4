"""Writing a file into a source directory, which is the user's: only what is asked for, whole or not at all.

Nothing outside of the directory is ever written: each part of a path is opened below the one before it, and no link is
followed. A file is made complete beside its name, synced, and swapped with what is there. What comes out of the swap is
examined, so that a change of the last instant is seen as well and put back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

from kaosd.bundle.copying import copy
from kaosd.bundle.entry_state import mode_at, state_at
from kaosd.bundle.ignore import TEMPORARY
from kaosd.bundle.openat import open_directory, open_root, opened
from kaosd.bundle.store import Store
from kaosd.bundle.store_errors import store_errors
from kaosd.bundle.tree import Entry, split
from kaosd.bundle.writing import create
from kaosd.display import printable
from kaosd.errors import BundleError
from kaosd.hosted.renaming import exchange, place
from kaosd.hosted.states import State, alike

_BESIDE = TEMPORARY + b"pull-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ChangedMeanwhile(Exception):
    """Something else stands at the path than was expected; nothing was changed."""


def state_below(top: Path, path: bytes) -> State | None:
    """What stands at *path* in a source directory; blocking. None also where a link stands above it. OSError."""
    above, name = split(path)
    root = open_root(top)
    try:
        parent = open_directory(root, above)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return None
        raise
    finally:
        os.close(root)
    try:
        return state_at(parent, name)
    finally:
        os.close(parent)


def write_below(store: Store, top: Path, path: bytes, entry: Entry | None, expected: State | None) -> None:
    """Make *path* in the directory *top* what *entry* says (None: nothing), in the place of what is *expected*.

    Directories above it are made. A file keeps the mode of the one before it. Blocking. ChangedMeanwhile; BundleError
    when something else than a directory stands above the path, or it cannot be written.
    """
    above, name = split(path)
    root = open_root(top)
    try:
        parent = _reach(root, above, make=entry is not None)
        if parent is None:
            return
        try:
            if entry is None:
                _delete(parent, name, expected)
            else:
                _put(store, parent, name, entry, expected)
            os.fsync(parent)
        finally:
            os.close(parent)
    except OSError as error:
        raise BundleError(
            f"{printable(os.fsdecode(path))} cannot be written below {top}: {error.strerror}",
            hint="check who may write there, and whether its disk is full",
        ) from error
    finally:
        os.close(root)


def copy_out(top: Path, path: bytes, target: Path) -> None:
    """Copy the file or link at *path* of *top* to *target*, which is not there yet; durable. Blocking. OSError."""
    above, name = split(path)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = open_root(top)
    try:
        parent = open_directory(root, above)
    finally:
        os.close(root)
    try:
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            target.symlink_to(os.fsdecode(os.readlink(name, dir_fd=parent)))
            return
        with (
            opened(name, os.O_RDONLY, dir_fd=parent) as descriptor,
            store_errors("write to", target.parent),
            open(target, "xb", opener=_private) as file,
        ):
            copy(descriptor, file.fileno())
            os.fsync(file.fileno())
    finally:
        os.close(parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _reach(root: int, path: bytes, *, make: bool) -> int | None:
    """A descriptor of the directory *path*; None when it is not there and not to be made."""
    descriptor = os.dup(root)
    done = b""
    for name in path.split(b"/") if path else ():
        done, above = done + b"/" + name if done else name, descriptor
        try:
            if make and mode_at(above, name) is None:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o777, dir_fd=above)
                    os.chmod(name, stat.S_IMODE(os.fstat(above).st_mode) & 0o777, dir_fd=above)
                    _give(name, above)
            descriptor = os.open(name, _DIRECTORY, dir_fd=above)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            text = f"{printable(os.fsdecode(done))} in the source directory is not a directory"
            raise BundleError(text, hint="move it out of the way") from error
        finally:
            os.close(above)
    return descriptor


def _put(store: Store, parent: int, name: bytes, entry: Entry, expected: State | None) -> None:
    """Put a file or link there, complete."""
    temporary = _BESIDE + secrets.token_hex(8).encode()
    create(store, entry, temporary, parent)
    try:
        if entry.kind != "l":
            with opened(temporary, os.O_RDONLY, dir_fd=parent) as descriptor:
                os.fchmod(descriptor, _mode(parent, name, entry))
                os.fsync(descriptor)
        _give(temporary, parent)
        if expected is None:
            try:
                return place(parent, temporary, name)
            except FileExistsError as error:
                raise ChangedMeanwhile from error
        _swap(parent, temporary, name, expected)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=parent)


def _swap(parent: int, temporary: bytes, name: bytes, expected: State) -> None:
    """Swap the two names if what comes out is *expected*; else all is as it was."""
    try:
        exchange(parent, temporary, name)
    except FileNotFoundError as error:
        raise ChangedMeanwhile from error
    try:
        _check(parent, temporary, expected)
    except BaseException:
        exchange(parent, temporary, name)
        raise


def _delete(parent: int, name: bytes, expected: State | None) -> None:
    """Take the name away if it is what is *expected*."""
    temporary = _BESIDE + secrets.token_hex(8).encode()
    try:
        os.rename(name, temporary, src_dir_fd=parent, dst_dir_fd=parent)
    except FileNotFoundError as error:
        if expected is None:
            return
        raise ChangedMeanwhile from error
    try:
        _check(parent, temporary, expected)
    except BaseException:
        place(parent, temporary, name)
        raise
    os.unlink(temporary, dir_fd=parent)


def _check(parent: int, temporary: bytes, expected: State | None) -> None:
    """ChangedMeanwhile unless what left its name is what is *expected*."""
    if not alike(state_at(parent, temporary), expected):
        raise ChangedMeanwhile


def _mode(parent: int, name: bytes, entry: Entry) -> int:
    """That of the file before; of a new one what its directory lets others do."""
    before = mode_at(parent, name)
    if before is not None and stat.S_ISREG(before):
        return stat.S_IMODE(before) & 0o777
    allowed = stat.S_IMODE(os.fstat(parent).st_mode) & 0o777
    return allowed if entry.kind == "x" else allowed & 0o666


def _give(name: bytes, parent: int) -> None:
    """Give what root makes to the owner of the directory."""
    if os.geteuid() == 0:
        status = os.fstat(parent)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=parent, follow_symlinks=False)
