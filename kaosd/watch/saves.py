"""Whether a burst of events is one save that has ended, and how long to wait for more of it: pure.

An editor saves in place (write, close), or beside it (make, close, rename over it), perhaps with a copy of the old
file that it removes afterwards. All of these end with one file that is whole, and with no other name left behind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple

from watchdog.observers.inotify_c import InotifyConstants

from kaosd.model import ONE_SAVE

_MADE = InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO
_WHOLE = InotifyConstants.IN_CLOSE_WRITE | InotifyConstants.IN_MOVED_TO
_GONE = InotifyConstants.IN_DELETE | InotifyConstants.IN_MOVED_FROM


class Fate(NamedTuple):
    """What became of one path in a burst. made: its first event made it; now: how it was left by the last one.

    now is "written" after a write that no close has followed yet, and None when nothing but its attributes changed:
    then it is as it was before. new: it was made there, not brought by a rename, so it may be a temporary that is yet
    to be renamed.
    """

    made: bool = False
    now: Literal["open", "written", "whole", "gone"] | None = "open"
    new: bool = False

    def then(self, later: Fate) -> Fate:
        """The fate after *later* as well."""
        return Fate(self.made, later.now or self.now, self.new)


UNKNOWN = Fate()  # of a path that a look found, and no event told of


def fate(mask: int) -> Fate:
    """What one event of inotify says about its path."""
    made, new = bool(mask & _MADE), bool(mask & InotifyConstants.IN_CREATE)
    if mask & InotifyConstants.IN_ISDIR:
        return Fate(made, "open", new)  # what is in it comes with events of its own, or a walk
    if mask & _WHOLE:
        return Fate(made, "whole", new)
    if mask & _GONE:
        return Fate(made, "gone", new)
    if mask & InotifyConstants.IN_MODIFY:
        return Fate(made, "written", new)
    return Fate(made, None if mask & InotifyConstants.IN_ATTRIB else "open", new)


def in_progress(fate: Fate) -> bool:
    """Whether a file that was there before is being written: nothing waits for what it holds now."""
    return fate.now == "written" and not fate.new


def patience(fates: Collection[Fate], *, alone: bool) -> float:
    """The share of the quiet time to wait for more of a burst. alone: it started after a whole quiet time.

    None for the save of a file that was there before: whoever saves more than that is seen to before long. A new
    file may be a temporary, and a save right after another one may be the next of many.
    """
    if not one_save(fates):
        return 1.0
    return 0.0 if alone and not any(fate.new and fate.now != "gone" for fate in fates) else ONE_SAVE


def one_save(fates: Iterable[Fate]) -> bool:
    """Whether these are one file that is whole, names that came and went, and other files that are in progress."""
    whole = 0
    for fate in fates:
        if in_progress(fate):
            continue
        if fate.now in {"open", "written"} or (fate.now == "gone" and not fate.made):
            return False
        whole += fate.now != "gone"
        if whole > 1:
            return False
    return whole == 1
