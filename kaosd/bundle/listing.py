"""What a directory looks like on disk, packed into bytes that are equal when nothing has changed.

A listing is the directory's inode followed by one record for each name that counts, sorted: what it is, and for
files and links size, mtime, ctime and inode. Comparing two listings as bytes is the whole of the quick check of a
directory; only where they differ are they taken apart.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kaosd.bundle.ignore import SUSPECT_FIRST, SUSPECT_LAST, Matcher

_INODE = struct.Struct("<Q")
_RECORD = struct.Struct("<cHqqqQ")  # kind, length of the name, size, mtime_ns, ctime_ns, inode
_pack = _RECORD.pack
_DIRECTORY = 0o040000
_REGULAR = 0o100000
_LINK = 0o120000
_FORMAT = 0o170000
_EXECUTABLE = stat.S_IXUSR
_UNSURE = -1, 2**64 - 1  # in the place of ctime and inode: no file has both, so it is read again at the next look
_FOLD = 2**63 - 25  # a prime


class Listed(NamedTuple):
    """A directory as read from disk. directories: its sub-directories with their inodes. refused: name, reason."""

    listing: bytes
    directories: list[tuple[bytes, int]]
    refused: list[tuple[bytes, str]]


def list_directory(path: bytes, relative: bytes, inode: int, matcher: Matcher) -> Listed:
    """List *path* (in the file system), which is *relative* in the bundle. OSError when it cannot be read."""
    records: list[tuple[bytes, bytes]] = []
    directories: list[tuple[bytes, int]] = []
    refused: list[tuple[bytes, str]] = []
    rules = not matcher.only_built_in
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # gone since it was listed: the same as never there
            mode = status.st_mode
            form = mode & _FORMAT
            suspect = rules or name[0] in SUSPECT_FIRST or name[-1] in SUSPECT_LAST
            if suspect and matcher.entry_ignored(relative, name, is_dir=form == _DIRECTORY):
                continue
            if form == _REGULAR:
                records.append((name, file_header(name, status)))
                continue
            other = header_of(name, status)
            if other is None:
                refused.append((name, describe(status.st_mode)))
                continue
            records.append((name, other))
            if form == _DIRECTORY:
                directories.append((name, status.st_ino))
    records.sort()
    return Listed(_join(inode, records), directories, refused)


def file_header(name: bytes, status: os.stat_result) -> bytes:
    """The record of a file but for its name."""
    return _header(b"x" if status.st_mode & _EXECUTABLE else b"f", name, status)


def header_of(name: bytes, status: os.stat_result) -> bytes | None:
    """The record of *name* but for the name itself; None for what cannot be bundled."""
    form = status.st_mode & _FORMAT
    if form == _REGULAR:
        return file_header(name, status)
    if form == _DIRECTORY:
        return _pack(b"d", len(name), 0, 0, 0, 0)  # its own listing holds its inode
    if form == _LINK:
        return _header(b"l", name, status)
    return None


def _header(kind: bytes, name: bytes, status: os.stat_result) -> bytes:
    """The record of what has a content. A time that 64 bits of nanoseconds do not hold (1677 to 2262) is folded."""
    size, mtime, ctime, inode = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    try:
        return _pack(kind, len(name), size, mtime, ctime, inode)
    except struct.error:
        return _pack(kind, len(name), size, mtime % _FOLD, ctime % _FOLD, inode)


def unsure(header: bytes) -> bytes:
    """*header* so that it equals nothing on disk."""
    kind, length, size, mtime, _, _ = _RECORD.unpack(header)
    return _pack(kind, length, size, mtime, *_UNSURE)


def kind_of(header: bytes) -> bytes:
    """One of b"f", b"x", b"l", b"d"."""
    return header[:1]


def size_and_time(header: bytes) -> tuple[int, bytes]:
    """The size, and what a linked directory's version takes of the file: its size and mtime as bytes."""
    _, _, size, mtime, _, _ = _RECORD.unpack(header)
    return size, b"%d %d" % (size, mtime)


def records(listing: bytes) -> dict[bytes, bytes]:
    """The header of each name in *listing*."""
    found = {}
    position, end = _INODE.size, len(listing)
    while position < end:
        start = position + _RECORD.size
        after = start + int.from_bytes(listing[position + 1 : position + 3], "little")
        found[listing[start:after]] = listing[position:start]
        position = after
    return found


def inode_of(listing: bytes) -> int:
    """The inode of the directory itself."""
    return int.from_bytes(listing[: _INODE.size], "little")


def pack(inode: int, headers: Mapping[bytes, bytes]) -> bytes:
    """The reverse of `records` and `inode_of`."""
    return _join(inode, sorted(headers.items()))


def _join(inode: int, items: Iterable[tuple[bytes, bytes]]) -> bytes:
    return _INODE.pack(inode) + b"".join([header + name for name, header in items])


def describe(mode: int) -> str:
    """Why something that is neither file, directory nor link is refused."""
    if stat.S_ISSOCK(mode):
        return "is a socket"
    if stat.S_ISFIFO(mode):
        return "is a named pipe"
    return "is a device"
