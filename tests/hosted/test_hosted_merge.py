"""Three-way merge of notebooks, cell by cell: named cases, and what holds for all notebooks."""

import re
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaosd.hosted.merge import longest_run, merge_notebooks

PRINTED = [{"output_type": "stream", "name": "stdout", "text": "printed\n"}]


def code(name, source, outputs=(), count=None, **metadata):
    cell = {"cell_type": "code", "source": source, "metadata": metadata}
    return {**cell, "id": name, "outputs": list(outputs), "execution_count": count}


def markdown(name, source):
    return {"cell_type": "markdown", "source": source, "metadata": {}, "id": name}


def notebook(*cells, minor=5, **metadata):
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": minor}


def without_ids(*cells):
    return notebook(*({key: value for key, value in cell.items() if key != "id"} for cell in cells), minor=4)


A, B, C = code("a", "a = 1"), code("b", "b = 1\nprint(b)"), markdown("c", "# Title")
B_NEW = code("b", "b = 2\nprint(b)")
B_RUN = code("b", "b = 1\nprint(b)", PRINTED, 3)
B_RERUN = code("b", "b = 1\nprint(b)", [{**PRINTED[0], "text": "other\n"}], 4)
MINE, THEIRS = code("mine", "mine()"), code("theirs", "theirs()")

CASES = {
    # each: the base, the live notebook, the incoming one, what they merge to, whether there was a conflict
    "incoming changes a source": (notebook(A, B), notebook(A, B), notebook(A, B_NEW), notebook(A, B_NEW), False),
    "outputs of other cells stay": (
        notebook(A, B),
        notebook(A, B_RUN),
        notebook(code("a", "a = 2"), B),
        notebook(code("a", "a = 2"), B_RUN),
        False,
    ),
    "outputs stay when the incoming source changed and brings none": (
        notebook(B),
        notebook(B_RUN),
        notebook(B_NEW),
        notebook({**B_RUN, "source": B_NEW["source"]}),
        False,
    ),
    "outputs that only incoming has are taken": (notebook(B), notebook(B), notebook(B_RUN), notebook(B_RUN), False),
    "both ran an unchanged cell": (notebook(B), notebook(B_RUN), notebook(B_RERUN), notebook(B_RUN), False),
    "incoming changed and ran a cell that ran here": (
        notebook(B),
        notebook(B_RUN),
        notebook({**B_RERUN, "source": "b = 3"}),
        notebook({**B_RERUN, "source": "b = 3"}),
        True,
    ),
    "both sides edit one cell in different lines": (
        notebook(B),
        notebook(code("b", "b = 1\nprint(b)  # mine")),
        notebook(B_NEW),
        notebook(code("b", "b = 2\nprint(b)  # mine")),
        False,
    ),
    "both sides add a cell": (notebook(A), notebook(A, MINE), notebook(A, THEIRS), notebook(A, THEIRS, MINE), False),
    "incoming deletes an untouched cell": (notebook(A, B), notebook(A, B, MINE), notebook(A), notebook(A, MINE), False),
    "incoming deletes a cell that was edited here": (
        notebook(A, B),
        notebook(A, B_NEW),
        notebook(A),
        notebook(A),
        True,
    ),
    "a cell deleted here stays deleted": (
        notebook(A, B, C),
        notebook(A, C),
        notebook(code("a", "a = 2"), B, C),
        notebook(code("a", "a = 2"), C),
        False,
    ),
    "a cell deleted here and changed there comes back": (
        notebook(A, B, C),
        notebook(A, C),
        notebook(A, B_NEW, C),
        notebook(A, B_NEW, C),
        True,
    ),
    "incoming moves a cell, the person edits it": (
        notebook(A, B, C),
        notebook(A, B_NEW, C),
        notebook(C, A, B),
        notebook(C, A, B_NEW),
        False,
    ),
    "the person moves a cell, incoming edits it": (
        notebook(A, B, C),
        notebook(C, A, B),
        notebook(A, B_NEW, C),
        notebook(C, A, B_NEW),
        False,
    ),
    "a cell turns into text": (
        notebook(B_RUN),
        notebook(B_RUN),
        notebook(markdown("b", B["source"])),
        notebook(markdown("b", B["source"])),
        False,
    ),
    "what JupyterLab fills in stays": (
        notebook(A),
        notebook(code("a", "a = 1", trusted=True), language_info={"name": "python"}),
        notebook(code("a", "a = 2")),
        notebook(code("a", "a = 2", trusted=True), language_info={"name": "python"}),
        False,
    ),
    "metadata key by key": (
        notebook(code("a", "", tags=["x"]), title="old"),
        notebook(code("a", "", tags=["x"], collapsed=True), title="old", mine=1),
        notebook(code("a", "", tags=["y"]), title="new"),
        notebook(code("a", "", tags=["y"], collapsed=True), title="new", mine=1),
        False,
    ),
    "ids made anew": (
        notebook(A, B, C),
        notebook(A, B_RUN, C),
        notebook(code("x", "a = 1"), code("y", "b = 2\nprint(b)"), markdown("z", "# Title")),
        notebook(code("x", "a = 1"), {**B_RUN, "id": "y", "source": B_NEW["source"]}, markdown("z", "# Title")),
        False,
    ),
    "no ids at all": (
        without_ids(A, B, C),
        {**notebook(A, B_RUN, MINE, C), "nbformat_minor": 4},  # the shared document has ids even then
        without_ids(A, B_NEW, THEIRS, C),
        without_ids(A, {**B_RUN, "source": B_NEW["source"]}, THEIRS, MINE, C),
        False,
    ),
    "unknown base, untouched": (None, notebook(A, B_RUN), notebook(A, B), notebook(A, B_RUN), False),
    "unknown base, different": (
        None,
        notebook(A, B_RUN),
        notebook(A, B_NEW),
        notebook(A, {**B_RUN, **{"source": B_NEW["source"]}}),
        True,
    ),
    "the same change again": (
        notebook(A),
        notebook(A, code("theirs", "theirs()  # mine"), MINE),
        notebook(A, THEIRS),
        notebook(A, code("theirs", "theirs()  # mine"), MINE),
        False,
    ),
    "both sides add a cell of the same id": (
        notebook(A),
        notebook(A, code("x", "mine")),
        notebook(code("x", "other"), A),
        notebook(A, code("x", "other")),
        True,
    ),
}


