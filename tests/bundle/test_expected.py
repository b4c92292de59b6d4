"""Data that the code of a bundle reads: what is there and what is not, and that a save looks at changed files only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from trees import full, write, write_all

from kaosd.bundle import Scanner
from kaosd.bundle.expected import Expected, Reading
from kaosd.notebook import data_link

NOTEBOOK = {"cells": [{"cell_type": "code", "source": 'read_csv("data/x.csv")'}]}
READS = b'open("data/x.csv")'
INPUT = b'read_csv("../input/x.csv")'
BOTH, KEY = "data/ in the notebook's root and KAOS_DATA", "KAOS_DATA"


@pytest.fixture
def source(root, store) -> Scanner:
    return Scanner(root, store, kind="source")


def found(source: Scanner, store, root: str = "") -> tuple[Expected, ...]:
    """What the code reads and has not."""
    return Reading(store).expected(source.scan().tree, root)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({b"a.py": b"1"}, None),
        ({b"a.py": READS}, ("a.py", "data/x.csv")),
        ({b"a.txt": READS}, None),
        ({b"a.ipynb": json.dumps(NOTEBOOK).encode()}, ("a.ipynb", "data/x.csv")),
        ({b"a.py": READS, b"data/README": b""}, None),
        ({b"a.py": READS, b"data": ("l", b"files"), b"files/x.csv": b""}, None),
        ({b"src/a.py": READS, b"data/x.csv": b""}, None),
        ({b"src/a.py": READS, b"src/data/x.csv": b""}, None),
        ({b"src/a.ipynb": json.dumps(NOTEBOOK).encode(), b"data/x.csv": b""}, ("src/a.ipynb", "data/x.csv")),
        ({b"src/a.py": INPUT}, ("src/a.py", "../input/x.csv")),
        ({b"src/a.py": INPUT, b"input/x.csv": b""}, None),
        ({b"src/a.py": READS, b"z.py": INPUT}, ("z.py", "../input/x.csv")),
        ({b"a.py": READS, b"fetch.py": b'os.makedirs("data")'}, None),
        ({b"tests/a.py": READS, b".hidden/a.py": READS, b"node_modules/a.py": READS}, None),
        ({b"a.py": b"\xff\xfe\0" + READS}, None),
        ({b"a.py": b"\xef\xbb\xbf" + READS}, ("a.py", "data/x.csv")),
        ({b"model/requirements.txt": b"", b"model/a.py": READS}, ("model/a.py", "data/x.csv")),
        ({b"model/requirements.txt": b"", b"model/a.py": READS, b"data/x": b""}, ("model/a.py", "data/x.csv")),
        ({b"model/requirements.txt": b"", b"model/a.py": READS, b"model/data/x": b""}, None),
    ],
)
def test_the_first_that_is_not_there(source, store, root, files, expected):
    write_all(root, full(files))
    reads = found(source, store, "model" if (root / "model").exists() else "")
    assert [(one.file, one.path) for one in reads[:1]] == ([expected] if expected else [])


class Counting:
    """A store that counts what is read of it."""

    def __init__(self, store: Any) -> None:
        self._store, self.reads = store, 0

    def node(self, digest: str) -> Any:
        """See `Store`."""
        self.reads += 1
        return self._store.node(digest)

    def get(self, digest: str) -> bytes:
        """See `Store`."""
        self.reads += 1
        content: bytes = self._store.get(digest)
        return content


def test_a_save_costs_a_look_at_the_changed_file(source, store, root):
    write_all(root, {b"%d/%d.py" % (outer, inner): b"n = %d" % inner for outer in range(20) for inner in range(20)})
    counting = Counting(store)
    reading = Reading(counting)  # type: ignore[arg-type]
    assert reading.expected(source.scan().tree, "") == ()
    counting.reads = 0
    write(root, b"7/7.py", READS)
    (one,) = reading.expected(source.scan().tree, "")
    assert one.file == "7/7.py"
    assert counting.reads < 20


def test_of_very_much_code_only_some_is_looked_at(source, store, root):
    write_all(
        root, {b"%d/%d.py" % (outer, inner): b"n = %d%d" % (outer, inner) for outer in range(40) for inner in range(40)}
    )
    counting = Counting(store)
    reading = Reading(counting)  # type: ignore[arg-type]
    reading.expected(source.scan().tree, "")
    assert counting.reads < 1100
    counting.reads = 0
    write(root, b"0/0.py", b"n = -1")
    reading.expected(source.scan().tree, "")
    assert counting.reads < 600  # of what was left out, the files in the directory of the change at most, and lookups


@pytest.mark.parametrize(
    ("directories", "taken", "target", "attached", "says"),
    [
        (
            ("data",),
            False,
            "../data",
            False,
            f"no data is attached: kaosctl up -d DIR attaches some, which is then at {BOTH}",
        ),
        (("data",), False, "../data", True, None),
        (("data",), False, "/pfs/data-n", True, None),
        (("data",), False, None, True, f"is at {KEY}; let the code read it there"),
        (("data",), False, None, False, f"is then at {KEY}"),
        (("src/data", "data"), False, "../data", True, None),
        (("src/data",), False, "../data", True, f"is at {BOTH}; let the code read it there"),
        (("../data",), False, "../data", True, None),
        (("../data",), False, "/pfs/data-n", True, f"is at {BOTH}; let the code read it there"),
        (("../input",), False, "../data", True, f"is at {BOTH}; let the code read it there"),
        (("../input",), True, "../data", True, f"is at {KEY}; let the code read it there"),
        (("/kaggle/input",), False, "../data", False, f"is then at {BOTH}"),
    ],
)
def test_the_sentence_says_what_to_do(directories, taken, target, attached, says):
    one = Expected("a.py", "line 3", "PATH", directories, taken)
    told = data_link.warning([one], target, attached=attached)
    if says is None:
        assert told is None
    else:
        assert told.startswith("a.py (line 3) reads PATH, which is not ")
        assert told.endswith(says)


def test_one_sentence_about_the_first_that_finds_nothing():
    reads = [
        Expected(name, "line 1", "x", (place,)) for name, place in [("a", "data"), ("b", "../input"), ("c", "input")]
    ]
    told = data_link.warning(reads, "../data", attached=True)
    assert told is not None
    assert told.startswith("b (line 1)")
    assert data_link.warning([], None, attached=False) is None
