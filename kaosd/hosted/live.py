"""Live shared documents: what they hold now, and changes as the smallest splices. Needs jupyter_ydoc and pycrdt."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jupyter_ydoc import YNotebook
from pycrdt import Map, Text

from .keeping import Kept, require
from .operations import of_notebook, of_text, shareable, utf8
from .parsing import NotebookParser, parse_text, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_ydoc import YUnicode


class SpliceResult(NamedTuple):
    """conflict: something of the document gave way.

    before: its text, if it held edits that were not in base and the document has changed.
    """

    conflict: bool
    before: str | None


class SharedDocument(Protocol):
    """A document of any kind."""

    def parse(self, text: str) -> Any:
        """The content of a file with this text. Raises Unreadable."""

    def get(self) -> Any:
        """What it holds, as the content of its file."""

    def splice(self, base: Any, incoming: Any, kept: Kept = None) -> SpliceResult:
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

    def get(self) -> str:
        """The text."""
        return str(self._document.get())

    def splice(self, base: str | None, incoming: str, kept: Kept = None) -> SpliceResult:
        """Replace what differs, word by word."""
        live = self._document.get()
        change = of_text(base, live, incoming, utf8)
        before = live if change.touches_edits else None
        require(before, kept)
        with self._document.ydoc.transaction():
            for _, *splice in change.operations:
                _splice(self._document.ydoc.get("source", type=Text), *splice)
        return SpliceResult(change.conflict, before)


class LiveNotebook:
    """A notebook."""

    def __init__(self, document: YNotebook) -> None:
        self._document = document
        self._parser = NotebookParser()

    def parse(self, text: str) -> dict[str, Any]:
        """The notebook, in nbformat 4; not to be changed."""
        return self._parser.parse(text)

    def get(self) -> dict[str, Any]:
        """The notebook; cells of nbformat 4.4 or older have no ids."""
        return self._file(read(self._document)[0])

    def _file(self, live: dict[str, Any]) -> dict[str, Any]:
        if live["nbformat_minor"] < 5 or _repeated(live["cells"]):
            return dict(self._document.get())
        return live

    def splice(self, base: dict[str, Any] | None, incoming: dict[str, Any], kept: Kept = None) -> SpliceResult:
        """Change cells, sources, outputs and metadata that differ, and leave all others alone."""
        document = self._document
        live, running = read(document)
        change = of_notebook(base, live, incoming, utf8, running)
        before = written(self._file(live)) if change.touches_edits else None
        require(before, kept)
        with document.ydoc.transaction():
            for what, *details in change.operations:
                _DO[what](document, *shareable(details))
        return SpliceResult(change.conflict, before)


def read(document: YNotebook) -> tuple[dict[str, Any], frozenset[int]]:
    """What a shared notebook holds, all its cells with their ids, and the indexes of those that run."""
    parts = _by_json if json_tells_all() else _by_value
    cells, meta = parts(document)
    if _repeated(cells):
        document.get()  # gives other ids to those that only share one
        cells, meta = parts(document)
    running = frozenset(index for index, cell in enumerate(cells) if cell.pop("execution_state", None) == "running")
    return {
        "cells": cells,
        "metadata": meta.get("metadata", {}),
        "nbformat": meta.get("nbformat", 0),
        "nbformat_minor": meta.get("nbformat_minor", 0),
    }, running


def _by_value(document: YNotebook) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    shared = enumerate(document.ycells)
    own = ("id", "execution_state")
    return [
        {**document.get_cell(index), **{key: cell.get(key) for key in own}} for index, cell in shared
    ], document.get()


def _by_json(document: YNotebook) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The same in a tenth of the time: jupyter_ydoc asks pycrdt for one value after another."""
    shared = (document.ycells, document.ydoc.get("meta", type=Map))
    cells, meta = (json.loads(str(part), parse_float=_number) for part in shared)
    for cell in cells:
        if cell["cell_type"] != "code" and not cell.get("attachments", True):
            del cell["attachments"]
    return cells, meta


def _number(text: str) -> float:
    """Pages write whole numbers as they do all others."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _repeated(cells: list[dict[str, Any]]) -> bool:
    return len({cell.get("id") for cell in cells}) < len(cells)


@cache
def json_tells_all() -> bool:
    """Whether pycrdt writes as JSON what jupyter_ydoc reads, in the versions that are installed."""
    values = {"e": [1, 2.0, 0.1, 1e21, 1e-7, -3, None, True, '\u2028\0"\\\u00e9\U0001f600'], "a": {"b": {}}}
    output = {"output_type": "display_data", "data": {"application/json": values}, "metadata": {}}
    stream = {"output_type": "stream", "name": "stdout", "text": "1\r\n\u00e9"}
    both = {"metadata": values, "source": "\u00e9\t\n\U0001f600"}
    cells = [
        {**both, "id": "a", "cell_type": "code", "outputs": [stream, output], "execution_count": 2.0},
        {**both, "id": "b", "cell_type": "markdown", "attachments": {"a": {"image/png": "eA=="}}},
        {**both, "id": "c", "cell_type": "raw", "attachments": {}},
    ]
    document = YNotebook()
    document.set({"cells": cells, "metadata": values, "nbformat": 4, "nbformat_minor": 5})
    found, meta = _by_json(document)
    for cell in found:
        cell.pop("execution_state", None)
    return bool({"cells": found, **meta} == document.get())


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