@pytest.mark.parametrize(("base", "live", "incoming", "merged", "conflict"), CASES.values(), ids=CASES)
def test_merge_of_notebooks(base, live, incoming, merged, conflict):
    merge = merge_notebooks(base, live, incoming)
    assert (merge.notebook(), merge.conflict) == (merged, conflict)


def test_outputs_from_elsewhere_are_not_trusted():
    merge = merge_notebooks(notebook(B), notebook({**B, "metadata": {"trusted": True}}), notebook(B_RUN))
    assert merge.notebook() == notebook(B_RUN)


def test_a_live_cell_whose_id_is_taken_by_the_incoming_notebook_gets_another():
    merge = merge_notebooks(notebook(A), notebook(A, {**MINE, "id": "b"}, {**MINE, "id": "b"}), notebook(A, B))
    assert [cell.content["source"] for cell in merge.cells] == ["a = 1", B["source"], "mine()", "mine()"]
    assert_valid(merge.notebook())


def test_only_the_changed_cell_has_splices():
    cells = [code(f"c{number}", f"x = {number}\n" * 20) for number in range(300)]
    changed = deepcopy(cells)
    changed[150]["source"] += "y = 1\n"
    merge = merge_notebooks(notebook(*cells), notebook(MINE, *cells), notebook(*changed))
    assert [cell.origin for cell in merge.cells] == list(range(301))
    assert [len(cell.splices) for cell in merge.cells] == [int(number == 151) for number in range(301)]


