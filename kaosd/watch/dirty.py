"""What may have changed below one root, collected until somebody takes it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kaosd.watch.saves import UNKNOWN, Fate, in_progress, one_save, patience

# Beyond so many paths a look at everything costs less, and a root that nobody takes (paused) must not grow.
MANY = 50_000
FEW = 8  # paths; more of them are no save of one file


@dataclass(frozen=True, slots=True)
class Dirty:
    """What may have changed below one root since it was last taken.

    paths: relative to the root; a directory stands for everything below it. None: look at everything.
    closed: of these, what the last event said to be closed after a write, or renamed.
    first, last: loop times (seconds) of the earliest and the latest event. one: the last burst is one finished save.
    early: it was announced without waiting for more.
    """

    paths: frozenset[bytes] | None
    first: float
    last: float
    one: bool = False
    early: bool = False
    closed: frozenset[bytes] = frozenset()


class Collected:
    """The changes of one root that were not taken yet, and when they are next to be announced.

    Owned by the event loop. quiet, cap: seconds, see `Watcher`.
    """

    def __init__(self, quiet: float, cap: float) -> None:
        self.quiet = quiet
        self.cap = cap
        self._paths: set[bytes] | None = set()
        self._closed: set[bytes] = set()
        self._fates: dict[bytes, Fate] | None = {}  # of the burst; None: not worth to be told
        self._first: float | None = None
        self._last = -math.inf
        self._moved = -math.inf  # time of the last event that was more than a write whose close is yet to come
        self._one = self._early = False  # of the last burst that was announced, see Dirty
        self._alone = True  # whether the burst started after a whole quiet time
        self._burst: float | None = None  # time of the first event that was not announced yet

    def add(self, paths: Mapping[bytes, Fate] | Iterable[bytes] | None, now: float) -> None:
        """Note *paths* (None: everything) as changed at loop time *now*, with their fates where these are known."""
        self._follow(paths)
        if paths is None:
            self._paths, self._closed = None, set()
        elif self._paths is not None:
            self._paths.update(paths)
            self._close(paths)
        if self._paths is not None and len(self._paths) > MANY:
            self._paths, self._closed = None, set()
        self._first = now if self._first is None else self._first
        if self._burst is None:
            self._burst, self._alone = now, now >= self._moved + self.quiet
        self._last = now
        if not (isinstance(paths, Mapping) and paths and all(map(in_progress, paths.values()))):
            self._moved = now

    def due(self) -> float | None:
        """Loop time of the next announcement; None when all is announced.

        After the quiet time, of which a finished save needs a part or nothing; at the latest at the cap, and not sooner
        while files are written whose close is yet to come.
        """
        if self._burst is None:
            return None
        if self._moved < self._burst:
            return self._burst + self.cap
        return min(self._burst + self.cap, self._moved + self.quiet * self._patience())

    def announced(self) -> None:
        """The poke was given: the next event starts a new burst."""
        self._one, self._early = self._is_one_save(), not self._patience()
        self._burst, self._fates = None, {}

    def look(self) -> Dirty | None:
        """What is collected, without taking it."""
        if self._first is None:
            return None
        one, early = (self._one, self._early) if self._burst is None else (self._is_one_save(), not self._patience())
        paths = None if self._paths is None else frozenset(self._paths)
        return Dirty(paths, self._first, self._last, one, early, frozenset(self._closed))

    def take(self) -> Dirty | None:
        """What is collected; it is handed over, so that nothing is left to announce either."""
        dirty = self.look()
        self._paths, self._closed, self._first, self._burst, self._fates = set(), set(), None, None, {}
        return dirty

    def _close(self, paths: Mapping[bytes, Fate] | Iterable[bytes]) -> None:
        """Note which of *paths* were left closed; attributes alone change nothing about that."""
        for path, fate in paths.items() if isinstance(paths, Mapping) else ():
            if fate.now == "whole":
                self._closed.add(path)
            elif fate.now is not None:
                self._closed.discard(path)

    def _patience(self) -> float:
        return patience(self._fates.values(), alone=self._alone) if self._fates is not None else 1.0

    def _is_one_save(self) -> bool:
        return self._fates is not None and one_save(self._fates.values())

    def _follow(self, paths: Mapping[bytes, Fate] | Iterable[bytes] | None) -> None:
        if self._fates is None or paths is None:
            self._fates = None
            return
        for path in paths:
            new = paths[path] if isinstance(paths, Mapping) else UNKNOWN
            before = self._fates.get(path)
            self._fates[path] = before.then(new) if before is not None else new
        if len(self._fates) > FEW:
            self._fates = None
