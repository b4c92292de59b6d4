"""A change as operations that a tab carries out on its own model, where documents are not shared. Pure.

An operation is a list: what to do, and with what. They are meant for one after the other, positions in texts count
UTF-16 units as JavaScript does.

["text", start, end, text] · ["source", cell, start, end, text] · ["delete", cell] · ["insert", cell, content]
["metadata" | "outputs" | "count" | "attachments", cell, value] · ["notebook", metadata] · ["minor", number]
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .merge import MergedCell, edited, longest_run, merge_notebooks
from .text import Edit, merge_text

Operation = list[Any]


class Change(NamedTuple):
    """What brings a document up to date. conflict: something of it is replaced. edited: it holds more than base."""

    operations: list[Operation]
    conflict: bool
    edited: bool


def of_text(base: str | None, live: str, incoming: str) -> Change:
    """The change base→incoming for a text that is *live* now. With base None, incoming wins."""
    merge = merge_text(live if base is None else base, live, incoming)
    conflict = merge.conflict or (base is None and live != incoming)
    return Change(_splices(["text"], live, merge.splices), conflict, live != base)


def of_notebook(base: dict[str, Any] | None, live: dict[str, Any], incoming: dict[str, Any]) -> Change:
    """The same for notebooks."""
    merge = merge_notebooks(base, live, incoming)
    operations = _cells(live["cells"], merge.cells)
    if merge.metadata != live["metadata"]:
        operations.append(["notebook", merge.metadata])
    if merge.nbformat_minor != live["nbformat_minor"]:
        operations.append(["minor", merge.nbformat_minor])
    return Change(operations, merge.conflict, edited(live, base))


def _cells(live: list[dict[str, Any]], merged: list[MergedCell]) -> list[Operation]:
    """Turn the *live* cells into the *merged* ones; what stays in order is not made again."""
    staying = [
        cell.origin
        for cell in merged
        if cell.origin is not None and live[cell.origin]["cell_type"] == cell.content["cell_type"]
    ]
    kept = longest_run(staying, [1] * len(staying)) if staying else set()
    operations: list[Operation] = [["delete", index] for index in reversed(range(len(live))) if index not in kept]
    for place, cell in enumerate(merged):
        if cell.origin in kept:
            operations += _cell(place, live[cell.origin], cell)
        else:
            operations.append(["insert", place, cell.content])
    return operations


def _cell(place: int, live: dict[str, Any], cell: MergedCell) -> list[Operation]:
    operations = _splices(["source", place], live["source"], cell.splices)
    for word, key in _VALUES:
        if key in cell.content and live.get(key) != cell.content[key]:
            operations.append([word, place, cell.content[key]])
    return operations


_VALUES = (
    ("metadata", "metadata"),
    ("outputs", "outputs"),
    ("count", "execution_count"),
    ("attachments", "attachments"),
)


def _splices(head: Operation, live: str, splices: tuple[Edit, ...]) -> list[Operation]:
    """Last first, so that the positions of those before stay right."""
    return [[*head, _units(live[: edit.start]), _units(live[: edit.end]), edit.text] for edit in reversed(splices)]


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
