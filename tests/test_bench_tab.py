"""What `make bench` saves while it looks at a tab: documents of the same cells, written in two ways."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest

from tests.bench.tab import KINDS, WAYS, Kind, sources


@pytest.mark.parametrize("kind", KINDS, ids=[kind.what for kind in KINDS])
def test_two_saves_differ_in_the_marker_alone(kind: Kind) -> None:
    for text in (kind.text, kind.marimo):
        assert text("one").count("one") == 1
        assert text("one").replace("one", "two") == text("two")


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]], ids=["small", "large"])
def test_the_notebook_of_marimo_has_the_cells_of_the_other(kind: Kind) -> None:
    cells = ["".join(cell["source"]) for cell in json.loads(kind.text("here"))["cells"]]
    assert cells == sources(len(cells), "here")
    functions = [node for node in ast.parse(kind.marimo("here")).body if isinstance(node, ast.FunctionDef)]
    bodies = [[ast.unparse(line) for line in one.body if not isinstance(line, ast.Return)] for one in functions]
    assert bodies == [[ast.unparse(line) for line in ast.parse(cell).body] for cell in cells]
    assert [[one.arg for one in each.args.args] for each in functions] == [[], *[["rate"]] * (len(cells) - 1)]


def test_a_file_is_replaced_by_another_one_or_written_in_place(tmp_path: Path) -> None:
    file = tmp_path / "n.ipynb"
    file.write_text("before, and longer")
    kept = os.stat(file).st_ino
    for (way, write), same in zip(WAYS.items(), (False, True), strict=True):
        write(file, way)
        assert file.read_text() == way
        assert (os.stat(file).st_ino == kept) is same
        assert os.listdir(tmp_path) == ["n.ipynb"]
        kept = os.stat(file).st_ino
