"""Caches that Python and Jupyter write beside the files of a host: no edits, and no reason to keep a directory."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator

from kaosd.bundle.ignore import TEMPORARY, Matcher
from kaosd.bundle.openat import directory
from kaosd.bundle.tree import join

CACHES = frozenset(
    {b"__pycache__", b".ipynb_checkpoints", b".pytest_cache", b".mypy_cache", b".ruff_cache", b".virtual_documents"}
)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 3  # a kernel may be writing one


def remove(parent: int, name: bytes) -> None:
    """Remove the directory *name* of the descriptor *parent*, with caches if it holds nothing else.

    An empty directory in it is not a cache. OSError when something else is in it.
    """
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
            try:
                if _holds_only(descriptor):
                    _empty(descriptor)
            finally:
                os.close(descriptor)
        try:
            return os.rmdir(name, dir_fd=parent)
        except OSError as error:
            last = error
    raise last


def files_below(root: int, top: bytes) -> Iterator[bytes]:
    """What stands below the directory *top* of the descriptor *root*: files, links, directories that hold something.

    Without caches, without what is never part of a bundle, and without kaosd's own temporary names.
    """
    matcher = Matcher()
    try:
        with directory(root, top) as descriptor:
            entries = [(os.fsencode(name), _is_directory(descriptor, name)) for name in os.listdir(descriptor)]
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:  # nothing of ours is below
            return
        raise
    for name, is_directory in entries:
        path = join(top, name)
        if name.startswith(TEMPORARY) or name in CACHES or matcher.entry_ignored(top, name, is_dir=is_directory):
            continue
        if not is_directory:
            yield path
            continue
        below = list(files_below(root, path))
        yield from below
        if below or _holds_something(root, path):
            yield path


def _holds_something(root: int, path: bytes) -> bool:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), directory(root, path) as descriptor:
        return bool(os.listdir(descriptor))
    return False


def _is_directory(parent: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _holds_only(descriptor: int) -> bool:
    """Whether there is nothing but caches, and directories that hold only caches, and at least one."""
    names = [os.fsencode(name) for name in os.listdir(descriptor)]
    for name in names:
        if not _is_directory(descriptor, os.fsdecode(name)):
            return False
        if name not in CACHES:
            with directory(descriptor, name) as below:
                if not _holds_only(below):
                    return False
    return bool(names)


def _empty(descriptor: int) -> None:
    """What is not a cache is only removed while nothing is in it: a person may have been quicker."""
    for name in [os.fsencode(name) for name in os.listdir(descriptor)]:
        with contextlib.suppress(OSError):
            if name in CACHES:
                shutil.rmtree(name, dir_fd=descriptor)
            else:
                with directory(descriptor, name) as below:
                    _empty(below)
                os.rmdir(name, dir_fd=descriptor)
