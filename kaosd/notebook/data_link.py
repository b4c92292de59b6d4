"""The link `data` in a notebook's directory, so that code finds the attached data where people look for it.

It is there while data is attached and the bundle has nothing of that name. It is no content: kaosd makes and removes
it, and neither a sync nor what keeps a person's edits counts it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

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


def _led_to(link: Path) -> str | None:
    with contextlib.suppress(OSError):
        return os.readlink(link)
    return None
