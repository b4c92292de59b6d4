"""Renames that never overwrite: swapping two names atomically, and taking a name only if it is free."""

from __future__ import annotations

import ctypes
import errno
import os

_NOREPLACE, _EXCHANGE = 1, 2
_LACKING = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}  # the file system or the kernel cannot do it
ASIDE = b"-old"

_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_libc, "renameat2", None)  # musl has none


def _rename(parent: int, old: bytes, new: bytes, flag: int) -> bool:
    """Whether the kernel did it; OSError when it could but would not."""
    if _renameat2 is None:
        return False
    if _renameat2(parent, old, parent, new, flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in _LACKING:
        return False
    raise OSError(number, os.strerror(number), new)


def exchange(parent: int, temporary: bytes, name: bytes) -> None:
    """Swap two names of one directory; FileNotFoundError when one is not there.

    Where the file system cannot swap, *name* is absent for a moment, and a kill in that moment leaves what it was
    as *temporary* with "-old" appended.
    """
    if not _rename(parent, temporary, name, _EXCHANGE):
        aside = temporary + ASIDE
        os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        os.rename(aside, temporary, src_dir_fd=parent, dst_dir_fd=parent)


def place(parent: int, temporary: bytes, name: bytes) -> None:
    """Rename a file or link to a name that is free; FileExistsError when it is not."""
    if not _rename(parent, temporary, name, _NOREPLACE):
        os.link(temporary, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
        os.unlink(temporary, dir_fd=parent)
