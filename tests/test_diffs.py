"""Differences of files as they are shown: texts, notebooks cell by cell, and what is neither. Tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kaosd.notebook import cells
from kaosd.notebook.between import compared
from kaosd.notebook.differing import is_meant, spellings
from kaosd.notebook.diffs import LARGE, Side, changed
from kaosd.notebook.edit_counts import is_same_notebook
from kaosd.notebook.line_diffs import NO_NEWLINE, hunks

Cell = dict[str, Any]
TEN = "".join(f"{number}\n" for number in range(10))


def shown(old: str, new: str) -> list[tuple[str, list[str]]]:
    """The hunks as a unified diff has them."""
    return [("{old_start},{old_lines} {new_start},{new_lines}".format(**one), one["lines"]) for one in hunks(old, new)]


TEXTS = {
    "nothing": ("a\n", "a\n", []),
    "from nothing": ("", "a\nb\n", [("0,0 1,2", ["+a", "+b"])]),
    "to nothing": ("a\n", "", [("1,1 0,0", ["-a"])]),
    "a line in the middle": (
        TEN,
        TEN.replace("5\n", "five\n"),
        [("3,7 3,7", [" 2", " 3", " 4", "-5", "+five", " 6", " 7", " 8"])],
    ),
    "at the start": (TEN, "new\n" + TEN, [("1,3 1,4", ["+new", " 0", " 1", " 2"])]),
    "at the end": (TEN, TEN + "new\n", [("8,3 8,4", [" 7", " 8", " 9", "+new"])]),
    "the last line feed": ("a\nb", "a\nb\n", [("1,2 1,2", [" a", "-b", NO_NEWLINE, "+b"])]),
    "two places": (
        TEN + TEN,
        "x\n" + TEN + TEN + "y\n",
        [("1,3 1,4", ["+x", " 0", " 1", " 2"]), ("18,3 19,4", [" 7", " 8", " 9", "+y"])],
    ),
}


def test_texts_whose_comparison_would_take_minutes_are_replaced_between_their_ends() -> None:
    """Each line of many comes hundreds of times, and in another order."""
    old, new = ([f"{number * step % 150}" for number in range(40_000)] for step in (1, 7))
    (hunk,) = hunks("\n".join(["a", "b", *old, "c", ""]), "\n".join(["a", "b", *new, "c", ""]))
    assert [hunk[key] for key in ("old_start", "old_lines", "new_start", "new_lines")] == [1, 40_003, 1, 40_003]
    kept = {sign: [line[1:] for line in hunk["lines"] if line[0] in (" ", sign)] for sign in "-+"}
    assert kept == {"-": ["a", "b", *old, "c"], "+": ["a", "b", *new, "c"]}


@pytest.mark.parametrize("case", TEXTS)
def test_texts_as_hunks(case: str) -> None:
    old, new, expected = TEXTS[case]
    assert shown(old, new) == expected


def code(source: str, name: str = "", outputs: tuple[str, ...] = (), count: int | None = None) -> Cell:
    printed = [{"output_type": "stream", "name": "stdout", "text": text} for text in outputs]
    made: Cell = {
        "cell_type": "code", "source": source, "metadata": {}, "outputs": printed, "execution_count": count,
    }  # fmt: skip
    return {**made, "id": name} if name else made


def notebook(*made: Cell, **metadata: object) -> bytes:
    return json.dumps({"cells": list(made), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def told(old: bytes, new: bytes) -> list[str]:
    """What is said of each cell, in a line."""
    found = changed("a.ipynb", Side("f", len(old), old), Side("f", len(new), new))
    assert found["form"] == "notebook"
    lines = []
    for cell in found["cells"]:
        changes = " ".join(line for hunk in cell["hunks"] for line in hunk["lines"])
        metadata = ",".join(cell["metadata"])
        words = (f"{cell['was']}->{cell['number']}", cell["kind"], changes, cell["outputs"] or "", metadata)
        lines.append(" | ".join(words).rstrip(" |"))
    return lines + [f"metadata {key}" for key in found["metadata"]]


ONE, TWO, THREE = code("one = 1", "a"), code("two = 2", "b"), code("three = 3", "c")
NOTEBOOKS = {
    "nothing": (notebook(ONE, TWO), notebook(ONE, TWO), []),
    "only what opening it writes": (
        notebook(ONE),
        notebook({**ONE, "metadata": {"trusted": True}}, kernelspec={"name": "python3"}, language_info={"name": "py"}),
        [],
    ),
    "sources as lists of lines": (notebook(code("a\nb", "a")), notebook({**ONE, "source": ["a\n", "b"]}), []),
    "source": (notebook(ONE, TWO), notebook(ONE, code("two = 22", "b")), ["2->2 | edited | -two = 2 +two = 22"]),
    "outputs": (
        notebook(code("x", "a", ("1",)), code("y", "b"), code("z", "c", ("1",)), code("w", "d", ("1",), 1)),
        notebook(code("x", "a", ("2",)), code("y", "b", ("1",)), code("z", "c"), code("w", "d", ("1",), 2)),
        [
            "1->1 | edited |  | outputs changed",
            "2->2 | edited |  | outputs added",
            "3->3 | edited |  | outputs removed",
            "4->4 | edited |  | run again",
        ],
    ),
    "both": (
        notebook(code("x", "a", ("1",))),
        notebook(code("y", "a", ("2",))),
        ["1->1 | edited | -x +y | outputs changed"],
    ),
    "a new cell": (notebook(ONE, TWO), notebook(ONE, THREE, TWO), ["None->2 | new | +three = 3"]),
    "a deleted cell": (notebook(ONE, TWO, THREE), notebook(ONE, THREE), ["2->None | deleted | -two = 2"]),
    "a cell that moved": (notebook(ONE, TWO, THREE), notebook(TWO, THREE, ONE), ["1->3 | moved"]),
    "a cell that became markdown": (
        notebook(ONE),
        notebook({"cell_type": "markdown", "source": "one = 1", "metadata": {}, "id": "a"}),
        ["1->1 | edited"],
    ),
    "without ids, by likeness": (
        notebook(code("import os"), code("value = compute(1)\nprint(value)")),
        notebook(code("import os"), code("value = compute(2)\nprint(value)"), code("new")),
        ["2->2 | edited | -value = compute(1) +value = compute(2)  print(value)", "None->3 | new | +new"],
    ),
    "a cell's tags": (notebook(ONE), notebook({**ONE, "metadata": {"tags": ["x"]}}), ["1->1 | edited |  |  | tags"]),
    "the notebook's own metadata": (notebook(ONE), notebook(ONE, title="x"), ["metadata title"]),
    "two sources that share a line": (
        notebook(code("a\nb", "a")),
        notebook(code("a\nc", "a")),
        ["1->1 | edited |  a -b +c"],
    ),
}


@pytest.mark.parametrize("case", NOTEBOOKS)
def test_notebooks_cell_by_cell(case: str) -> None:
    old, new, expected = NOTEBOOKS[case]
    assert told(old, new) == expected
    assert is_same_notebook(old, new) == (not expected)


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"[]", b'{"nbformat": 3, "cells": []}', b'{"nbformat": 4, "cells": [1]}']
)
def test_what_is_no_notebook_is_a_text(broken: bytes) -> None:
    assert changed("a.ipynb", Side("f", 1, b"x\n"), Side("f", len(broken), broken))["form"] == "text"
    assert not is_same_notebook(broken, notebook(ONE))
    assert cells.strip_outputs(broken) == broken


def test_outputs_are_stripped_and_nothing_else() -> None:
    before = notebook(code("x", "a", ("1",), 3), {"cell_type": "markdown", "source": "ü", "metadata": {}}, title="t")
    after = cells.strip_outputs(before)
    assert json.loads(after) == json.loads(
        notebook(code("x", "a"), {"cell_type": "markdown", "source": "ü", "metadata": {}}, title="t")
    )
    assert "ü".encode() in after
    assert cells.strip_outputs(after) == after


FORMS = {
    "a text": ("a.py", Side("f", 2, b"a\n"), Side("f", 2, b"b\n"), {"form": "text", "kind": "edited", "size": 2}),
    "in UTF-16": ("a", Side("f", 2, "a\n".encode("utf-16")), Side("f", 2, b"b\n"), {"form": "text"}),
    "bytes": ("a", Side("f", 2, b"a\0"), Side("f", 3, b"b\0c"), {"form": "binary", "size": 3, "size_before": 2}),
    "a picture instead of a text": ("a", Side("f", 2, b"a\n"), Side("f", 2, b"\xff\xfe\0"), {"form": "binary"}),
    "a large one": ("a", Side("f", 2, b"a\n"), Side("f", LARGE + 1, None), {"form": "large", "size": LARGE + 1}),
    "new": ("a", None, Side("f", 2, b"a\n"), {"kind": "new", "size_before": None}),
    "deleted": ("a", Side("f", 2, b"a\n"), None, {"kind": "deleted", "size": None, "modified_at": None}),
    "a link": ("a", Side("l", 1, b"b"), Side("l", 1, b"c"), {"form": "link"}),
    "made executable": ("a", Side("f", 2, b"a\n"), Side("x", 2, b"a\n"), {"mode": "made executable", "hunks": []}),
    "a new notebook": ("a.ipynb", None, Side("f", 9, notebook(ONE)), {"form": "notebook", "kind": "new"}),
}


@pytest.mark.parametrize("case", FORMS)
def test_the_form_in_which_a_file_is_shown(case: str) -> None:
    path, old, new, expected = FORMS[case]
    found = changed(path, old, new)
    assert {key: found[key] for key in expected} == expected
    json.dumps(found)


NAMES = {
    "itself": (b"a/b.py", "a/b.py", "", True),
    "as a shell completes it": (b"a/b.py", "./a/b.py", "", True),
    "its directory": (b"a/b.py", "a/", "", True),
    "everything": (b"a/b.py", ".", "", True),
    "as it lies in the source": (b"a/b.py", "model/a/b.py", "model", True),
    "the notebook's root in the source": (b"a/b.py", "model", "model", True),
    "another one": (b"a/b.py", "a/b", "", False),
    "a directory of the same beginning": (b"ab/c.py", "a", "", False),
    "as it is shown": (b"\xff.py", "\\xff.py", "", True),
}


@pytest.mark.parametrize("case", NAMES)
def test_what_a_person_may_call_a_path(case: str) -> None:
    path, wanted, top, expected = NAMES[case]
    assert any(is_meant(path, one) for one in spellings(wanted, top)) == expected


def test_packages_of_two_environments() -> None:
    assert compared({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"}) == {
        "added": [{"name": "d", "before": None, "after": "1"}],
        "removed": [{"name": "c", "before": "1", "after": None}],
        "changed": [{"name": "b", "before": "1", "after": "2"}],
    }
