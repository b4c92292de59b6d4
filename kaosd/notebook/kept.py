"""Copies of a person's edits that were kept: a whole work directory set aside, the list of all copies, their end.

Where a copy lies says why it was kept, also after a crash: <recovered>/<time>/tabs/PATH,
<recovered>/<time>/work/<time>/PATH (reset and pull likewise), and <recovered>/work-<time>-<why>/PATH for a directory
that was set aside.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kaosd import bundle
from kaosd.bundle import Store
from kaosd.bundle.store_errors import store_errors
from kaosd.engines.base import Home
from kaosd.journal import Journal, Live, Recovered
from kaosd.notebook import data_link, deployed
from kaosd.notebook.record import bare, saved_copies
from kaosd.notebook.view import rfc3339

REMOVED, SOURCE, ENGINE = "removed", "source", "engine"  # why a work directory is set aside
MERGED = "merged"
RESET, PULLED = "reset", "pulled over, on disk"
ASKED = (RESET, PULLED)  # reasons for copies of what a person has asked to replace
_REASONS = {
    REMOVED: "the notebook was removed",
    SOURCE: "another source",
    ENGINE: "another engine",
    "tabs": MERGED,
    "work": "overwritten",
    "reset": RESET,
    "pull": PULLED,
}


def reason(file: str, recovered: Path) -> str:
    """Why the copy in *file*, below the directory *recovered*, was kept: in a few words."""
    first, kind, *_ = (*os.path.relpath(file, recovered).split("/"), "", "")
    if first.startswith("work-"):
        return _REASONS.get(first.rpartition("-")[2], _REASONS[REMOVED])  # earlier versions set aside for that only
    return _REASONS.get(kind, "kept")


def all_copies(journal: Journal, name: str, recovered: Path) -> tuple[Recovered, ...]:
    """All copies that there are of a notebook, oldest first; blocking.

    Also those that the journal does not know: of a daemon that was killed, or whose journal was lost.
    """
    known = journal.recovered(name)
    files = {one.file for one in known}
    found = [one for one in known if os.path.lexists(one.file)]
    for path, file in saved_copies(recovered):
        if file not in files:
            status = os.lstat(file)
            found.append(Recovered(name, 0, path, file, status.st_size, status.st_ctime))
    return tuple(sorted(found, key=lambda one: one.at))


def listed(copies: Iterable[Recovered], recovered: Path) -> list[dict[str, Any]]:
    """The copies as the API shows them, oldest first. recovered: the directory that they lie in."""
    return [
        {
            "path": one.path,
            "saved_at": rfc3339(one.at),
            "deployment": one.deployment,
            "reason": reason(one.file, recovered),
            "file": one.file,
            "size": one.size,
        }
        for one in copies
    ]


def set_aside(store: Store, journal: Journal, name: str, home: Home, live: Live, why: str) -> list[str]:
    """Empty the work directory, which is not written to any more, and keep a person's edits; their paths. Blocking.

    live: what was deployed into it. A kill in between leaves a directory that the next daemon lists.
    """
    told = deployed.read(home)
    deployed.forget(home)
    if not os.path.isdir(home.work) or not os.listdir(home.work):
        return []
    aside = home.root / "recovered" / f"work-{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 10**9:09d}-{why}"
    with store_errors("write to", aside):
        aside.parent.mkdir(mode=0o700, exist_ok=True)
        data_link.withdraw(home.work)
        home.work.rename(aside)
        home.work.mkdir(mode=0o700)
    left = bundle.keep_edits(store, aside, (live.model_tree, *live.left, live.syncing, *told))
    if not left:
        aside.rmdir()
        return []
    newest, now = journal.deployments(name, 1), time.time()
    number, files = newest[0].number if newest else 0, [os.path.join(aside, os.fsdecode(path)) for path in left]
    paths = bare(left)
    journal.note_recovered(
        Recovered(name, number, path, file, os.lstat(file).st_size, now)
        for path, file in zip(paths, files, strict=True)
    )
    return list(paths)


def clear(journal: Journal, name: str, recovered: Path) -> int:
    """Delete all copies of a notebook; how many there were. recovered: the directory that they lie in. Blocking."""
    copies = {one.file: one for one in (*journal.recovered(name), *all_copies(journal, name, recovered))}
    with store_errors("write to", recovered):
        for one in copies.values():
            if os.path.normpath(one.file).startswith(f"{recovered}/") and os.path.lexists(one.file):
                os.rmdir(one.file) if _is_directory(one.file) else os.unlink(one.file)
        for directory, _, _ in os.walk(recovered, topdown=False):
            if not os.listdir(directory):
                os.rmdir(directory)
    journal.forget_recovered(name, copies.values())
    return len(copies)


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
