"""How long a notebook has been idle: without a busy kernel, and without a tab or program that talks to its host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Idleness:
    """Of one notebook. clock: seconds. What the front passes on, websockets too, counts as use while it lasts."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open = 0
        self._last = clock()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Something talks to the host meanwhile."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            self._last = self._clock()

    def touch(self) -> None:
        """The notebook is in use now: a kernel is busy, or its host has just been started."""
        self._last = self._clock()

    def seconds(self) -> float:
        """How long it has been idle; 0 while it is in use."""
        return 0.0 if self._open else self._clock() - self._last


def idle_reason(limit: float, idle: float) -> str | None:
    """Why a host without busy kernels is to be stopped, as a sentence; None: it is not. limit: seconds, 0 for never."""
    if not limit or idle < limit:
        return None
    return f"stopped: no busy kernel and no open tab for {_words(limit)}"


def _words(seconds: float) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"
