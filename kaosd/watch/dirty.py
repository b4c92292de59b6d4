"""What may have changed below one root, collected until somebody takes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Beyond so many paths a look at everything costs less, and a root that nobody takes (paused) must not grow.
MANY = 50_000


@dataclass(frozen=True, slots=True)
class Dirty:
    """What may have changed below one root since it was last taken.

    paths: relative to the root; a directory stands for everything below it. None: look at everything.
    first, last: loop times (seconds) of the earliest and the latest event.
    """

    paths: frozenset[bytes] | None
    first: float
    last: float


class Collected:
    """The changes of one root that nobody has taken yet, and when they are next to be announced.

    Owned by the event loop. quiet, cap: seconds, see `Watcher`.
    """

    def __init__(self, quiet: float, cap: float) -> None:
        self.quiet = quiet
        self.cap = cap
        self._paths: set[bytes] | None = set()
        self._first: float | None = None
        self._last = 0.0
        self._burst: float | None = None  # time of the first event that was not announced yet

    def add(self, paths: Iterable[bytes] | None, now: float) -> None:
        """Note *paths* (None: everything) as changed at loop time *now*."""
        if self._paths is not None:
            self._paths = None if paths is None else self._paths.union(paths)
        if self._paths is not None and len(self._paths) > MANY:
            self._paths = None
        self._first = now if self._first is None else self._first
        self._burst = now if self._burst is None else self._burst
        self._last = now

    def due(self) -> float | None:
        """Loop time of the next announcement: after quiet, at the latest at the cap; None when all is announced."""
        return None if self._burst is None else min(self._burst + self.cap, self._last + self.quiet)

    def announced(self) -> None:
        """The poke was given: the next event begins a new burst."""
        self._burst = None

    def look(self) -> Dirty | None:
        """What is collected, without taking it."""
        if self._first is None:
            return None
        return Dirty(None if self._paths is None else frozenset(self._paths), self._first, self._last)

    def take(self) -> Dirty | None:
        """What is collected; it is handed over, so that nothing is left to announce either."""
        dirty = self.look()
        self._paths, self._first, self._burst = set(), None, None
        return dirty
