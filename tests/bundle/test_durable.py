"""What was written is brought to the disk, whatever a person has made of it meanwhile."""

from __future__ import annotations

import errno
import os

import pytest
from trees import write

from kaosd.bundle import durable
from kaosd.bundle.durable import sync_files
from kaosd.errors import StoreError


@pytest.fixture
def synced(monkeypatch):
    """The inodes that were brought to the disk."""
    found, real = [], os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (real(descriptor), found.append(os.fstat(descriptor))))
    return found


def test_each_file_is_brought_to_the_disk(tmp_path, synced):
    for path in (b"a", b"d/e/b"):
        write(tmp_path, path, b"1")
    sync_files(tmp_path, [b"a", b"d/e/b"])
    assert [one.st_ino for one in synced] == [(tmp_path / path).stat().st_ino for path in ("a", "d/e/b")]


def test_what_a_person_has_put_in_the_place_of_a_file_is_left_alone(tmp_path, synced):
    outside = tmp_path.parent / "outside"
    outside.mkdir()
    write(outside, b"a", b"theirs")
    (tmp_path / "link").symlink_to(outside / "a")
    (tmp_path / "through").symlink_to(outside)
    os.mkfifo(tmp_path / "fifo")
    write(tmp_path, b"last", b"ours")
    sync_files(tmp_path, [b"gone", b"link", b"through/a", b"fifo", b"last/below", b"last"])
    assert [one.st_ino for one in synced] == [(tmp_path / "last").stat().st_ino]


def test_many_files_are_brought_to_the_disk_together(tmp_path, synced, monkeypatch):
    monkeypatch.setattr(durable, "EACH", 1)
    write(tmp_path, b"a", b"1")
    sync_files(tmp_path, [b"a", b"b"])
    assert synced == []
    monkeypatch.setattr(durable, "open_root", lambda path: os.open(path, os.O_PATH))
    with pytest.raises(StoreError, match="Bad file descriptor"):
        sync_files(tmp_path, [b"a", b"b"])


def test_a_disk_that_fails_is_told(tmp_path, monkeypatch):
    def failing(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", failing)
    write(tmp_path, b"a", b"1")
    with pytest.raises(StoreError, match="Input/output error"):
        sync_files(tmp_path, [b"a"])
