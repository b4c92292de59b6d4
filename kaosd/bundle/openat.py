"""Opening things below a root without ever following a link, so that nothing outside can be read or written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_root(path: str | bytes | os.PathLike[str]) -> int:
    """A descriptor of the root itself, which may be reached through links."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_directory(root: int, path: bytes) -> int:
    """A descriptor of the directory *path* below the descriptor *root* (b"": root itself).

    OSError (ELOOP, ENOTDIR, ENOENT) when a part of the path is a link, no directory, or absent.
    """
    descriptor = os.dup(root)
    for name in path.split(b"/") if path else ():
        above, descriptor = descriptor, -1
        try:
            descriptor = os.open(name, _DIRECTORY, dir_fd=above)
        finally:
            os.close(above)
    return descriptor


@contextlib.contextmanager
def directory(root: int, path: bytes) -> Iterator[int]:
    """`open_directory` for the length of a with block."""
    descriptor = open_directory(root, path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened(name: bytes, flags: int, *, dir_fd: int, mode: int = 0o600) -> Iterator[int]:
    """A descriptor of *name* in a directory, closed at the end; links are not followed, FIFOs do not hang."""
    descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=dir_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
