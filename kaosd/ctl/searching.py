"""`kaosctl logs --grep`: the lines that match, each with the lines around it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from kaosd.stage_logs import LogLine

AROUND = 2  # lines before and after a match


class Hit(NamedTuple):
    """A line to show. matches: it is what was searched for. gap: lines before it are left out."""

    entry: LogLine
    matches: bool
    gap: bool


class Search:
    """Finds matches in lines as they come. matches: whether a line is searched for. skip: how many of them to skip."""

    def __init__(self, matches: Callable[[LogLine], bool], skip: int = 0) -> None:
        self._matches = matches
        self._skip = skip
        self._before: deque[LogLine] = deque(maxlen=AROUND)
        self._after = 0  # lines that are still shown because of the last match
        self._gap = False  # lines were left out since the last line that was shown
        self._shown = False

    def take(self, entries: Iterable[LogLine]) -> Iterator[Hit]:
        """The lines to show of *entries*, which follow those of the last call."""
        for entry in entries:
            if self._is_wanted(entry):
                yield from self._matched(entry)
            elif self._after:
                self._after -= 1
                yield Hit(entry, matches=False, gap=False)
            else:
                self._gap = self._gap or len(self._before) == AROUND
                self._before.append(entry)

    def _is_wanted(self, entry: LogLine) -> bool:
        if not self._matches(entry):
            return False
        self._skip -= 1
        return self._skip < 0

    def _matched(self, entry: LogLine) -> Iterator[Hit]:
        gap = self._gap and self._shown
        for earlier in self._before:
            yield Hit(earlier, matches=False, gap=gap)
            gap = False
        yield Hit(entry, matches=True, gap=gap)
        self._before.clear()
        self._after, self._gap, self._shown = AROUND, False, True
