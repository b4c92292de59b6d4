"""A change as operations, which its document then carries out: the shared one (live.py), or the model of a page. Pure.

An operation is a list: what to do, and with what. They are meant for one after the other.

["text", start, end, text] · ["source", cell, start, end, text] · ["delete", cell] · ["insert", cell, content]
["metadata" | "outputs" | "count" | "attachments", cell, value] · ["notebook", metadata] · ["minor", number]
["set", cell, key, value] · ["unset", cell, key]: of other keys of a cell, which pages cannot change
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .merge import MergedCell, edited, longest_run, merge_notebooks
from .text import Edit, merge_text

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    Length = Callable[[str], int]  # of a text, in the units that positions count

Operation = list[Any]

_INTEGER = 63  # bits of the largest integer in a shared document
_WORDS = {"metadata": "metadata", "outputs": "outputs", "execution_count": "count", "attachments": "attachments"}


def utf8(text: str) -> int:
    """Bytes, which positions in shared documents count."""
    return len(text.encode())


def utf16(text: str) -> int:
    """Units of UTF-16, which positions in JavaScript count."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class Change(NamedTuple):
    """What brings a document up to date. conflict: something of it is replaced. edited: it holds more than base."""

    operations: list[Operation]
    conflict: bool
    edited: bool

    @property
    def touches_edits(self) -> bool:
        """Whether the document changes and holds edits of a person, so that its text is to be kept."""
        return bool(self.operations) and (self.conflict or self.edited)


def of_text(base: str | None, live: str, incoming: str, length: Length = utf16) -> Change:
    """The change base→incoming for a text that is *live* now. With base None, incoming wins."""
    merge = merge_text(live if base is None else base, live, incoming)
    conflict = merge.conflict or (base is None and live != incoming)
    return Change(_splices(["text"], live, merge.splices, length), conflict, live != base)


def of_notebook(
    base: dict[str, Any] | None,
    live: dict[str, Any],
    incoming: dict[str, Any],
    length: Length = utf16,
    running: Container[int] = (),
) -> Change:
    """The same for notebooks. running: indexes of live cells that stay where they are while others move."""
    merge = merge_notebooks(base, live, incoming)
    operations = _cells(live["cells"], merge.cells, length, running)
    if merge.metadata != live["metadata"]:
        operations.append(["notebook", merge.metadata])
    if merge.nbformat_minor != live["nbformat_minor"]:
        operations.append(["minor", merge.nbformat_minor])
    return Change(operations, merge.conflict, edited(live, base))


def for_page(operations: list[Operation]) -> list[Operation]:
    """Those that a page can carry out."""
    return [operation for operation in operations if operation[0] not in ("set", "unset")]


def shareable(value: Any) -> Any:
    """A JSON value as shared documents take it, which have no int of 2**63 or more.

    jupyter_ydoc reads a float of that size as an int, and pycrdt panics when it gets that again.
    """
    if isinstance(value, list):
        return [shareable(one) for one in value]
    if isinstance(value, dict):
        return {key: shareable(one) for key, one in value.items()}
    return float(value) if isinstance(value, int) and value.bit_length() > _INTEGER else value


def _cells(
    live: list[dict[str, Any]], merged: list[MergedCell], length: Length, running: Container[int]
) -> list[Operation]:
    """Turn the *live* cells into the *merged* ones; what stays in order is not made again."""
    staying = [
        cell.origin
        for cell in merged
        if cell.origin is not None and live[cell.origin]["cell_type"] == cell.content["cell_type"]
    ]
    kept = longest_run(staying, [len(staying) + 1 if index in running else 1 for index in staying])
    operations: list[Operation] = [["delete", index] for index in reversed(range(len(live))) if index not in kept]
    for place, cell in enumerate(merged):
        if cell.origin in kept:
            operations += _cell(place, live[cell.origin], cell, length)
        else:
            operations.append(["insert", place, cell.content])
    return operations


def _cell(place: int, live: dict[str, Any], cell: MergedCell, length: Length) -> list[Operation]:
    operations = _splices(["source", place], live["source"], cell.splices, length)
    operations += [["unset", place, key] for key in live if key not in cell.content]
    for key, value in cell.content.items():
        if key != "source" and (key not in live or live[key] != value):
            operations.append([_WORDS[key], place, value] if key in _WORDS else ["set", place, key, value])
    return operations


def _splices(head: Operation, live: str, splices: tuple[Edit, ...], length: Length) -> list[Operation]:
    """Last first, so that the positions of those before stay right."""
    return [[*head, length(live[: edit.start]), length(live[: edit.end]), edit.text] for edit in reversed(splices)]
