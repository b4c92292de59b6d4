"""Append-only files of small contents. What counts of them is what the index says; the rest is a killed writer's.

The Store holds its lock around every call.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

BUFFER = 4 << 20  # bytes that are gathered before they are written
PACK = 64 << 20  # bytes after which the next pack is begun: small enough to be rewritten when mostly dead


class Packs:
    """The packs below one directory. lengths: the committed length of each, by number.

    Opening removes packs that are not in *lengths* and cuts off what was never committed.
    """

    def __init__(self, directory: Path, lengths: dict[int, int]) -> None:
        self._directory = directory
        self._buffer = bytearray()
        self.begun = False  # a file is new since the directory was last synced
        self.unsynced: dict[int, int] = {}  # pack: length that is written, but perhaps not on disk
        for file in directory.iterdir():
            length = lengths.get(int(file.stem)) if file.stem.isdecimal() else None
            if length is None:
                file.unlink()
            elif file.stat().st_size > length:
                os.truncate(file, length)
        self._active = max(lengths, default=0)
        self._written = lengths.get(self._active, PACK)
        self._descriptor = -1
        if self._written < PACK and self._path(self._active).exists():
            self._descriptor = os.open(self._path(self._active), os.O_RDWR | os.O_CLOEXEC)

    @property
    def active(self) -> int:
        """The pack that the next content goes to."""
        return self._active

    def append(self, data: bytes) -> tuple[int, int]:
        """Take *data* and return its pack and offset. OSError (disk full) takes nothing and loses nothing."""
        if len(self._buffer) >= BUFFER:
            self.write_out()
        if self._descriptor < 0 or self._written + len(self._buffer) >= PACK:
            self._begin()
        offset = self._written + len(self._buffer)
        self._buffer += data
        return self._active, offset

    def read(self, pack: int, offset: int, size: int) -> bytes:
        """The bytes at that place; fewer when the pack is cut short. OSError when it is not there."""
        if pack == self._active and self._descriptor >= 0:  # part of it may still be in the buffer
            start, end = offset - self._written, offset + size - self._written
            on_disk = os.pread(self._descriptor, min(size, -start), offset) if start < 0 else b""
            return on_disk + bytes(self._buffer[max(start, 0) : max(end, 0)])
        descriptor = os.open(self._path(pack), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def write_out(self) -> None:
        """Hand the buffer to the kernel. OSError (disk full) keeps what is left of it for the next attempt."""
        while self._buffer:
            count = os.pwrite(self._descriptor, self._buffer, self._written)
            self._written += count
            del self._buffer[:count]
            self.unsynced[self._active] = self._written

    def sync(self, pack: int) -> None:
        """Bring a pack to the disk; may be called without the lock."""
        descriptor = os.open(self._path(pack), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, pack: int) -> None:
        """Remove the file of a pack that the index has dropped."""
        with contextlib.suppress(FileNotFoundError):
            self._path(pack).unlink()

    def close(self) -> None:
        """Close the active pack; what was not written out is lost, as it was never committed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _begin(self) -> None:
        self.write_out()
        number = self._active + 1
        descriptor = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.begun = True
        self.close()
        self._active, self._written, self._descriptor = number, 0, descriptor
        self.unsynced[number] = 0  # counts even if only empty contents come

    def _path(self, pack: int) -> Path:
        return self._directory / f"{pack}.pack"