@pytest.mark.parametrize(
    ("places", "weights", "kept"),
    [
        ([], [], set()),
        ([0, 1, 2], [1, 1, 1], {0, 1, 2}),
        ([1, 2, 0], [1, 1, 1], {1, 2}),
        ([1, 2, 0], [1, 1, 9], {0}),  # the heavy one is a running cell: it must not be made anew
    ],
)
def test_the_heaviest_increasing_run(places, weights, kept):
    assert longest_run(places, weights) == kept


def assert_valid(content):
    """The rules of nbformat 4 that a merge could break."""
    names = [cell.get("id") for cell in content["cells"]]
    if content["nbformat_minor"] >= 5:
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name or "") for name in names)
        assert len(set(names)) == len(names)
    else:
        assert names == [None] * len(names)
    for cell in content["cells"]:
        expected = {"cell_type", "source", "metadata", *(["id"] if content["nbformat_minor"] >= 5 else [])}
        results = {"outputs", "execution_count"} if cell["cell_type"] == "code" else set()
        assert set(cell) == expected | results
        assert isinstance(cell["source"], str)
        assert isinstance(cell["metadata"], dict)


sources = st.lists(st.sampled_from(["", "x", "x = 1", "print(x)", "# t", "é😀"]), max_size=4).map("\n".join)
outputs = st.sampled_from([([], None), (PRINTED, 1), ([], 2)])
names = st.sampled_from([f"n{number}" for number in range(12)])


@st.composite
def notebooks(draw, minors=(4, 5)):
    minor = draw(st.sampled_from(minors))
    cells = []
    for name in draw(st.lists(names, unique=True, max_size=8)):
        source = draw(sources)
        results, count = draw(outputs)
        cells.append(draw(st.sampled_from([code(name, source, results, count), markdown(name, source)])))
    return notebook(*cells) if minor == 5 else without_ids(*cells)


@given(notebooks(), notebooks())
def test_an_untouched_notebook_becomes_the_incoming_one(base, incoming):
    merge = merge_notebooks(base, base, incoming)
    if base["nbformat_minor"] == incoming["nbformat_minor"]:
        assert merge.notebook() == incoming
    assert_valid(merge.notebook())
    assert not merge.conflict


@given(notebooks(), notebooks())
def test_an_unchanged_notebook_touches_nothing(base, live):
    merge = merge_notebooks(base, live, base)
    if base["nbformat_minor"] == live["nbformat_minor"]:
        assert merge.notebook() == live
    assert [cell.origin for cell in merge.cells] == list(range(len(live["cells"])))
    assert not any(cell.splices for cell in merge.cells)


@given(st.one_of(st.none(), notebooks()), notebooks(), notebooks())
def test_the_result_is_a_valid_notebook(base, live, incoming):
    before = deepcopy((base, live, incoming))
    merge = merge_notebooks(base, live, incoming)
    assert_valid(merge.notebook())
    assert before == (base, live, incoming)
    origins = [cell.origin for cell in merge.cells if cell.origin is not None]
    assert len(set(origins)) == len(origins)


@given(st.data(), st.integers(1, 12))
def test_cells_and_text_typed_beside_the_change_are_not_lost(data, count):
    cells = [code(f"n{number}", f"value_{number} = {number}\nprint({number})") for number in range(count)]
    places = st.sets(st.integers(0, count - 1))
    live, incoming = deepcopy(cells), deepcopy(cells)
    for number in data.draw(places):
        live[number]["source"] += f"\ntyped_{number}"
    for number in data.draw(places):
        incoming[number]["source"] = "import os\n" + incoming[number]["source"]
    live.insert(data.draw(st.integers(0, count)), MINE)
    if data.draw(st.booleans()):
        incoming.reverse()
    incoming.insert(data.draw(st.integers(0, count)), THEIRS)
    merge = merge_notebooks(notebook(*cells), notebook(*live), notebook(*incoming))
    text = "\n".join(cell.content["source"] for cell in merge.cells)
    assert not merge.conflict
    wanted = "\n".join(cell["source"] for cell in [*live, *incoming]).split("\n")
    assert set(wanted) == set(text.split("\n"))
