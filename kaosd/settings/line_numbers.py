"""On which line of a TOML text a key stands, for error messages.

tomllib keeps no positions, and a second parser would disagree with it some day. So tomllib itself is asked: the
text is parsed up to the end of each statement, and the statement that makes the key appear is the one we look for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The line (from 1) on which the statement starts that first defines *path*.

    text: valid TOML. path: keys and indexes, ("notebook", 1, "cpu"). When the whole path is not there, the line of
    the longest part of it that is; 1 when nothing is.
    """
    path = _present(tomllib.loads(text), path)
    if not path:
        return 1
    lines = text.splitlines(keepends=True)
    begin = 0
    for end in range(1, len(lines) + 1):
        try:
            table = tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # inside of a statement that spans lines
        if _present(table, path) == path:
            return begin + 1
        begin = end
    return begin


def _present(table: Any, path: Sequence[str | int]) -> Sequence[str | int]:  # noqa: ANN401 - any TOML value
    """The longest part of *path* that leads somewhere in *table*."""
    for depth, key in enumerate(path):
        try:
            table = table[key]
        except (LookupError, TypeError):
            return path[:depth]
    return path
