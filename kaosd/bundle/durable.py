"""Bringing what was written to the disk, so that a power cut takes nothing that was written down as being there."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from kaosd.bundle.openat import directory, open_root, opened
from kaosd.bundle.store_errors import store_errors
from kaosd.bundle.tree import split

# what the kernel answers where there is no file that can be read any more
_OTHERS = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENXIO, errno.EINVAL}
EACH = 100  # files up to which each is synced; of more, all that the file system holds back costs less

_libc = ctypes.CDLL(None, use_errno=True)


def sync(path: Path) -> None:
    """Bring a file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(top: Path, paths: Collection[bytes]) -> None:
    """Bring the files *paths* below *top* to the disk; what a person has put there instead is theirs. StoreError."""
    with store_errors("write to", top):
        root = open_root(top)
        try:
            if len(paths) > EACH:
                _sync_all(root)
            else:
                _sync_each(root, sorted(paths))
        finally:
            os.close(root)


def _sync_all(root: int) -> None:
    if _libc.syncfs(root) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _sync_each(root: int, paths: Iterable[bytes]) -> None:
    for path in paths:
        above, name = split(path)
        try:
            with directory(root, above) as parent, opened(name, os.O_RDONLY, dir_fd=parent) as descriptor:
                os.fdatasync(descriptor)
        except OSError as error:
            if error.errno not in _OTHERS:
                raise
