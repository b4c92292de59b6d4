"""Three-way merge of texts, as the few splices that bring a live text to the merged one. Pure.

Both changes are taken against their common base: lines are compared first, and lines that were replaced by
similar ones again by words, so that two edits in one line meet only where they touch the same word. Where the
edits of both sides overlap, the incoming text wins and the merge says "conflict".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORDS = re.compile(r"\w+|\s|[^\w\s]")
_SIMILAR = 0.5  # replaced lines that have less in common than this are one edit, not many accidental ones
_REFINED = 4000  # words; longer replacements are one edit, because comparing them by words takes too long


@dataclass(frozen=True)
class Edit:
    """Replace [start, end) by text; positions count characters of the text that the edit belongs to."""

    start: int
    end: int
    text: str

    @property
    def growth(self) -> int:
        """By how many characters the text gets longer."""
        return len(self.text) - (self.end - self.start)


@dataclass(frozen=True)
class TextMerge:
    """text: the result. splices: edits of the live text that lead to it, ascending, not overlapping."""

    text: str
    splices: tuple[Edit, ...]
    conflict: bool


def merge_text(base: str, live: str, incoming: str) -> TextMerge:
    """Bring the change base→incoming into *live*, keeping every edit of *live* that it does not overlap."""
    mine = edits(base, live)
    known = set(mine)
    theirs = [edit for edit in edits(base, incoming) if edit not in known]
    splices: list[Edit] = []
    conflict = False
    shift = 0  # position in live - position in base, behind the cluster before
    for own, foreign in _clusters(mine, theirs):
        growth = sum(edit.growth for edit in own)
        if foreign and own and not _only_touching(own, foreign):
            low, high = min(own[0].start, foreign[0].start), max(own[-1].end, foreign[-1].end)
            splice = Edit(low + shift, high + shift + growth, apply(base[low:high], foreign, low))
            conflict = conflict or live[splice.start : splice.end] != splice.text
            splices.append(splice)
        elif foreign:
            splices.extend(_beside(own, foreign, shift))
        shift += growth
    small = tuple(edit for edit in (narrow(live, splice) for splice in splices) if edit.end > edit.start or edit.text)
    return TextMerge(apply(live, small), small, conflict)


def edits(old: str, new: str) -> list[Edit]:
    """The edits that lead from *old* to *new*: ascending, not overlapping, none empty."""
    if old == new:
        return []
    result: list[Edit] = []
    for edit in _compare(old.splitlines(keepends=True), new.splitlines(keepends=True), 0):
        result.extend(_refine(old[edit.start : edit.end], edit))
    return result


def apply(text: str, changes: Sequence[Edit], origin: int = 0) -> str:
    """*text* after *changes* (ascending), whose positions count from *origin* before its first character."""
    parts = []
    done = 0
    for edit in changes:
        parts += [text[done : edit.start - origin], edit.text]
        done = edit.end - origin
    return "".join([*parts, text[done:]])


def narrow(text: str, edit: Edit) -> Edit:
    """The same edit without the characters at its ends that it leaves as they are."""
    old = text[edit.start : edit.end]
    head, tail = _common_ends(old, edit.text)
    return Edit(edit.start + head, edit.end - tail, edit.text[head : len(edit.text) - tail])


def _compare(old: list[str], new: list[str], origin: int) -> list[Edit]:
    """Edits between two lists of pieces; *origin* is the position of the first old piece."""
    head, tail = _common_ends(old, new)
    position = origin + sum(map(len, old[:head]))
    old, new = old[head : len(old) - tail], new[head : len(new) - tail]
    starts = [position]
    for piece in old:
        starts.append(starts[-1] + len(piece))
    matcher = SequenceMatcher(None, old, new)
    return [
        Edit(starts[i1], starts[i2], "".join(new[j1:j2]))
        for tag, i1, i2, j1, j2 in matcher.get_opcodes()
        if tag != "equal"
    ]


def _refine(old: str, edit: Edit) -> list[Edit]:
    """The edit of whole lines *old* as edits of words, when the lines before and after resemble each other."""
    before, after = _WORDS.findall(old), _WORDS.findall(edit.text)
    head, tail = _common_ends(before, after)
    rest_before, rest_after = before[head : len(before) - tail], after[head : len(after) - tail]
    if not rest_before or not rest_after:
        return _compare(before, after, edit.start)
    if len(rest_before) + len(rest_after) <= _REFINED:
        matcher = SequenceMatcher(None, rest_before, rest_after, autojunk=False)
        if matcher.quick_ratio() >= _SIMILAR and matcher.ratio() >= _SIMILAR:
            return _compare(before, after, edit.start)
    start = edit.start + sum(map(len, before[:head]))
    end = edit.end - sum(map(len, before[len(before) - tail :]))
    return [Edit(start, end, "".join(rest_after))]


def _common_ends(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    """How many pieces (or characters) both have in common at the start, and behind that at the end."""
    most = min(len(old), len(new))
    head = 0
    while head < most and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < most - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return head, tail


def _clusters(mine: list[Edit], theirs: list[Edit]) -> list[tuple[list[Edit], list[Edit]]]:
    """Edits of both sides grouped: in one group are those that overlap, or insert at the same position."""
    ordered = sorted([(e.start, e.end, 0, e) for e in mine] + [(e.start, e.end, 1, e) for e in theirs])
    result: list[tuple[list[Edit], list[Edit]]] = []
    place, high = -1, -1
    for start, end, side, edit in ordered:
        same_place = start == end == place == high
        if not (start < high or same_place):
            result.append(([], []))
            place = start
        high = max(high, end)
        result[-1][side].append(edit)
    return result


def _only_touching(own: list[Edit], foreign: list[Edit]) -> bool:
    """True for two insertions at the same place: there is room for both."""
    return all(edit.start == edit.end == own[0].start for edit in (*own, *foreign))


def _beside(own: list[Edit], foreign: list[Edit], shift: int) -> list[Edit]:
    """Splices of *foreign*, which overlaps nothing; *own* is empty or one insertion at the same position."""
    if not own:
        return [Edit(edit.start + shift, edit.end + shift, edit.text) for edit in foreign]
    mine, theirs = own[0].text, foreign[0].text
    if mine.startswith(theirs) or mine.endswith(theirs):
        return []  # it arrived before, and the person went on from there
    behind = theirs.startswith("\n") or not (theirs.endswith("\n") or mine.startswith("\n"))
    place = foreign[0].start + shift + (len(mine) if behind else 0)
    return [Edit(place, place, theirs)]
