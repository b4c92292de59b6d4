"""The difference of one file between two versions of it, in a form that can be drawn without knowing more. Pure.

"path", "kind": edited, new or deleted; "size", "size_before": bytes, None where it is not there; "modified_at": of the
later one; "form": how it is shown:
text      "hunks" of a unified diff (see line_diffs.py)
notebook  "cells" (see cells.py), and "metadata": keys of the notebook's own metadata that differ
link      "hunks" of where it leads
binary    sizes and times only
large     the same, since comparing it would take too long
"mode": "made executable" or "no longer executable", None when that was not changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kaosd import encodings
from kaosd.display import rfc3339
from kaosd.notebook import cells
from kaosd.notebook.line_diffs import hunks

LARGE = 2**20  # bytes of a text, above which it is not compared line by line
NOTEBOOK_LARGE = 32 * 2**20  # bytes; a notebook holds its pictures
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Side:
    """One of two versions of a file. kind: f, x (executable) or l (a link). content: None when it is `too_large`."""

    kind: str
    size: int
    content: bytes | None
    modified_at: float | None = None


def too_large(path: str, size: int) -> bool:
    """Whether a file of that size is only told by size and time."""
    return size > (NOTEBOOK_LARGE if path.endswith(".ipynb") else LARGE)


def changed(path: str, old: Side | None, new: Side | None) -> Json:
    """The difference of the file *path*; see the module. At least one side is there."""
    kind = "new" if old is None else "deleted" if new is None else "edited"
    at = new.modified_at if new is not None else None
    mode = None
    if old is not None and new is not None and {old.kind, new.kind} == {"f", "x"}:
        mode = "made executable" if new.kind == "x" else "no longer executable"
    return {
        "path": path,
        "kind": kind,
        "size": new.size if new is not None else None,
        "size_before": old.size if old is not None else None,
        "modified_at": rfc3339(at) if at is not None else None,
        "mode": mode,
        **_content(path, old, new),
    }


def _content(path: str, old: Side | None, new: Side | None) -> Json:
    """What is shown of the content."""
    sides = [side for side in (old, new) if side is not None]
    if any(side.content is None for side in sides):
        return {"form": "large"}
    if path.endswith(".ipynb") and all(side.kind in "fx" for side in sides):
        before, after = (cells.parse(side.content or b"") if side is not None else None for side in (old, new))
        if all(found is not None for found, side in ((before, old), (after, new)) if side is not None):
            return {"form": "notebook", **cells.compare(before, after)}
    texts = [_text(side) for side in (old, new)]
    if any(text is None for text in texts):
        return {"form": "binary"}
    form = "link" if all(side.kind == "l" for side in sides) else "text"
    return {"form": form, "hunks": hunks(texts[0] or "", texts[1] or "")}


def _text(side: Side | None) -> str | None:
    """The text of one side, "" where it is not there; None when it is not text."""
    if side is None or side.content is None:
        return ""
    try:
        text = encodings.text(side.content)
    except encodings.NotTextError:
        return None
    return f"link to {text}\n" if side.kind == "l" else text
