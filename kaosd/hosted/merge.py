"""Three-way merge of notebooks, cell by cell. Pure.

Notebooks are nbformat 4 dictionaries with joined sources (as `nbformat.reads` yields them). Cells are recognised
by their id, else by their content and position. A cell that only one side changed is taken from that side; sources
that both changed are merged as texts; at a real conflict the incoming side wins and the merge says so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .align import Cell, cell_keys
from .text import Edit, merge_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ABSENT: Any = object()
_RESULTS = ("outputs", "execution_count")
_FILLED_IN = ("kernelspec", "language_info")  # metadata that JupyterLab writes by merely opening a notebook


@dataclass(frozen=True)
class MergedCell:
    """origin: index of the live cell that it continues, None for a new one. splices: edits of that one's source."""

    origin: int | None
    content: Cell
    splices: tuple[Edit, ...] = ()


@dataclass
class NotebookMerge:
    """cells, metadata, nbformat_minor: the result. conflict: something of the live notebook gave way."""

    cells: list[MergedCell]
    metadata: dict[str, Any]
    nbformat_minor: int
    conflict: bool

    def notebook(self) -> dict[str, Any]:
        """The result as a notebook."""
        cells = [cell.content for cell in self.cells]
        if self.nbformat_minor < 5:
            cells = [{key: value for key, value in cell.items() if key != "id"} for cell in cells]
        return {
            "cells": cells,
            "metadata": self.metadata,
            "nbformat": 4,
            "nbformat_minor": self.nbformat_minor,
        }


@dataclass
class _Values:
    """Merge of values that are taken as a whole; remembers whether any was in conflict."""

    conflict: bool = field(default=False)

    def merge(self, base: Any, live: Any, incoming: Any) -> Any:
        """The three-way merge; _ABSENT stands for a key that is not there."""
        if incoming in (base, live):
            return live
        if live == base:
            return incoming
        if isinstance(live, dict) and isinstance(incoming, dict):
            return self.keys(base if isinstance(base, dict) else {}, live, incoming)
        self.conflict = True
        return incoming

    def keys(self, base: dict[str, Any], live: dict[str, Any], incoming: dict[str, Any]) -> dict[str, Any]:
        """The three-way merge of dictionaries, key by key."""
        names = [*live, *(name for name in incoming if name not in live)]
        merged = {
            name: self.merge(base.get(name, _ABSENT), live.get(name, _ABSENT), incoming.get(name, _ABSENT))
            for name in names
        }
        return {name: value for name, value in merged.items() if value is not _ABSENT}


def merge_notebooks(base: dict[str, Any] | None, live: dict[str, Any], incoming: dict[str, Any]) -> NotebookMerge:
    """Bring the change base→incoming into *live*. With base None, incoming wins wherever the two differ.

    Outputs are kept as they are in *live* unless only *incoming* has new ones, or both have and it also changed
    the source. Cells of *live* may carry an id even where nbformat 4.4 or older has none.
    """
    values = _Values(conflict=base is None and edited(live, incoming))
    ancestor = _bare_notebook(live) if base is None else base
    before, ours, theirs = ancestor["cells"], live["cells"], incoming["cells"]
    our_keys, their_keys = cell_keys(before, ours, theirs)
    our_place = {key: index for index, key in enumerate(our_keys)}
    their_place = {key: index for index, key in enumerate(their_keys)}
    merged: dict[int, MergedCell] = {}
    for key in {**our_place, **their_place}:
        old = before[key] if key < len(before) else None
        mine = ours[our_place[key]] if key in our_place else None
        other = theirs[their_place[key]] if key in their_place else None
        cell = _merge_cell(old, mine, other, values)
        if cell is not None:
            merged[key] = MergedCell(our_place.get(key), *cell)
    minor = values.merge(ancestor["nbformat_minor"], live["nbformat_minor"], incoming["nbformat_minor"])
    ordered = [merged[key] for key in _order(our_keys, their_keys, len(before), merged)]
    return NotebookMerge(
        cells=_with_ids(ordered) if minor >= 5 else ordered,
        metadata=_merge_metadata(ancestor, live, incoming, values),
        nbformat_minor=minor,
        conflict=values.conflict,
    )


def edited(live: dict[str, Any], base: dict[str, Any] | None) -> bool:
    """Whether *live* holds more than *base* and what opening and running a notebook adds by itself."""
    if base is None or len(live["cells"]) != len(base["cells"]) or _own_metadata(live) != _own_metadata(base):
        return True
    pairs = zip(live["cells"], base["cells"])  # noqa: B905 (Python 3.9)
    return any(mine != old and _by_hand(mine) != _by_hand(old) for mine, old in pairs)


def longest_run(places: Sequence[int], weights: Sequence[int]) -> set[int]:
    """The values of the heaviest increasing subsequence of *places* (distinct); *weights* belong to its items."""
    if all(left < right for left, right in zip(places, places[1:])):  # noqa: B905, RUF007 (Python 3.9)
        return set(places)
    best: list[tuple[int, int]] = []  # (weight up to here, index of the item before or -1)
    for index, place in enumerate(places):
        sums = [(best[k][0], k) for k in range(index) if places[k] < place]
        total, previous = max(sums, default=(0, -1))
        best.append((total + weights[index], previous))
    index = max(range(len(best)), key=lambda k: best[k][0])
    run = set()
    while index >= 0:
        run.add(places[index])
        index = best[index][1]
    return run


