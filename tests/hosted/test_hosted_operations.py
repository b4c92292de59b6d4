"""Operations for a page: carried out one after the other they make of its document what the merge says."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaosd.hosted.merge import merge_notebooks
from kaosd.hosted.operations import Operation, for_page, of_notebook, of_text, shareable, utf8
from kaosd.hosted.served import earlier_pages
from kaosd.hosted.text import merge_text


def replace(text: str, start: int, end: int, new: str) -> str:
    """What updateSource does: positions are UTF-16 units."""
    units = text.encode("utf-16-le")
    return (units[: start * 2] + new.encode("utf-16-le") + units[end * 2 :]).decode("utf-16-le")


def carry_out(document: Any, operations: list[Operation]) -> Any:
    """What the page does (page/kaosd-desk/static/desk.js)."""
    document = copy.deepcopy(document)
    for what, *details in operations:
        if what == "text":
            document = replace(document, *details)
        elif what == "notebook":
            document["metadata"] = details[0]
        elif what == "minor":
            document["nbformat_minor"] = details[0]
        elif what == "delete":
            del document["cells"][details[0]]
        elif what == "insert":
            document["cells"].insert(*details)
        elif what == "source":
            cell = document["cells"][details[0]]
            cell["source"] = replace(cell["source"], *details[1:])
        else:
            key = {"count": "execution_count"}.get(what, what)
            document["cells"][details[0]][key] = details[1]
    return document


texts = st.lists(st.sampled_from(["a = 1\n", "b\n", "\U0001f600 = 2\n", "é\n", "x", "\n"]), max_size=6).map("".join)


@settings(deadline=None)
@given(texts, texts, texts)
def test_a_text_becomes_the_merged_one(base: str, live: str, incoming: str) -> None:
    change = of_text(base, live, incoming)
    merge = merge_text(base, live, incoming)
    assert carry_out(live, change.operations) == merge.text
    assert (change.conflict, change.edited) == (merge.conflict, live != base)


def code(name: str, source: str) -> dict[str, Any]:
    return {
        "id": name, "cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None
    }  # fmt: skip


cells = st.lists(st.tuples(st.sampled_from("abcd"), texts), max_size=4, unique_by=lambda cell: cell[0])
notebooks = cells.map(
    lambda found: {"cells": [code(*cell) for cell in found], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
)


@settings(deadline=None)
@given(notebooks, notebooks, notebooks)
def test_a_notebook_becomes_the_merged_one(base: Any, live: Any, incoming: Any) -> None:
    change = of_notebook(base, live, incoming)
    found = carry_out(live, change.operations)
    wanted = merge_notebooks(base, live, incoming).notebook()
    assert [cell["source"] for cell in found["cells"]] == [cell["source"] for cell in wanted["cells"]]
    assert found["metadata"] == wanted["metadata"]


@pytest.mark.parametrize(
    ("base", "live", "incoming", "operations"),
    [
        pytest.param("a", "a", "a", [], id="nothing"),
        pytest.param("a\n", "a\nmine\n", "b\n", [["text", 0, 1, "b"]], id="beside what was typed"),
        pytest.param("\U0001f600a", "\U0001f600a", "\U0001f600b", [["text", 2, 3, "b"]], id="UTF-16 units"),
    ],
)
def test_operations_are_as_small_as_the_change(
    base: str, live: str, incoming: str, operations: list[Operation]
) -> None:
    assert of_text(base, live, incoming).operations == operations


def test_positions_in_shared_texts_count_bytes() -> None:
    assert of_text("\U0001f600\u00e9a", "\U0001f600\u00e9a", "\U0001f600\u00e9b", utf8).operations == [
        ["text", 6, 7, "b"]
    ]


def book(*cells: Any) -> dict[str, Any]:
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def test_keys_that_pages_cannot_change_are_not_sent_to_them() -> None:
    before = {**code("a", "a"), "own": 1, "gone": 1}
    after = {**code("b", "a"), "own": 2, "execution_count": 3}
    found = of_notebook(book(before), book(before), book(after)).operations
    assert sorted(found) == [["count", 0, 3], ["set", 0, "id", "b"], ["set", 0, "own", 2], ["unset", 0, "gone"]]
    assert for_page(found) == [["count", 0, 3]]


@pytest.mark.parametrize(("running", "moved"), [((), "run"), ({2}, "a b")])
def test_a_running_cell_stays_while_the_others_move(running: Any, moved: str) -> None:
    base = book(code("a", "a"), code("b", "b"), code("run", "run"))
    incoming = book(*(base["cells"][index] for index in (2, 0, 1)))
    operations = of_notebook(base, base, incoming, running=running).operations
    assert " ".join(details[1]["id"] for what, *details in operations if what == "insert") == moved
    assert carry_out(base, operations) == incoming


def test_files_of_earlier_environments_are_found_as_long_as_they_are_there(tmp_path: Any) -> None:
    prefixes = [tmp_path / name for name in ("one", "two", "three", "four", "five", "six")]
    static = [prefix / "share" / "jupyter" / "lab" / "static" for prefix in prefixes]
    for place in static:
        place.mkdir(parents=True)
    for prefix in prefixes[:-1]:
        earlier_pages(str(tmp_path / "data"), str(prefix))
    static[3].rmdir()
    assert earlier_pages(str(tmp_path / "data"), str(prefixes[5])) == [str(static[4]), str(static[2])]
    assert earlier_pages(str(tmp_path / "data"), str(prefixes[4])) == [str(static[5]), str(static[2])]


def test_no_integer_reaches_a_shared_document_that_it_would_not_take() -> None:
    """A page's 1e20 is an int once it was read (jupyter_ydoc), and the host would panic when it moves its cell."""
    data = {"values": [2**63 - 1, -(2**63) + 1, 2**63, 10**20, True, None, "9" * 30, 0.5]}
    found = shareable([3, {"outputs": [{"data": data}]}])
    assert found == [3, {"outputs": [{"data": data}]}]
    assert [type(one) for one in found[1]["outputs"][0]["data"]["values"]] == [
        int, int, float, float, bool, type(None), str, float,
    ]  # fmt: skip
