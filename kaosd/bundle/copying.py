"""Moving bytes between descriptors: by the kernel where it can (a clone on btrfs and xfs), by hand where not."""

from __future__ import annotations

import errno
import os

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
    """Copy *source* from its start to its end into *target* at its position; the number of bytes."""
    done = 0
    try:
        while count := os.copy_file_range(source, target, 1 << 30, offset_src=done):
            done += count
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    return done + _copy_by_hand(source, target, done)  # some file systems end early, and say nothing


def _copy_by_hand(source: int, target: int, start: int) -> int:
    done = 0
    while data := os.pread(source, _CHUNK, start + done):
        write_all(target, data)
        done += len(data)
    return done


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
    done = 0
    while data := os.pread(source, _CHUNK if size is None else min(_CHUNK, size - done), done):
        hasher.update(data)
        done += len(data)
    return hasher.hexdigest()