def _merge_cell(
    base: Cell | None, live: Cell | None, incoming: Cell | None, values: _Values
) -> tuple[Cell, tuple[Edit, ...]] | None:
    """The merged cell and the splices of its source; None when it is deleted. At least one of the sides is there."""
    if base is None and (live is None or incoming is None):
        return (live or incoming or {}), ()
    if base is not None and live is not None and incoming == base:
        return _valid(live), ()
    if incoming is None:
        values.conflict = values.conflict or _by_hand(live) != _by_hand(base) or not _same_results(live, base)
        return None
    if live is None:
        values.conflict = values.conflict or _by_hand(incoming) != _by_hand(base)
        return None if _by_hand(incoming) == _by_hand(base) else (incoming, ())
    if base is None:
        arrived = live["source"].startswith(incoming["source"])  # before, and the person went on from there
        values.conflict = values.conflict or not (arrived or _by_hand(live) == _by_hand(incoming))
        base = _bare(incoming if arrived else live)
    source = merge_text(base["source"], live["source"], incoming["source"])
    values.conflict = values.conflict or source.conflict
    handled = ("id", "source", *_RESULTS)
    rest = [{key: value for key, value in cell.items() if key not in handled} for cell in (base, live, incoming)]
    results, new = _results(base, live, incoming, values)
    cell = {**values.keys(*rest), "source": source.text, **results}
    if new:  # the person trusted the outputs that were there, not these
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key != "trusted"}
    identity = live.get("id") if incoming.get("id", base.get("id")) == base.get("id") else incoming["id"]
    return _valid({"id": identity, **cell} if identity else cell), source.splices


def _merge_metadata(
    base: dict[str, Any], live: dict[str, Any], incoming: dict[str, Any], values: _Values
) -> dict[str, Any]:
    """Metadata of the notebook; what JupyterLab fills in is not missed, so that is never a conflict."""
    sides = [notebook["metadata"] for notebook in (base, live, incoming)]
    filled_in = [{key: side[key] for key in _FILLED_IN if key in side} for side in sides]
    rest = [{key: value for key, value in side.items() if key not in _FILLED_IN} for side in sides]
    return {**values.keys(*rest), **_Values().keys(*filled_in)}


def _results(base: Cell, live: Cell, incoming: Cell, values: _Values) -> tuple[Cell, bool]:
    """Outputs and execution count, taken together from one side, and whether that is the incoming one."""
    new = not _same_results(incoming, base)
    if new and not _same_results(live, base) and not _same_results(live, incoming):
        new = incoming["source"] != base["source"]
        values.conflict = values.conflict or new
    chosen = incoming if new else live
    return {key: chosen[key] for key in _RESULTS if key in chosen}, new


def _order(ours: list[int], theirs: list[int], known: int, wanted: Iterable[int]) -> list[int]:
    """The keys in *wanted*: in our order unless the incoming side moved cells, the other side's put in between."""
    wanted = set(wanted)
    common = [key for key in theirs if key < known]
    lead, other = (ours, theirs) if common == sorted(common) else (theirs, ours)
    result = [key for key in lead if key in wanted]
    placed = set(result)
    place = 0
    for key in other:
        if key in placed:
            place = result.index(key) + 1
        elif key in wanted:
            result.insert(place, key)
            placed.add(key)
            place += 1
    return result


def _by_hand(cell: Cell | None) -> Any:
    """What a person writes in a cell: all but its id, its results and the mark of trust."""
    own = {key: value for key, value in (cell or {}).items() if key not in ("id", "metadata", *_RESULTS)}
    return own, {key: value for key, value in (cell or {}).get("metadata", {}).items() if key != "trusted"}


def _own_metadata(notebook: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in notebook["metadata"].items() if key not in _FILLED_IN}


def _same_results(one: Cell | None, other: Cell | None) -> bool:
    return all((one or {}).get(key) == (other or {}).get(key) for key in _RESULTS)


def _bare(cell: Cell) -> Cell:
    """The ancestor of a cell whose past is unknown: what it says, without results and metadata."""
    return _valid({**{key: value for key, value in cell.items() if key not in _RESULTS}, "metadata": {}})


def _bare_notebook(notebook: dict[str, Any]) -> dict[str, Any]:
    return {**notebook, "metadata": {}, "cells": [_bare(cell) for cell in notebook["cells"]]}


def _valid(cell: Cell) -> Cell:
    """The cell with exactly the keys that its type asks for."""
    if cell["cell_type"] == "code":
        kept = {key: value for key, value in cell.items() if key != "attachments"}
        return {"outputs": [], "execution_count": None, **kept}
    return {key: value for key, value in cell.items() if key not in _RESULTS}


def _with_ids(cells: list[MergedCell]) -> list[MergedCell]:
    """The same cells, each with an id of its own."""
    seen: set[str] = set()
    result = []
    for index, cell in enumerate(cells):
        name = cell.content.get("id")
        while not name or name in seen:
            name = hashlib.sha256(f"{index} {name} {cell.content['source']}".encode()).hexdigest()[:8]
        seen.add(name)
        if name != cell.content.get("id"):
            cell = MergedCell(cell.origin, {**cell.content, "id": name}, cell.splices)  # noqa: PLW2901
        result.append(cell)
    return result
