"""How the files of a bundle are looked up, and paths in it: text with "/", "" is its top."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Protocol


class Files(Protocol):
    """The files of one bundle; a link counts as what it leads to."""

    def text(self, path: str) -> str | None:
        """The content of the file at *path*; None when there is no file, or it is too large to be one that is read."""

    def names(self, directory: str) -> tuple[str, ...]:
        """What *directory* holds, sorted; () when there is no such directory."""

    def kind(self, path: str) -> str:
        """What is at *path*: "file", "directory", or "" for nothing."""


class Texts:
    """Files given as texts by their path."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = dict(texts)

    def text(self, path: str) -> str | None:
        """See `Files`."""
        return self._texts.get(path)

    def names(self, directory: str) -> tuple[str, ...]:
        """See `Files`."""
        inside = f"{directory}/" if directory else ""
        return tuple(sorted({path[len(inside) :].partition("/")[0] for path in self._texts if path.startswith(inside)}))

    def kind(self, path: str) -> str:
        """See `Files`."""
        if path in self._texts:
            return "file"
        return "directory" if not path or any(one.startswith(f"{path}/") for one in self._texts) else ""


def beneath(directory: str, path: str) -> str | None:
    """*path*, relative to *directory*, as a path of the bundle; None when it leads out of it."""
    found = posixpath.normpath(posixpath.join(directory, path)) if not path.startswith("/") else ".."
    if found == ".." or found.startswith("../"):
        return None
    return "" if found == "." else found


def joined(directory: str, name: str) -> str:
    """The path of *name* in *directory*."""
    return f"{directory}/{name}" if directory else name
