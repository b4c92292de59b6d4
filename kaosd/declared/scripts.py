"""The files beside the environment file that only an image can honour, as repo2docker knows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kaosd.declared.looking_up import Files, joined

HONOURED = ("apt.txt", "postBuild", "start")  # by the image that is made of a repository without a Dockerfile


@dataclass(frozen=True, slots=True)
class Scripts:
    """Those of HONOURED that are there and say something. packages: of apt.txt, each with its line."""

    apt: str | None = None
    packages: tuple[tuple[int, str], ...] = ()
    post_build: str | None = None
    start: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all."""
        return tuple(path for path in (self.apt, self.post_build, self.start) if path is not None)


def scripts(files: Files, folder: str) -> Scripts:
    """The scripts in *folder*."""
    apt, post_build, start = (
        joined(folder, name) if speaks(files, joined(folder, name)) else None for name in HONOURED
    )
    packages = tuple(_words(files.text(apt) or "")) if apt is not None else ()
    return Scripts(apt, packages, post_build, start)


def speaks(files: Files, path: str) -> bool:
    """Whether the file at *path* has a line that is neither blank nor a comment."""
    lines = (files.text(path) or "").split("\n")
    return any(re.match(r"\s*[^#\s]", line) for line in lines)


def _words(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        yield from ((number, word) for word in line.partition("#")[0].split())
