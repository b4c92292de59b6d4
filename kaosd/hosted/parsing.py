"""Texts of files as documents, and back. Needs nbformat, which every JupyterLab has."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import nbformat
import nbformat.reader

from .keeping import digest


class Unreadable(Exception):
    """A text that is not a document of the kind that it should be; says why."""


def parse_text(text: str) -> str:
    """A text file as it is edited: with line feeds, whatever the file has. Raises Unreadable."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unreadable(f"not a text: {error.reason} at character {error.start}") from error
    return text.replace("\r\n", "\n")


def parse_notebook(text: str) -> dict[str, Any]:
    """The notebook, in nbformat 4. Raises Unreadable."""
    parse_text(text)
    try:
        notebook = nbformat.convert(nbformat.reader.reads(text), 4)
        nbformat.validate(notebook)  # once; nbformat.reads validates too, and then only logs what it finds
    except Exception as error:
        raise Unreadable(f"not a notebook: {str(error).splitlines()[0]}") from error
    return dict(notebook)


@dataclass(frozen=True)
class _Parsed:
    """A notebook whose cells all have different ids. raw, cells: by id, as in the file and parsed. rest: all else."""

    rest: Any
    raw: dict[str, Any]
    cells: dict[str, Any]


class NotebookParser:
    """Parses the contents of one file, each of which is mostly the one before: only cells that differ are parsed."""

    def __init__(self) -> None:
        self._digest = ""
        self._notebook: dict[str, Any] = {}
        self._parsed: _Parsed | None = None

    def parse(self, text: str) -> dict[str, Any]:
        """See parse_notebook. What is returned is not to be changed: the next one may have parts of it."""
        name = digest(text)
        if name != self._digest:
            self._notebook, self._parsed = self._parse(text)
            self._digest = name
        return self._notebook

    def _parse(self, text: str) -> tuple[dict[str, Any], _Parsed | None]:
        rest, raw = _parts(parse_text(text))
        if raw is None:
            return parse_notebook(text), None
        last = self._parsed
        if last is None or rest != last.rest:
            notebook = parse_notebook(text)
        else:
            changed = [cell for name, cell in raw.items() if last.raw.get(name) != cell]
            notebook = parse_notebook(json.dumps({**rest, "cells": changed}))
            cells = {**last.cells, **{cell["id"]: cell for cell in notebook["cells"]}}
            notebook["cells"] = [cells[name] for name in raw]
        cells = {cell.get("id"): cell for cell in notebook["cells"]}
        return notebook, _Parsed(rest, raw, cells) if list(cells) == list(raw) else None


def _parts(text: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A notebook without its cells, and its cells by id; None in their stead where not each has an id of its own."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}, None
    cells = found.pop("cells", None) if isinstance(found, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        return {}, None
    named = {cell["id"]: cell for cell in cells if isinstance(cell.get("id"), str)}
    return found, named if len(named) == len(cells) else None


def written(notebook: dict[str, Any]) -> str:
    """The text of the notebook as it is saved to its file."""
    return str(nbformat.v4.writes(nbformat.from_dict(notebook))) + "\n"
