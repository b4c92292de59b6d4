"""Differences of texts, as the hunks of a unified diff. Pure."""

from __future__ import annotations

from collections import Counter
from difflib import SequenceMatcher
from typing import Any

CONTEXT = 3  # lines around a change
MOST_PAIRS = 5_000_000  # of equal lines; with more, which takes minutes, all between first and last change is replaced
NO_NEWLINE = "\\ No newline at end of file"

Json = dict[str, Any]


def hunks(old: str, new: str) -> list[Json]:
    """What leads from *old* to *new*: each with "old_start", "old_lines", "new_start", "new_lines" and "lines".

    A line starts with " ", "-" or "+", as in a unified diff, and has no line end.
    """
    if old == new:
        return []
    before, after = split(old), split(new)
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    middle = before[start : len(before) - end], after[start : len(after) - end]
    offset = max(start - CONTEXT, 0)
    tail = min(end, CONTEXT)
    olds = before[offset:start] + middle[0] + before[len(before) - end : len(before) - end + tail]
    news = after[offset:start] + middle[1] + after[len(after) - end : len(after) - end + tail]
    if _pairs(*middle) > MOST_PAIRS:
        head = start - offset
        ends = len(olds) - tail, len(news) - tail
        same = ("equal", 0, head, 0, head), ("equal", ends[0], len(olds), ends[1], len(news))
        return [_hunk([same[0], ("replace", head, ends[0], head, ends[1]), same[1]], olds, news, offset)]
    groups = SequenceMatcher(None, olds, news).get_grouped_opcodes(CONTEXT)
    return [_hunk(group, olds, news, offset) for group in groups]


def _pairs(olds: list[str], news: list[str]) -> int:
    """How many pairs of equal lines a comparison has to look at, which is what its time grows with."""
    before, after = Counter(olds), Counter(news)
    popular = len(news) // 100 + 1 if len(news) >= 200 else len(news)  # difflib leaves out what is more frequent
    return sum(before[line] * count for line, count in after.items() if count <= popular)


def split(text: str) -> list[str]:
    """The lines of *text*; one that has no line feed is another line than one that has."""
    parts = text.split("\n")
    last = parts.pop()
    return parts + ([f"{last}\n{NO_NEWLINE}"] if last else [])


def _common(one: list[str], other: list[str]) -> int:
    """How many lines both start with."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _hunk(group: list[tuple[str, int, int, int, int]], olds: list[str], news: list[str], offset: int) -> Json:
    lines = list[str]()
    for tag, old_start, old_end, new_start, new_end in group:
        if tag == "equal":
            lines += _marked(" ", olds[old_start:old_end])
        else:
            lines += _marked("-", olds[old_start:old_end]) + _marked("+", news[new_start:new_end])
    (_, first, _, second, _), (_, _, last, _, final) = group[0], group[-1]
    return {
        "old_start": _first(first, last, offset),
        "old_lines": last - first,
        "new_start": _first(second, final, offset),
        "new_lines": final - second,
        "lines": lines,
    }


def _first(start: int, end: int, offset: int) -> int:
    """The number of the first line, as diff counts: of an empty range the one before it."""
    return start + offset + (1 if end > start else 0)


def _marked(sign: str, lines: list[str]) -> list[str]:
    return [part for line in lines for part in _parts(sign + line)]


def _parts(line: str) -> list[str]:
    return line.split("\n")
