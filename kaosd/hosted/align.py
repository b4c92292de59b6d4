"""Which cells of three versions of a notebook are the same cell: by id, else by content and position. Pure."""

from __future__ import annotations

from collections import Counter
from difflib import SequenceMatcher
from typing import Any

Cell = dict[str, Any]  # one cell of an nbformat 4 notebook
_SIMILAR = 0.5
_REACH = 3  # how many candidates are compared with a cell that has neither a known id nor known content


def cell_keys(base: list[Cell], ours: list[Cell], theirs: list[Cell]) -> tuple[list[int], list[int]]:
    """A number for each cell of both sides, equal where it is the same cell; below len(base): its index there."""
    our_match, their_match = _match(base, ours), _match(base, theirs)
    our_keys = [len(base) + index if at is None else at for index, at in enumerate(our_match)]
    our_new = [index for index, at in enumerate(our_match) if at is None]
    their_new = [index for index, at in enumerate(their_match) if at is None]
    both = _match([ours[index] for index in our_new], [theirs[index] for index in their_new], similar=False)
    their_keys = [len(base) + len(ours) + index if at is None else at for index, at in enumerate(their_match)]
    for index, at in enumerate(both):
        if at is not None:
            their_keys[their_new[index]] = our_keys[our_new[at]]
    return our_keys, their_keys


def _match(base: list[Cell], cells: list[Cell], *, similar: bool = True) -> list[int | None]:
    """For each of *cells* the index of the cell of *base* that it was, or None."""
    match: list[int | None] = [None] * len(cells)
    by_id = _unique_ids(base)
    for name, index in _unique_ids(cells).items():
        match[index] = by_id.get(name)
    taken = {at for at in match if at is not None}
    free = [index for index in range(len(base)) if index not in taken]
    open_ = [index for index, at in enumerate(match) if at is None]
    alike = SequenceMatcher(None, [_text(base[k]) for k in free], [_text(cells[k]) for k in open_], autojunk=False)
    for block in alike.get_matching_blocks():
        for step in range(block.size):
            match[open_[block.b + step]] = free[block.a + step]
    if similar:
        _match_similar(base, cells, match)
    return match


def _match_similar(base: list[Cell], cells: list[Cell], match: list[int | None]) -> None:
    """Match what is left between the same neighbours by likeness, in order."""
    taken = {at for at in match if at is not None}
    last = -1
    for index, cell in enumerate(cells):
        at = match[index]
        if at is None:
            until = next((later for later in match[index:] if later is not None), len(base))
            candidates = [k for k in range(last + 1, until) if k not in taken][:_REACH]
            at = next((k for k in candidates if _alike(base[k], cell)), None)
            match[index] = at
        if at is not None:
            taken.add(at)
            last = at


def _alike(one: Cell, other: Cell) -> bool:
    matcher = SequenceMatcher(None, one["source"], other["source"])
    return (
        one["cell_type"] == other["cell_type"]
        and matcher.real_quick_ratio() >= _SIMILAR
        and matcher.quick_ratio() >= _SIMILAR
        and matcher.ratio() >= _SIMILAR
    )


def _unique_ids(cells: list[Cell]) -> dict[str, int]:
    count = Counter(cell.get("id") for cell in cells)
    return {cell["id"]: index for index, cell in enumerate(cells) if cell.get("id") and count[cell["id"]] == 1}


def _text(cell: Cell) -> tuple[str, str]:
    return cell["cell_type"], cell["source"]
