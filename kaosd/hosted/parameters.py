"""Parameters of a notebook, as papermill puts them in: behind the cell that is tagged "parameters", else first.

No Jupyter import but for making the cell.
"""

from __future__ import annotations

import keyword
import math
from typing import Any

_TAG, _INJECTED = "parameters", "injected-parameters"


def inject(notebook: Any, values: dict[str, Any]) -> None:
    """Put a cell that assigns *values* into *notebook*, in the place of one of an earlier run. ValueError."""
    language = notebook.metadata.get("kernelspec", {}).get("language") or "python"
    if str(language).lower() != "python":
        raise ValueError(f"parameters are for Python, and this notebook is written in {language}")
    from nbformat.v4 import new_code_cell  # noqa: PLC0415 - JupyterLab brings it

    cell = new_code_cell(assignments(values), metadata={"tags": [_INJECTED]})
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        cell.pop("id", None)  # not known there
    at = place(notebook.cells)
    if at < len(notebook.cells) and _INJECTED in _tags(notebook.cells[at]):
        notebook.cells[at] = cell
    else:
        notebook.cells.insert(at, cell)


def place(cells: list[Any]) -> int:
    """Where the cell goes: on one of an earlier run, behind the one with the defaults, else to the front."""
    for tag, behind in ((_INJECTED, 0), (_TAG, 1)):
        for index, cell in enumerate(cells):
            if tag in _tags(cell):
                return index + behind
    return 0


def _tags(cell: Any) -> list[str]:
    return list(cell.get("metadata", {}).get("tags", []))


def assignments(values: dict[str, Any]) -> str:
    """A line of Python for each value, which is JSON. ValueError for a name that Python does not take."""
    lines = ["# Parameters"]
    for name, value in values.items():
        if not name.isidentifier() or keyword.iskeyword(name):
            raise ValueError(f"{name!r} is not the name of a variable")
        lines.append(f"{name} = {_literal(value)}")
    return "\n".join(lines)


def _literal(value: Any) -> str:
    """How Python writes a JSON value; numbers that are none are made by float."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)
