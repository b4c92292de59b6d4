"""Trees in the words of a test: {path: content}, in the store and on disk.

content: bytes for a file, ("x", bytes) for an executable one, ("l", target) for a link, None for a directory.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from kaosd.bundle import Entry, Store, walk
from kaosd.bundle.tree import split

Content = bytes | tuple[str, bytes] | None
Tree = dict[bytes, Content]


def put_tree(store: Store, files: Tree) -> str:
    """Put a tree into the store; directories on the way need not be named."""
    directories: dict[bytes, dict[bytes, Entry]] = {b"": {}}
    for path, content in files.items():
        above, name = split(path)
        if content is None:
            directories.setdefault(path, {})
        else:
            kind, data = content if isinstance(content, tuple) else ("f", content)
            directories.setdefault(above, {})[name] = Entry(name, kind, store.put(data), len(data))
    for path in list(directories):
        for above in parents(path):
            directories.setdefault(above, {})
    node = ""
    for path in sorted(directories, key=lambda each: each.split(b"/") if each else [], reverse=True):
        node = store.put_node(tuple(directories[path].values()))
        if path:
            above, name = split(path)
            directories[above][name] = Entry(name, "d", node, 0)
    return node


def parents(path: bytes) -> list[bytes]:
    """The directories that *path* lies in, without the top."""
    parts = path.split(b"/")
    return [b"/".join(parts[:length]) for length in range(1, len(parts))]


def in_store(store: Store, tree: str | None) -> Tree:
    """The reverse of put_tree, with all directories and kinds named."""
    return {
        path: None if entry.kind == "d" else (entry.kind, store.get(entry.digest)) for path, entry in walk(store, tree)
    }


def full(files: Tree) -> Tree:
    """*files* with all directories and kinds named."""
    named: Tree = {}
    for path, content in files.items():
        named[path] = ("f", content) if isinstance(content, bytes) else content
        named.update(dict.fromkeys(parents(path)))
    return named


def on_disk(top: Path) -> Tree:
    """What is on disk below *top*."""
    found: Tree = {}
    pending = [(os.fsencode(top), b"")]
    while pending:
        directory, relative = pending.pop()
        for name in os.listdir(directory):
            where, path = os.path.join(directory, name), os.path.join(relative, name)
            mode = os.lstat(where).st_mode
            if stat.S_ISDIR(mode):
                found[path] = None
                pending.append((where, path))
            elif stat.S_ISLNK(mode):
                found[path] = ("l", os.readlink(where))
            elif stat.S_ISREG(mode):
                with open(where, "rb") as file:
                    found[path] = ("x" if mode & stat.S_IXUSR else "f", file.read())
    return found


def write(top: Path, path: bytes, content: Content = b"") -> None:
    """Make *path* below *top* what *content* says, whatever is there; directories on the way are made."""
    where = os.path.join(os.fsencode(top), path)
    remove(top, path)
    os.makedirs(os.path.dirname(where), exist_ok=True)
    kind, data = content if isinstance(content, tuple) else ("f", content)
    if data is None:
        os.mkdir(where)
    elif kind == "l":
        os.symlink(data, where)
    else:
        with open(where, "wb") as file:
            file.write(data)
        os.chmod(where, 0o755 if kind == "x" else 0o644)


def remove(top: Path, path: bytes) -> None:
    """Remove what is at *path*, if anything is."""
    where = os.path.join(os.fsencode(top), path)
    if os.path.isdir(where) and not os.path.islink(where):
        shutil.rmtree(where)
    elif os.path.lexists(where):
        os.unlink(where)


def write_all(top: Path, files: Tree) -> None:
    """Write a whole tree, parents first."""
    for path, content in sorted(files.items()):
        if content is not None or not os.path.isdir(os.path.join(os.fsencode(top), path)):
            write(top, path, content)
