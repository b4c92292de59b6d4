"""What one look at a root found, and whether so much is gone that a person should be asked first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kaosd.model import Version

BundlePath = bytes  # relative to the root
GUARDED_FROM = 10  # files from which losing more than half of them is suspicious


class Refused(NamedTuple):
    """A path that is not in the version, and why."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """One look. version, tree: None when `problem` says why there is none; tree is also None for a linked directory.

    base: the bundle's own directory, root or the one sub-directory in kaos's shape. files, bytes: of the version
    (of the last one when there is a problem). saving: files that were being written; the version holds what they
    were before. again: seconds until the first of them is due to be looked at again, None without any. git_busy: git
    is in the middle of something. identity: device and inode of the root, (0, 0) when it is missing. Paths are
    relative to the root.
    """

    version: Version | None
    tree: str | None
    base: Path
    files: int
    bytes: int
    refused: tuple[Refused, ...]
    saving: tuple[BundlePath, ...]
    again: float | None
    git_busy: bool
    problem: str | None
    identity: tuple[int, int]


def mass_change(before: int, after: int) -> str | None:
    """How much is gone, as the start of a sentence; None when there is no need to ask.

    before, after: numbers of files.
    """
    if before and not after:
        return f"all {before} files" if before > 1 else "the only file"
    if before >= GUARDED_FROM and after * 2 < before:
        return f"{before - after} of {before} files"
    return None
