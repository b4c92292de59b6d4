"""Live shared documents: what they hold now, and changes as the smallest splices. Needs jupyter_ydoc and pycrdt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pycrdt import Map, Text

from .keeping import Kept, require
from .operations import of_notebook, of_text, utf8
from .parsing import parse_notebook, parse_text, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_ydoc import YNotebook, YUnicode


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
        change = of_text(base, live, incoming, utf8)
        before = live if change.touches_edits else None
        require(before, kept)
        with self._document.ydoc.transaction():
            for _, *splice in change.operations:
                _splice(self._document.ydoc.get("source", type=Text), *splice)
        return Change(change.conflict, before)


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
        states = [cell.get("execution_state") for cell in document.ycells]
        running = {index for index, state in enumerate(states) if state == "running"}
        change = of_notebook(base, {**whole, "cells": cells}, incoming, utf8, running)
        before = written(whole) if change.touches_edits else None
        require(before, kept)
        with document.ydoc.transaction():
            for what, *details in change.operations:
                _DO[what](document, *details)
        return Change(change.conflict, before)


def _insert(document: YNotebook, index: int, content: dict[str, Any]) -> None:
    document.ycells.insert(index, document.create_ycell(content))


def _delete(document: YNotebook, index: int) -> None:
    del document.ycells[index]


def _set(document: YNotebook, index: int, key: str, value: Any) -> None:
    document.ycells[index][key] = value


def _unset(document: YNotebook, index: int, key: str) -> None:
    del document.ycells[index][key]


def _set_outputs(document: YNotebook, index: int, outputs: list[dict[str, Any]]) -> None:
    """The tab holds on to this very list, so it is refilled and not replaced."""
    shared = document.ycells[index]["outputs"]
    shared.clear()
    shared.extend([_shared_output(output) for output in outputs])


def _set_minor(document: YNotebook, minor: int) -> None:
    document.ydoc.get("meta", type=Map)["nbformat_minor"] = minor


# What an operation (operations.py) does to a shared notebook.
_DO: dict[str, Callable[..., None]] = {
    "source": lambda document, index, *splice: _splice(document.ycells[index]["source"], *splice),
    "delete": _delete,
    "insert": _insert,
    "metadata": lambda document, index, value: _update(document.ycells[index]["metadata"], value),
    "outputs": _set_outputs,
    "count": lambda document, index, value: _set(document, index, "execution_count", value),
    "attachments": lambda document, index, value: _set(document, index, "attachments", value),
    "set": _set,
    "unset": _unset,
    "notebook": lambda document, value: _update(document.ydoc.get("meta", type=Map)["metadata"], value),
    "minor": _set_minor,
}


def _shared_output(output: dict[str, Any]) -> Map:
    if output.get("output_type") == "stream":
        return Map({**output, "text": Text(output["text"])})
    return Map(output)


def _update(shared: Map, new: dict[str, Any]) -> None:
    """Change the values that differ from *new*, and no others."""
    old = shared.to_py() or {}
    for key in [key for key in old if key not in new]:
        del shared[key]
    for key, value in new.items():
        if key not in old or old[key] != value:
            shared[key] = value


def _splice(shared: Text, start: int, end: int, text: str) -> None:
    """Replace [start, end), in bytes of UTF-8, by *text*."""
    if end > start:
        del shared[start:end]
    if text:
        shared.insert(start, text)
