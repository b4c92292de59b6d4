"""Files of SQLite databases: which belong together, and whether a transaction is under way.

A program may keep a database open for days. Between two transactions the file is whole, and with its journal or
write-ahead log it is so at any time, if all of them are of one moment. The -shm file is not part of that: the first
program that opens the database makes it again. Not guarded against: journal_mode off or memory together with
exclusive locks that are not taken (unix-none), and databases of other makers that are written without a pause.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Container, Iterable

_SUFFIXES = (b"-journal", b"-wal")
_MAGIC = b"SQLite format 3\0"
_LOG_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_LOCK = struct.Struct("@hhqqi")  # struct flock: type, whence, start, length, process
_LOCKS_AT, _LOCKS = 0x40000000, 512  # the bytes on which SQLite takes its locks


def together(names: Iterable[bytes], *there: Container[bytes]) -> set[frozenset[bytes]]:
    """The groups of a database with its journal or write-ahead log to which *names* belong, of all that is *there*."""
    groups = set()
    for name in names:
        base = next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), name)
        group = frozenset(
            one for one in (base, *(base + suffix for suffix in _SUFFIXES)) if any(one in place for place in there)
        )
        if base in group and len(group) > 1:
            groups.add(group)
    return groups


def at_rest(descriptor: int) -> bool:
    """Whether the open file is an SQLite database in which no program on this machine is writing, or its log. OSError.

    A log is whole at any time: what is added to it counts from the commit on that follows it.
    """
    head = os.pread(descriptor, len(_MAGIC), 0)
    if head[:4] in _LOG_MAGIC:
        return True
    if head != _MAGIC:
        return False
    asked = _LOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, _LOCKS_AT, _LOCKS, 0)
    return bool(_LOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[0] == fcntl.F_UNLCK)
