"""Texts of files as documents, and back. Needs nbformat, which every JupyterLab has."""

from __future__ import annotations

from typing import Any

import nbformat


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
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:
        raise Unreadable(f"not a notebook: {str(error).splitlines()[0]}") from error
    return dict(notebook)


def written(notebook: dict[str, Any]) -> str:
    """The text of the notebook as it is saved to its file."""
    return str(nbformat.writes(nbformat.from_dict(notebook), version=nbformat.NO_CONVERT)) + "\n"
