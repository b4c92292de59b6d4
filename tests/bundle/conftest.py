from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaosd.bundle import Entry, Scanner, Store, walk
from kaosd.bundle.tree import digest_of, split


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def data(root: Path, store: Store) -> Scanner:
    return Scanner(root, store, kind="data")


@pytest.fixture
def tree(store: Store) -> Callable[[dict[bytes, object]], str]:
    """Puts a tree described as path: bytes (file), (bytes, "x"), ("l", target) or None (directory)."""

    def put(files: dict[bytes, object]) -> str:
        return put_tree(store, files)

    return put


def put_tree(store: Store, files: dict[bytes, object]) -> str:
    directories: dict[bytes, dict[bytes, Entry]] = {b"": {}}
    for path, content in sorted(files.items()):
        above, name = split(path)
        if content is None:
            directories.setdefault(path, {})
        else:
            kind, data = content if isinstance(content, tuple) else ("f", content)
            directories.setdefault(above, {})[name] = Entry(name, kind, store.put(data), len(data))
    for path in list(directories):
        while path:
            path = split(path)[0]
            directories.setdefault(path, {})
    for path in sorted(directories, key=lambda each: (each.count(b"/") + bool(each), each), reverse=True):
        node = store.put_node(tuple(directories[path].values()))
        if path:
            above, name = split(path)
            directories[above][name] = Entry(name, "d", node, 0)
    return node


def contents_of_tree(store: Store, tree: str | None) -> dict[bytes, object]:
    """The reverse of put_tree."""
    return {path: described(entry, store) for path, entry in walk(store, tree)}


def described(entry: Entry, store: Store) -> object:
    if entry.kind == "d":
        return None
    return (entry.kind, store.get(entry.digest))


def contents_of_disk(top: Path | str) -> dict[bytes, object]:
    """What is on disk below *top*, in the words of contents_of_tree."""
    found: dict[bytes, object] = {}
    start = os.fsencode(top)

    def visit(directory: bytes, relative: bytes) -> None:
        for name in os.listdir(directory):
            full, path = os.path.join(directory, name), os.path.join(relative, name)
            mode = os.lstat(full).st_mode
            if stat.S_ISDIR(mode):
                found[path] = None
                visit(full, path)
            elif stat.S_ISLNK(mode):
                found[path] = ("l", os.readlink(full))
            elif stat.S_ISREG(mode):
                with open(full, "rb") as file:
                    found[path] = ("x" if mode & stat.S_IXUSR else "f", file.read())

    visit(start, b"")
    return found


def write(path: Path | bytes, content: bytes = b"") -> None:
    full = os.fsencode(path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(content)


__all__ = ["contents_of_disk", "contents_of_tree", "digest_of", "put_tree", "write"]
