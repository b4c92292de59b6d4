"""A version is a Merkle tree of directory nodes: entries, their encoding, lookup and difference. Pure.

A node lists one directory, sorted by name; the digest of a file's entry is that of its content, of a link's that
of its target, of a directory's that of its node. Equal digests therefore mean equal trees, and a change rewrites
only the nodes above it. Modes other than the executable bit, owners and times are not part of a version.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple, Protocol

from blake3 import blake3

from kaosd.errors import ContentLost

Kind = Literal["f", "x", "l", "d"]  # file, executable file, link, directory

_MAGIC = b"kaosd node 1\n"  # keeps a node's digest apart from every content that is not a node
_RECORD = struct.Struct("<cHQ32s")
_pack, _raw = _RECORD.pack, bytes.fromhex
_NO_NAMES = {b"", b".", b".."}
_BYTES: dict[Kind, bytes] = {"f": b"f", "x": b"x", "l": b"l", "d": b"d"}
_KINDS = {letter: kind for kind, letter in _BYTES.items()}


class Entry(NamedTuple):
    """One name in a directory. size: bytes of the content, 0 for a directory."""

    name: bytes
    kind: Kind
    digest: str
    size: int


class TreeChange(NamedTuple):
    """One path that differs between two trees; None on the side where it does not exist."""

    path: bytes
    old: Entry | None
    new: Entry | None


class Nodes(Protocol):
    """Where nodes come from; the Store is one."""

    def node(self, digest: str) -> tuple[Entry, ...]:
        """The entries of the directory node *digest*."""


def digest_of(data: bytes) -> str:
    """The name of *data* in the store."""
    return blake3(data).hexdigest()


def encode(entries: Collection[Entry]) -> bytes:
    """The node of *entries*, sorted by name. ValueError for an order or a name that no node can have."""
    names = [entry.name for entry in entries]
    together = b"".join(names)
    if names != sorted(set(names)) or b"/" in together or b"\0" in together or not _NO_NAMES.isdisjoint(names):
        raise ValueError(f"these names cannot be one directory: {names!r}")
    records = [_pack(_BYTES[kind], len(name), size, _raw(digest)) + name for name, kind, digest, size in entries]
    return _MAGIC + b"".join(records)


def decode(data: bytes) -> tuple[Entry, ...]:
    """The reverse of `encode`. ValueError when *data* is not a node."""
    if not data.startswith(_MAGIC):
        raise ValueError("not a directory node")
    entries = []
    position, end = len(_MAGIC), len(data)
    while position < end:
        kind, length, size, digest = _RECORD.unpack_from(data, position)
        position += _RECORD.size
        entries.append(Entry(data[position : position + length], _KINDS[kind], digest.hex(), size))
        position += length
    return tuple(entries)


EMPTY = encode(())  # the node of an empty directory


def join(directory: bytes, name: bytes) -> bytes:
    """The path of *name* in *directory*; b"" is the root."""
    return directory + b"/" + name if directory else name


def split(path: bytes) -> tuple[bytes, bytes]:
    """The directory and the name of *path*."""
    directory, _, name = path.rpartition(b"/")
    return directory, name


def lookup(nodes: Nodes, tree: str | None, path: bytes) -> Entry | None:
    """The entry at *path* in *tree*; None when there is none. Links are not followed."""
    digest, entry = tree, None
    for name in path.split(b"/"):
        if digest is None:
            return None
        entry = find(nodes.node(digest), name)
        digest = entry.digest if entry is not None and entry.kind == "d" else None
    return entry


def find(node: tuple[Entry, ...], name: bytes) -> Entry | None:
    """The entry called *name* in a node."""
    position = bisect_left(node, (name,))
    return node[position] if position < len(node) and node[position].name == name else None


def walk(nodes: Nodes, tree: str | None, below: bytes = b"") -> Iterator[tuple[bytes, Entry]]:
    """Every entry of *tree* with its path (put under *below*), each directory before what is in it."""
    pending = [(below, tree)] if tree is not None else []
    while pending:
        directory, node = pending.pop()
        for entry in nodes.node(node):
            path = join(directory, entry.name)
            yield path, entry
            if entry.kind == "d":
                pending.append((path, entry.digest))


def diff(nodes: Nodes, old: str | None, new: str | None, lost: set[bytes] | None = None) -> tuple[TreeChange, ...]:
    """What differs between two trees (None: the empty tree), sorted by path, so parents come first.

    lost: is given the directories of *old* that cannot be read any more, which then count as empty; None: ContentLost.

    Files and links that were created, removed or changed, and directories that were created, removed or changed
    their kind; a directory that is on both sides is not a change itself. Equal subtrees are not read.
    """
    changes: list[TreeChange] = []
    pairs: list[tuple[bytes, str | None, str | None]] = [(b"", old, new)]
    while pairs:
        directory, before, after = pairs.pop()
        if before == after:
            continue
        olds = _entries(nodes, before, directory, lost)
        news = {entry.name: entry for entry in nodes.node(after)} if after is not None else {}
        for name in olds.keys() | news.keys():
            was, now = olds.get(name), news.get(name)
            if was == now:
                continue
            path = join(directory, name)
            below = _node_of(was), _node_of(now)
            if below != (None, None):
                pairs.append((path, *below))
            if below[0] is None or below[1] is None:
                changes.append(TreeChange(path, was, now))
    return tuple(sorted(changes, key=lambda change: change.path))


def _entries(nodes: Nodes, node: str | None, directory: bytes, lost: set[bytes] | None) -> dict[bytes, Entry]:
    """The entries of a directory by name; see `diff` for *lost*."""
    try:
        return {entry.name: entry for entry in nodes.node(node)} if node is not None else {}
    except ContentLost:
        if lost is None:
            raise
        lost.add(directory)
        return {}


def _node_of(entry: Entry | None) -> str | None:
    return entry.digest if entry is not None and entry.kind == "d" else None
