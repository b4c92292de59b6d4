"""What a save costs, in counts that no machine changes: a guard against growing slower without noticing.

Where one of these numbers changes, it was meant to: say why in the commit.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from blake3 import blake3

from kaosd.bundle import Scanner, Store
from tests.saving import SAVED, tree
from tests.tracing import PATIENCE, tracing

SMALL, LARGE = 20, 10_000
LOOK = {
    "close": 7,
    "fcntl": 4,  # three of them ask whether somebody has the file open for writing
    "fdatasync": 1,
    "newfstatat": 14,
    "openat": 6,
    "pread64": 1,
    "pwrite64": 1,
}
SYNC = {
    "close": 8,
    "fchmod": 1,
    "fcntl": 1,
    "mkdir": 1,
    "newfstatat": 5,
    "openat": 8,  # one of them for what Python has compiled there
    "pread64": 3,
    "renameat": 1,
    "renameat2": 1,
    "unlinkat": 2,
    "write": 1,
}
_CALL = re.compile(r"(\w+)\((?:AT_FDCWD|\d+)?(?:<([^>]*)>)?.*= (-?\d+)")


class Calls:
    """The system calls of one part of a save, in their order: name, path of the descriptor, result."""

    def __init__(self, lines: list[str], place: Path) -> None:
        # Left out is the search for a git that is at work above the root: it follows the depth of the place.
        found = [match for line in lines if '/.git"' not in line and (match := _CALL.match(line))]
        self.calls = [(match[1], (match[2] or "").removeprefix(f"{place}/"), int(match[3])) for match in found]

    def counts(self) -> dict[str, int]:
        """How often each was made, but for the pages of SQLite's index: their number follows its depth."""
        return dict(Counter(name for name, path, _ in self.calls if path != "store/index.db-wal"))

    def synced(self) -> list[str]:
        """The files that were made durable, in order."""
        return [path for name, path, _ in self.calls if name in ("fsync", "fdatasync")]

    def read(self) -> dict[str, int]:
        """Bytes that were read, by the directory that they were read from."""
        found: Counter[str] = Counter()
        for name, path, result in self.calls:
            if name in ("read", "pread64", "readv"):
                found[path.partition("/")[0]] += result
        return dict(found)


def third_save(place: Path, files: int) -> tuple[Calls, Calls]:
    """The calls of looking at a saved file, and of bringing it to the host, once everything is warm."""
    program = [sys.executable, "-m", "tests.saving", str(place), str(files)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as saving:
        assert saving.stdin is not None
        assert saving.stdout is not None
        assert saving.stdout.readline() == "ready\n"
        with tracing(saving.pid, place / "trace", "-y"):
            saving.communicate("go\n", timeout=PATIENCE)
    assert saving.returncode == 0
    lines = (place / "trace").read_text(errors="replace").split("\n")
    looked, synced, ended = (
        next(number for number, line in enumerate(lines) if line.startswith(f'access("/kaosd-{mark}"'))
        for mark in ("look", "sync", "end")
    )
    return Calls(lines[looked + 1 : synced], place), Calls(lines[synced + 1 : ended], place)


@pytest.mark.not_quick
@pytest.mark.parametrize("files", [SMALL, LARGE])
def test_a_save_costs_as_many_system_calls_in_a_small_and_in_a_large_tree(short: Path, files: int) -> None:
    look, sync = third_save(short, files)
    assert look.counts() == LOOK
    assert look.synced() == ["store/packs/1.pack", "store/index.db-wal"]
    assert look.read() == {"root": len("ANSWER = 2\n")}
    assert sync.counts() == SYNC
    assert sync.synced() == []
    assert sync.read() == {"work": 2 * len("ANSWER = 1\n"), "store": len("ANSWER = 2\n")}


class Hashed:
    """Stands before the hash, which goes on as ever, and notes how many bytes each call is given."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, data: bytes = b"") -> blake3:
        self.sizes.append(len(data))
        return blake3(data)


@pytest.mark.parametrize("files", [SMALL, LARGE])
def test_a_save_hashes_its_content_and_the_nodes_above_it(
    short: Path, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tree(short / "root", files)
    store = Store(short / "store")
    scanner = Scanner(short / "root", store, kind="source")
    scanner.scan()
    saved.write_text("ANSWER = 1\n")
    scanner.scan({SAVED})  # the first save may read nodes that walking the whole tree has pushed out of memory
    saved.write_text("ANSWER = 2\n")
    hashed = Hashed()
    monkeypatch.setattr("kaosd.bundle.tree.blake3", hashed)
    node = scanner.scan({SAVED}).tree
    assert node is not None
    sizes, nodes = tuple(hashed.sizes), []
    for name in SAVED.split(b"/"):
        nodes.append(len(store.get(node)))
        node = next(entry.digest for entry in store.node(node) if entry.name == name)
    store.close()
    assert sizes == (len("ANSWER = 2\n"), *reversed(nodes))
