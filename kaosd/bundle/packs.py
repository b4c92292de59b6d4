"""Append-only files of small contents, each behind a header that names it, so that an index can be made from them.

A header is found by its first bytes and vouched for by a checksum; the content behind it by its digest. Packs of
versions before this one have contents without headers: they are read by the index alone. Bytes that no index and
no header speaks of are a killed writer's; they stay until a sweep rewrites the pack.

The Store holds its lock around every call.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kaosd.aside import discard, is_file
from kaosd.bundle.tree import digest_of

BUFFER = 4 << 20  # bytes that are gathered before they are written
PACK = 64 << 20  # bytes after which the next pack is begun: small enough to be rewritten when mostly dead
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # our trouble; anything else that cannot be read is lost
_START = b"\x89kaosd\r\n"  # no text starts like this
_HEADER = struct.Struct("<8s32sI")  # start, digest, bytes of the content; a crc32 of these follows
_CHECK = struct.Struct("<I")
HEADER = _HEADER.size + _CHECK.size  # bytes before each content


class PackedContent(NamedTuple):
    """A content that a pack's own headers report. size: bytes. whole: whether its bytes have its digest."""

    digest: str
    offset: int
    size: int
    whole: bool


class Packs:
    """The packs below one directory, which is tidied: anything else goes, a pack that cannot be read is made readable.

    begun: a file is new since the directory was last synced. unsynced: the length of packs that is written, but
    perhaps not on disk.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._buffer = bytearray()
        self.begun = False
        self.unsynced: dict[int, int] = {}
        for file in directory.iterdir():
            if not (file.suffix == ".pack" and file.stem.isdecimal() and is_file(file)):
                discard(file)
        lengths = self.lengths()
        self._active = max(lengths, default=0)
        self._written = lengths.get(self._active, PACK)
        self._descriptor = -1
        self._inodes: dict[int, int] = {}  # of the packs that were written to
        if self._written < PACK:
            self._open(self._active, os.O_RDWR)

    @property
    def active(self) -> int:
        """The pack that the next content goes to."""
        return self._active

    def append(self, digest: str, data: bytes) -> tuple[int, int]:
        """Take *data* and return its pack and offset. OSError (disk full) takes nothing and loses nothing."""
        if len(self._buffer) >= BUFFER:
            self.write_out()
        if self._descriptor < 0 or self._written + len(self._buffer) >= PACK:
            self._begin()
        header = _HEADER.pack(_START, bytes.fromhex(digest), len(data))
        self._buffer += header
        self._buffer += _CHECK.pack(zlib.crc32(header))
        offset = self._written + len(self._buffer)
        self._buffer += data
        return self._active, offset

    def read(self, pack: int, offset: int, size: int) -> bytes:
        """The bytes at that position; fewer when the pack is truncated, none when it cannot be read.

        OSError only for want of descriptors or memory, which says nothing of the pack.
        """
        try:
            return self._read(pack, offset, size)
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno in EXHAUSTED:
                raise
            return b""

    def _read(self, pack: int, offset: int, size: int) -> bytes:
        if pack == self._active and self._descriptor >= 0:  # part of it may still be in the buffer
            start, end = offset - self._written, offset + size - self._written
            on_disk = os.pread(self._descriptor, min(size, -start), offset) if start < 0 else b""
            return on_disk + bytes(self._buffer[max(start, 0) : max(end, 0)])
        descriptor = os.open(self._path(pack), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def lengths(self) -> dict[int, int]:
        """The length of each pack that is there now."""
        files = (file for file in self._directory.iterdir() if file.stem.isdecimal() and is_file(file))
        return {int(file.stem): file.stat().st_size for file in files}

    def contents(self, pack: int, start: int) -> Iterator[PackedContent]:
        """What the headers of a pack after byte *start* report. OSError when it cannot be read."""
        data = self._path(pack).read_bytes()
        position = start
        while (position := data.find(_START, position)) >= 0:
            digest, size = _header(data, position)
            if digest is None:
                position += 1  # bytes that look like the start of one, or a damaged one
                continue
            offset = position + HEADER
            yield PackedContent(digest, offset, size, digest_of(data[offset : offset + size]) == digest)
            position = offset + size

    def write_out(self) -> None:
        """Hand the buffer to the kernel. OSError (disk full) keeps what is left of it for the next attempt."""
        while self._buffer:
            count = os.pwrite(self._descriptor, self._buffer, self._written)
            self._written += count
            del self._buffer[:count]
            self.unsynced[self._active] = self._written

    def sync(self, pack: int) -> bool:
        """Write a pack to the disk; False when its file is not there any more, or is another one.

        May be called without the lock.
        """
        try:
            descriptor = os.open(self._path(pack), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or self._inodes.get(pack, status.st_ino) != status.st_ino:
                return False
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        return True

    def remove(self, pack: int) -> None:
        """Remove the file of a pack that the index has dropped; the active one is closed, and none follows it yet."""
        if pack == self._active:
            self.close()
            self._buffer.clear()
        self.unsynced.pop(pack, None)
        discard(self._path(pack))

    def close(self) -> None:
        """Close the active pack; what was not written out is lost, as it was never committed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _begin(self) -> None:
        self.write_out()
        number = self._active + 1
        self._directory.mkdir(exist_ok=True, mode=0o700)  # somebody may have removed it
        self._open(number, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self.begun = True
        self._active, self._written = number, 0
        self.unsynced[number] = 0  # counts even if only empty contents come

    def _open(self, number: int, flags: int) -> None:
        """Make this pack the one that is written to. OSError leaves the one before it open."""
        descriptor = os.open(self._path(number), flags | os.O_CLOEXEC, 0o600)
        self.close()
        self._descriptor = descriptor
        self._inodes = {number: os.fstat(descriptor).st_ino}

    def _path(self, pack: int) -> Path:
        return self._directory / f"{pack}.pack"


def _header(data: bytes, position: int) -> tuple[str | None, int]:
    """The digest and the size that the header at *position* reports; None when it is none."""
    header = data[position : position + _HEADER.size]
    check = data[position + _HEADER.size : position + HEADER]
    if len(check) < _CHECK.size or _CHECK.unpack(check)[0] != zlib.crc32(header):
        return None, 0
    _, digest, size = _HEADER.unpack(header)
    return digest.hex(), size
