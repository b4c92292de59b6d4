"""Any time that a file system holds is bundled, and a change of it is seen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from trees import in_store

from kaosd.bundle import Scanner, attach
from kaosd.bundle.listing import file_header, header_of, kind_of, size_and_time, unsure

SECOND = 1_000_000_000
# years 1677, 1901, 1969, 1970, 2038, 2106, 2262, 2300, 2446, 30828, and the ends of what seconds can be
TIMES = [
    -9_223_372_037, -2_147_483_649, -1, 0, 2_147_483_648, 4_294_967_296, 9_223_372_036, 9_223_372_037, 10_413_792_000,
    15_032_385_535, 910_692_730_085, 2**63 - 1, -(2**63),
]  # fmt: skip


@pytest.fixture
def any_time(tmp_path: Path) -> Iterator[Path]:
    """A directory in a file system of the memory, which holds seconds of 64 bits, where there is one."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as made:
        yield Path(made)


@pytest.mark.parametrize("kind", ["source", "data", "link"])
@pytest.mark.parametrize("seconds", TIMES)
def test_a_file_of_any_time_is_bundled_with_the_rest(any_time, store, kind, seconds):
    model = any_time / "model"
    (model / "deep").mkdir(parents=True)
    (model / "requirements.txt").touch()
    for path in (model / "photo.txt", model / "deep/x.csv", model / "train.ipynb"):
        path.write_text("{}")
        os.utime(path, (seconds, seconds))
    (model / "link").symlink_to("photo.txt")
    os.utime(model / "link", (seconds, seconds), follow_symlinks=False)
    os.utime(model / "deep", (seconds, seconds))
    scanner = Scanner(any_time, store, kind=kind)
    found = scanner.scan()
    assert (found.problem, found.refused, found.saving, found.files) == (None, (), (), 5)
    (model / "train.py").write_text("A = 2\n")
    again = scanner.scan([b"model/train.py", b"model/photo.txt"])
    assert (again.problem, again.files, scanner.scan().version) == (None, 6, again.version)
    assert again.version != found.version


def test_a_version_with_any_times_is_attached(any_time, store, tmp_path):
    for number, seconds in enumerate(TIMES):
        path = any_time / f"{number}.csv"
        path.write_text(str(number))
        os.utime(path, (seconds, seconds))
    scan = Scanner(any_time, store, kind="data").scan()
    attach(store, tmp_path / "home", tmp_path / "link", scan.tree)
    assert sorted(os.listdir(tmp_path / "link")) == sorted(os.listdir(any_time))
    assert len(in_store(store, scan.tree)) == len(TIMES)


@pytest.mark.parametrize("seconds", TIMES)
def test_a_time_is_unlike_those_beside_it(seconds):
    headers = {file_header(b"x", status(mtime=seconds * SECOND + each)) for each in (-1, 0, 1, SECOND)}
    assert len(headers) == 4
    assert size_and_time(header_of(b"x", status(mtime=seconds * SECOND)))[0] == 5


@pytest.mark.parametrize("inode", [0, 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("size", [0, 2**63 - 1])
def test_any_inode_and_size_has_a_record_that_is_never_the_doubtful_one(inode, size):
    header = file_header(b"x" * 255, status(inode=inode, size=size))
    assert kind_of(header) == b"f"
    assert unsure(header) != header == file_header(b"x" * 255, status(inode=inode, size=size))


def test_times_of_our_days_are_kept_as_versions_before_kept_them():
    header = file_header(b"x", status(mtime=-7))
    assert header == bytes.fromhex("66010005000000000000" + "00" + "f9ffffffffffffff" + "0300000000000000" * 2)


def status(mtime: int = 3, inode: int = 3, size: int = 5) -> SimpleNamespace:
    return SimpleNamespace(st_mode=0o100644, st_size=size, st_mtime_ns=mtime, st_ctime_ns=3, st_ino=inode)
