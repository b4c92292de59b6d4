"""The link `data` in a notebook's directory, so that code finds the attached data where people look for it.

It is there while data is attached and the bundle has nothing of that name. It is not content: kaosd makes and removes
it, and neither a sync nor what keeps a person's edits counts it.
Code that reads data where there is none is warned of here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from kaosd.bundle.expected import Expected

NAME = "data"


def show(work: Path, target: str | None) -> None:
    """Make the link lead to *target*; None: there is no data. What else has that name stays. OSError when it fails."""
    link = work / NAME
    if target == _led_to(link) or not work.is_dir():
        return
    if is_ours(work):
        link.unlink()
    if target is not None and not os.path.lexists(link):
        link.symlink_to(target)


def withdraw(work: Path) -> None:
    """Remove the link, before something else gets its name. OSError when it fails."""
    if is_ours(work):
        (work / NAME).unlink()


def is_ours(work: Path) -> bool:
    """Whether *work* holds the link as kaosd makes it, for whichever engine."""
    led_to = _led_to(work / NAME)
    return led_to is not None and (led_to == "../data" or led_to.startswith("/pfs/data-"))


def warning(reads: Iterable[Expected], target: str | None, *, attached: bool) -> str | None:
    """A sentence about the first of *reads* that finds nothing; None when all find the data that is *attached*.

    target: where the engine's link leads to; None: it makes none.
    """
    for one in reads:
        found = {NAME, target} if attached and target is not None and not one.taken else {target} if attached else set()
        if found.isdisjoint(one.directories):
            where = "KAOS_DATA" if target is None or one.taken else "data/ in the notebook's root and KAOS_DATA"
            code = f"{one.file} ({one.where}) reads {one.path}"
            if attached:
                return f"{code}, which is not there: the attached data is at {where}; let the code read it there"
            step = f"kaosctl up -d DIR attaches some, which is then at {where}"
            return f"{code}, which is not in the source directory, and no data is attached: {step}"
    return None


def _led_to(link: Path) -> str | None:
    with contextlib.suppress(OSError):
        return os.readlink(link)
    return None
