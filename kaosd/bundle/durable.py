"""Bringing what was written to the disk, so that a power cut takes nothing that was written down as being there."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from kaosd.bundle.beneath import directory, opened
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


def sync_files(root: int, paths: Sequence[bytes]) -> None:
    """Bring the files *paths* below the descriptor *root* to the disk; what a person has put there since is theirs."""
    if len(paths) > EACH:
        if _libc.syncfs(root) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return
    for path in paths:
        above, name = split(path)
        try:
            with directory(root, above) as parent, opened(name, os.O_RDONLY, dir_fd=parent) as descriptor:
                os.fdatasync(descriptor)
        except OSError as error:
            if error.errno not in _OTHERS:
                raise
