"""Holes of sparse files stay holes on every way that a content takes, and the digest is that of the content."""

from __future__ import annotations

import errno
import io
import os
import tarfile
from pathlib import Path

import pytest
from blake3 import blake3

from kaosd.bundle import Scanner, attach, copying, export_tree, sync
from kaosd.bundle.copying import copy, data_in, hash_file
from kaosd.bundle.tree import lookup
from kaosd.engines.docker import child, seed

MIB = 1 << 20
# name: size, and what is written where
SHAPES = {
    "all hole": (64 * MIB, {}),
    "hole first": (40 * MIB, {39 * MIB: b"end" * 1000}),
    "hole last": (40 * MIB, {0: b"begin" * 1000}),
    "in the middle": (40 * MIB, {7 * MIB + 3: b"x" * 5000, 20 * MIB: b"y" * 9000}),
    "odd size": (33 * MIB + 17, {33 * MIB + 5: b"z" * 12}),
    "no hole": (3 * MIB, {0: os.urandom(3 * MIB)}),
    "zeros that are written": (3 * MIB, {0: bytes(3 * MIB)}),
    "small": (5, {0: b"12345"}),
}


def make(path: Path, shape: str) -> Path:
    size, parts = SHAPES[shape]
    with path.open("wb") as file:
        for at, data in parts.items():
            file.seek(at)
            file.write(data)
        file.truncate(size)
    return path


def used(path: Path) -> int:
    """Bytes on the disk."""
    os.sync()
    return path.stat().st_blocks * 512


def content(shape: str) -> bytes:
    size, parts = SHAPES[shape]
    whole = bytearray(size)
    for at, data in parts.items():
        whole[at : at + len(data)] = data
    return bytes(whole)


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_copy_has_the_content_and_the_holes(tmp_path, shape, able, monkeypatch):
    if not able:
        monkeypatch.setattr(copying.os, "copy_file_range", refuse)
    source, target = make(tmp_path / "source", shape), tmp_path / "target"
    with source.open("rb") as one, target.open("w+b") as other:
        assert copy(one.fileno(), other.fileno()) == SHAPES[shape][0]
        assert hash_file(other.fileno()) == hash_file(one.fileno()) == blake3(content(shape)).hexdigest()
    assert target.read_bytes() == content(shape)
    assert used(target) <= max(used(source), 4096)


def refuse(*arguments, **more):
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@pytest.mark.parametrize("shape", SHAPES)
def test_where_nobody_knows_of_holes_the_content_is_the_same(tmp_path, shape, monkeypatch):
    real = os.lseek

    def lseek(descriptor, at, how):
        if how in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(descriptor, at, how)

    source, target = make(tmp_path / "source", shape), tmp_path / "target"
    monkeypatch.setattr(copying.os, "lseek", lseek)
    with source.open("rb") as one, target.open("w+b") as other:
        assert list(data_in(one.fileno(), 10)) == [(0, 10)]
        copy(one.fileno(), other.fileno())
        assert hash_file(one.fileno()) == blake3(content(shape)).hexdigest()
    assert target.read_bytes() == content(shape)


@pytest.mark.parametrize("size", [0, 1, 7 * MIB, 20 * MIB + 4096, 40 * MIB])
def test_the_digest_of_a_begin_is_that_of_its_bytes(tmp_path, size):
    with make(tmp_path / "source", "in the middle").open("rb") as file:
        assert hash_file(file.fileno(), size) == blake3(content("in the middle")[:size]).hexdigest()
        assert hash_file(file.fileno(), 99 * MIB) == blake3(content("in the middle")).hexdigest()


@pytest.mark.parametrize("shape", SHAPES)
def test_holes_stay_in_the_store_the_host_the_data_and_an_export(tmp_path, root, store, shape):
    file = make(root / "big.bin", shape)
    most = max(used(file), 4096)
    scan = Scanner(root, store, kind="data").scan()
    entry = lookup(store, scan.tree, b"big.bin")
    assert (entry.digest, entry.size) == (blake3(content(shape)).hexdigest(), SHAPES[shape][0])
    attach(store, tmp_path / "versions", tmp_path / "link", scan.tree)
    sync(store, tmp_path / "work", (None,), scan.tree, tmp_path / "recovered")
    export_tree(store, scan.tree, tmp_path / "export")
    for place in (tmp_path / "link", tmp_path / "work", tmp_path / "export"):
        assert (place / "big.bin").read_bytes() == content(shape)
        assert used(place / "big.bin") <= most
    for stored in (tmp_path / "store" / "large").iterdir():
        assert used(stored) <= most


def test_a_file_of_many_gigabytes_of_nothing_costs_nothing_on_the_disk(tmp_path, root, store):
    with (root / "huge.bin").open("wb") as file:
        file.write(b"head")
        file.seek(2 << 30)
        file.write(b"tail")
    scan = Scanner(root, store, kind="data").scan()
    attach(store, tmp_path / "versions", tmp_path / "link", scan.tree)
    assert (tmp_path / "link/huge.bin").stat().st_size == (2 << 30) + 4
    assert sum(used(path) for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()) < 4 * MIB


def test_a_hole_that_an_image_brings_is_one_again(tmp_path):
    data = content("in the middle")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, size in (("top", None), ("top/big.bin", len(data)), ("top/empty", 0), ("top/zero", MIB)):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if size is None else tarfile.REGTYPE
            member.size, member.mode = size or 0, 0o644
            archive.addfile(member, io.BytesIO(data[:size] if name.endswith("bin") else bytes(size or 0)))
    stream.seek(0)
    (tmp_path / "work").mkdir()
    assert seed.bring(stream, frozenset(), tmp_path / "work", tmp_path / "listing") == 3
    assert (tmp_path / "work/big.bin").read_bytes() == data
    assert (tmp_path / "work/zero").read_bytes() == bytes(MIB)
    assert (tmp_path / "work/empty").read_bytes() == b""
    assert used(tmp_path / "work/big.bin") < MIB


def test_a_build_context_has_the_content_and_takes_no_room_for_holes(tmp_path):
    top = tmp_path / "model"
    top.mkdir()
    for shape in SHAPES:
        make(top / f"{shape}.bin", shape)
    (top / ".dockerignore").write_text("# größe\n\nsmall.bin\n.file\n")
    (top / ".file").write_text("FROM a")
    with (tmp_path / "packed").open("w+b", buffering=0) as file, child.Context(file) as packed:
        child.pack(str(top), ".file", packed)
        most = 8 * MIB
        assert used(tmp_path / "packed") < most < (tmp_path / "packed").stat().st_size
        with tarfile.open(fileobj=packed) as archive:
            found = {member.name: archive.extractfile(member).read() for member in archive}
    assert found.pop(".dockerignore") == (top / ".dockerignore").read_bytes()
    assert found.pop(".file") == b"FROM a"
    assert found == {f"{shape}.bin": content(shape) for shape in SHAPES if shape != "small"}
