"""Which trees the files of a work directory came from, told in a file beside it.

The journal says so as well. But it can be lost, or be older than the work directory: after a power cut, or when a
backup of it was put back. Then what it says would make old content pass for a person's edit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from kaosd.aside import discard, is_file
from kaosd.bundle.failing import store_errors
from kaosd.engines.base import Home

_WHOLE = re.compile(r"(?:[0-9a-f]{64}\n)+end\n")  # anything else is the half of one


def read(home: Home) -> tuple[str, ...]:
    """The trees; none when nobody knows. Several while a sync has not ended. What a killed `write` left goes."""
    try:
        discard(_draft(home))
        text = _file(home).read_text() if is_file(_file(home)) else ""
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(text.split()[:-1]) if _WHOLE.fullmatch(text) else ()


def write(home: Home, trees: Iterable[str | None]) -> None:
    """Say which; blocking, and not synced: a power cut leaves it, or none. StoreError."""
    draft = _draft(home)
    with store_errors("write to", home.root):
        for path in (draft, _file(home)):
            if os.path.lexists(path) and not is_file(path):
                discard(path)
        draft.write_text("".join(f"{tree}\n" for tree in dict.fromkeys(trees) if tree is not None) + "end\n")
        os.replace(draft, _file(home))


def forget(home: Home) -> None:
    """Say that nobody knows, because the work directory is set aside; blocking. StoreError."""
    with store_errors("write to", home.root):
        _file(home).unlink(missing_ok=True)


def _file(home: Home) -> Path:
    return home.root / "deployed"


def _draft(home: Home) -> Path:
    return home.root / "deployed.new"
