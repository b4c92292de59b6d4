"""Moving bytes between descriptors: by the kernel where it can (a clone on btrfs and xfs), by hand where not.

Holes of sparse files stay holes, and are not read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from blake3 import blake3

_CHUNK = 8 << 20
# what kernels answer when these two files cannot be copied by them
_CANNOT = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.ETXTBSY}


class ChangingError(Exception):
    """The file changed while it was read."""


def stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    """What changes when a file's content does."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def check_same(source: int, before: os.stat_result, size: int) -> None:
    """Raise ChangingError unless *size* is all of *source*, which is as it was *before*."""
    if size != before.st_size or stamp(os.fstat(source)) != stamp(before):
        raise ChangingError


def check_grown(source: int, before: os.stat_result, size: int) -> None:
    """Raise ChangingError unless *source* holds all it held *before*, of which *size* is all or more."""
    now = os.fstat(source)
    if size < before.st_size or now.st_size < before.st_size or now.st_ino != before.st_ino:
        raise ChangingError


def copy(source: int, target: int) -> int:
    """Copy what *source* holds at this moment into the empty file *target*; the number of bytes, holes included."""
    size = os.fstat(source).st_size
    for start, end in data_in(source, size):
        _copy_part(source, target, start, end)
    os.ftruncate(target, size)
    return size


def data_in(source: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the first *size* bytes of a file hold data, in order; all between is zeros. One part where none can say."""
    at = 0
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
            end = os.lseek(source, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno != errno.ENXIO:  # the file system does not know of holes
                yield at, size
            return
        if start >= size:
            return
        yield start, min(end, size)
        at = end


def _copy_part(source: int, target: int, start: int, end: int) -> None:
    done = start
    try:
        while done < end:
            count = os.copy_file_range(source, target, min(1 << 30, end - done), offset_src=done, offset_dst=done)
            if not count:  # some file systems end early, and say nothing
                break
            done += count
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    while done < end and (data := os.pread(source, min(_CHUNK, end - done), done)):
        done += os.pwrite(target, data, done)


def write_all(target: int, data: bytes) -> None:
    """Write *data* to its end; one write may take less."""
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def read_all(source: int, size: int) -> bytes:
    """The content of *source* from its start; quickest when *size* is what it has."""
    data = os.pread(source, size + 1, 0)
    while len(data) > size:  # it has grown meanwhile
        more = os.pread(source, _CHUNK, len(data))
        if not more:
            break
        data += more
    return data


def hash_file(source: int, size: int | None = None) -> str:
    """The digest of the whole content, or of its first *size* bytes; several threads share a large one."""
    hasher = blake3(max_threads=blake3.AUTO)
    found = os.fstat(source).st_size
    whole = found if size is None else min(size, found)
    done = 0
    for start, end in data_in(source, whole):
        _hash_zeros(hasher, start - done)
        done = start
        while done < end and (data := os.pread(source, min(_CHUNK, end - done), done)):
            hasher.update(data)
            done += len(data)
    _hash_zeros(hasher, whole - done)
    return hasher.hexdigest()


def _hash_zeros(hasher: blake3, count: int) -> None:
    zeros = bytes(min(count, _CHUNK))
    while count > 0:
        hasher.update(zeros if count >= len(zeros) else zeros[:count])
        count -= len(zeros)
