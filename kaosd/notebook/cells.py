"""Two versions of a notebook, compared cell by cell. Pure.

Cells are recognised by their id, else by their content and position (hosted/align.py). Of outputs a word is said, since
the difference of two pictures cannot be read; what JupyterLab writes by merely opening a notebook is not a difference.
"""

from __future__ import annotations

import json
from typing import Any

from kaosd.hosted.align import cell_keys
from kaosd.hosted.merge import longest_run
from kaosd.notebook.line_diffs import hunks

Json = dict[str, Any]
FILLED_IN = ("kernelspec", "language_info")  # metadata that JupyterLab writes when it opens a notebook
_OWN = ("trusted", "collapsed", "scrolled", "jupyter", "execution")  # of a cell: how it is shown, and when it ran
_RESULTS = ("outputs", "execution_count")


def parse(content: bytes) -> Json | None:
    """The notebook in *content* with sources joined; None when it is not one of format 4."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("nbformat") != 4 or not isinstance(found.get("cells"), list):
        return None
    try:
        cells = [_cell(one) for one in found["cells"]]
    except (TypeError, AttributeError, KeyError):
        return None
    metadata = found.get("metadata")
    return {**found, "cells": cells, "metadata": metadata if isinstance(metadata, dict) else {}}


def same(old: Json, new: Json) -> bool:
    """Whether nothing differs that a person has made or a cell has printed."""
    return not compare(old, new)["cells"] and not changed_metadata(old, new)


def changed_metadata(old: Json, new: Json) -> list[str]:
    """The keys of the notebook's own metadata that differ."""
    before, after = old["metadata"], new["metadata"]
    return sorted(
        key for key in before.keys() | after.keys() if key not in FILLED_IN and before.get(key) != after.get(key)
    )


def compare(old: Json | None, new: Json | None) -> Json:
    """The cells that differ, in the order of the new notebook, and the keys of its metadata that do.

    A cell: "kind" (edited, new, deleted, moved), "number" and "was" (from 1, in the new and in the old notebook; None
    where it is not there), "type", "id", "hunks" of its source, "outputs" in a word or None, "metadata": its keys that
    differ. One that has moved and was edited is "edited".
    """
    olds, news = (old or {"cells": []})["cells"], (new or {"cells": []})["cells"]
    places = cell_keys(olds, news, [])[0]
    kept = [at for at in places if at < len(olds)]
    in_order = longest_run(kept, [1] * len(kept)) if kept else set()
    found = list[tuple[float, Json]]()
    for index, (cell, at) in enumerate(zip(news, places, strict=True)):
        before = olds[at] if at < len(olds) else None
        one = _difference(before, cell, moved=before is not None and at not in in_order)
        if one is not None:
            found.append((index, {**one, "number": index + 1, "was": at + 1 if before is not None else None}))
    for at, cell in enumerate(olds):
        if at not in kept:
            found.append((_place(at, places), {**_gone(cell), "number": None, "was": at + 1}))
    metadata = changed_metadata(old, new) if old is not None and new is not None else []
    return {"cells": [one for _, one in sorted(found, key=lambda one: one[0])], "metadata": metadata}


def strip_outputs(content: bytes) -> bytes:
    """The notebook in *content* without results, as JupyterLab writes it; *content* itself when it is not one."""
    if parse(content) is None:
        return content
    notebook = json.loads(content)
    for cell in notebook["cells"]:
        if cell.get("cell_type") == "code":
            cell["outputs"], cell["execution_count"] = [], None
            cell.get("metadata", {}).pop("execution", None)
    text = json.dumps(notebook, indent=1, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass") + (b"\n" if content.endswith(b"\n") else b"")


def _difference(old: Json | None, new: Json, *, moved: bool) -> Json | None:
    """What differs in one cell; None when nothing does. old: None for a new one."""
    if old is None:
        return {**_head(new), "kind": "new", "hunks": _hunks("", new["source"]), "outputs": _word({}, new)}
    changes = _hunks(old["source"], new["source"])
    outputs, metadata = _word(old, new), _changed(old, new)
    if not (changes or outputs or metadata or moved or old["cell_type"] != new["cell_type"]):
        return None
    edited = bool(changes or outputs or metadata or old["cell_type"] != new["cell_type"])
    kind = "edited" if edited else "moved"
    return {**_head(new), "kind": kind, "hunks": changes, "outputs": outputs, "metadata": metadata}


def _hunks(old: str, new: str) -> list[Json]:
    """Of sources, whose last line never has a line feed."""
    return hunks(*(source + "\n" if source else "" for source in (old, new)))


def _gone(cell: Json) -> Json:
    return {**_head(cell), "kind": "deleted", "hunks": _hunks(cell["source"], ""), "outputs": None}


def _head(cell: Json) -> Json:
    return {"type": cell["cell_type"], "id": cell.get("id"), "metadata": []}


def _word(old: Json, new: Json) -> str | None:
    """What became of the results of a cell."""
    before, after = (cell.get("outputs") or [] for cell in (old, new))
    if before == after:
        return "run again" if old and old.get("execution_count") != new.get("execution_count") else None
    if not before:
        return "outputs added"
    return "outputs changed" if after else "outputs removed"


def _changed(old: Json, new: Json) -> list[str]:
    """The metadata of a cell that differs, and attachments."""
    before, after = old["metadata"], new["metadata"]
    keys = [key for key in before.keys() | after.keys() if key not in _OWN and before.get(key) != after.get(key)]
    return sorted(keys) + (["attachments"] if old.get("attachments") != new.get("attachments") else [])


def _place(at: int, places: list[int]) -> float:
    """Where the deleted cell *at* stood, among the cells of the new notebook: behind the one before it."""
    before = [index for index, one in enumerate(places) if one < at]
    return max(before, default=-1) + 0.5


def _cell(cell: Json) -> Json:
    """A cell with joined texts. TypeError, AttributeError, KeyError when it is none."""
    shown = {**cell, "cell_type": str(cell["cell_type"]), "source": str(_joined(cell.get("source", "")))}
    shown["metadata"] = dict(cell.get("metadata") or {})
    if cell.get("outputs"):
        shown["outputs"] = [_output(one) for one in cell["outputs"]]
    return shown


def _output(output: Json) -> Json:
    shown = {key: _joined(value) if key == "text" else value for key, value in output.items()}
    if isinstance(output.get("data"), dict):
        shown["data"] = {kind: _joined(value) for kind, value in output["data"].items()}
    return {key: value for key, value in shown.items() if key not in ("metadata", "execution_count") or value}


def _joined(value: object) -> object:
    """A text that a notebook may keep as a list of its lines."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "".join(value)
    return value
