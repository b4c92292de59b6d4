"""Live shared documents: what they hold now, and changes as the smallest splices. Needs jupyter_ydoc and pycrdt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pycrdt import Map, Text

from .keeping import Kept, require
from .merge import MergedCell, edited, longest_run, merge_notebooks
from .operations import of_notebook
from .parsing import parse_notebook, parse_text, written
from .text import Edit, merge_text

if TYPE_CHECKING:
    from jupyter_ydoc import YNotebook, YUnicode

_SHARED = ("source", "outputs", "metadata")  # keys of a cell whose values are shared types of their own


class Change(NamedTuple):
    """conflict: something of the document gave way.

    before: its text, if it held edits that were not in base and the document has changed.
    """

    conflict: bool
    before: str | None


class Live(Protocol):
    """A document of any kind."""

    def parse(self, text: str) -> Any:
        """The content of a file with this text. Raises Unreadable."""

    def splice(self, base: Any, incoming: Any, kept: Kept = None) -> Change:
        """Bring the change base→incoming to the document, in one transaction. With base None, incoming wins.

        Raises Unkept, and changes nothing, when it holds edits that are not *kept*.
        """


class LiveText:
    """A text file. It is shared with line feeds, whatever the file has."""

    def __init__(self, document: YUnicode) -> None:
        self._document = document

    def parse(self, text: str) -> str:
        """The text itself."""
        return parse_text(text)

    def splice(self, base: str | None, incoming: str, kept: Kept = None) -> Change:
        """Replace what differs, word by word."""
        live = self._document.get()
        merge = merge_text(live if base is None else base, live, incoming)
        conflict = merge.conflict or (base is None and live != incoming)
        before = live if merge.splices and (conflict or live != base) else None
        require(before, kept)
        with self._document.ydoc.transaction():
            _splice(self._document.ydoc.get("source", type=Text), live, merge.splices)
        return Change(conflict, before)


class LiveNotebook:
    """A notebook."""

    def __init__(self, document: YNotebook) -> None:
        self._document = document

    def parse(self, text: str) -> dict[str, Any]:
        """The notebook, in nbformat 4."""
        return parse_notebook(text)

    def splice(self, base: dict[str, Any] | None, incoming: dict[str, Any], kept: Kept = None) -> Change:
        """Change cells, sources, outputs and metadata that differ, and leave all others alone."""
        document = self._document
        whole = document.get()
        cells = [{**document.get_cell(index), "id": cell["id"]} for index, cell in enumerate(document.ycells)]
        live = {**whole, "cells": cells}
        merge = merge_notebooks(base, live, incoming)
        touched = merge.conflict or edited(live, base)
        before = written(whole) if touched and of_notebook(base, live, incoming).operations else None
        require(before, kept)
        with document.ydoc.transaction():
            meta = document.ydoc.get("meta", type=Map)
            _update(meta["metadata"], whole["metadata"], merge.metadata)
            if merge.nbformat_minor != whole["nbformat_minor"]:
                meta["nbformat_minor"] = merge.nbformat_minor
            self._splice_cells(cells, merge.cells)
        return Change(merge.conflict, before)

    def _splice_cells(self, live: list[dict[str, Any]], merged: list[MergedCell]) -> None:
        """Turn the *live* cells into the *merged* ones; what stays in order is not made again."""
        shared = self._document.ycells
        staying = [
            cell.origin
            for cell in merged
            if cell.origin is not None and live[cell.origin]["cell_type"] == cell.content["cell_type"]
        ]
        running = [shared[index].get("execution_state") == "running" for index in staying]
        kept = longest_run(staying, [len(staying) + 1 if runs else 1 for runs in running])
        for index in reversed(range(len(live))):
            if index not in kept:
                del shared[index]
        for place, cell in enumerate(merged):
            if cell.origin in kept:
                _update_cell(shared[place], live[cell.origin], cell)
            else:
                shared.insert(place, self._document.create_ycell(cell.content))


def _update_cell(shared: Map, live: dict[str, Any], cell: MergedCell) -> None:
    _splice(shared["source"], live["source"], cell.splices)
    _update(shared["metadata"], live["metadata"], cell.content["metadata"])
    if live.get("outputs") != cell.content.get("outputs"):
        # the tab holds on to this very list, so it is refilled and not replaced
        shared["outputs"].clear()
        shared["outputs"].extend([_shared_output(output) for output in cell.content["outputs"]])
    plain = [{key: value for key, value in each.items() if key not in _SHARED} for each in (live, cell.content)]
    _update(shared, *plain)


def _shared_output(output: dict[str, Any]) -> Map:
    if output.get("output_type") == "stream":
        return Map({**output, "text": Text(output["text"])})
    return Map(output)


def _update(shared: Map, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Change the values that differ between *old* and *new*, and no others."""
    for key in [key for key in old if key not in new]:
        del shared[key]
    for key, value in new.items():
        if key not in old or old[key] != value:
            shared[key] = value


def _splice(shared: Text, live: str, splices: tuple[Edit, ...]) -> None:
    """Apply *splices* of *live*; positions in shared texts count bytes of UTF-8."""
    for edit in reversed(splices):
        start = len(live[: edit.start].encode())
        end = start + len(live[edit.start : edit.end].encode())
        if end > start:
            del shared[start:end]
        if edit.text:
            shared.insert(start, edit.text)
