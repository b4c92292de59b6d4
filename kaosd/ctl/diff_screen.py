"""What differs, drawn: files as unified diffs, notebooks cell by cell, packages and data as lists. Pure.

Where nothing is coloured the hunks of texts are a patch that `patch -p1` and `git apply` take in the source directory.
"""

from __future__ import annotations

from kaosd.ctl.screen import Screen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Json = dict[str, Any]

WORDS = {"edited": "busy", "new": "good", "deleted": "bad", "moved": "busy"}
SIGNS = {"+": "good", "-": "bad", "@": "link", "\\": "dim"}
WHY = {"large": "too large to compare line by line", "binary": "binary"}


def draw_edits(answer: Json, screen: Screen, *, hints: bool = True) -> list[str]:
    """The edits of a notebook with what differs, and what can be done about them."""
    name, counts, files = answer["name"], answer["counts"], answer["files"]
    if not any(counts.values()):
        return [screen.paint("", f"nothing was edited in {name}; it is as deployed ({answer['deployed']})")]
    lines = screen.flow([("strong", f"{said(counts)} in {name}"), ("dim", f"against {answer['deployed']}")], 4)
    lines += [line for file in files for line in draw_file(file, screen, answer["root"])]
    if hints:
        lines += [
            "",
            *screen.flow([("dim", "write them into the source directory:"), ("strong", f"kaosctl pull {name}")]),
        ]
        lines += screen.flow([("dim", "bring the deployed version back:"), ("strong", f"kaosctl reset {name}")])
    return lines


def said(counts: dict[str, int]) -> str:
    """How many files were edited, are new and were deleted."""
    return ", ".join(f"{number} {word}" for word, number in counts.items() if number) or "nothing"


def draw_between(answer: Json, screen: Screen) -> list[str]:
    """What differs between two deployments."""
    first, last = answer["from"], answer["to"]
    lines = screen.flow([("strong", f"deployments {first['number']} and {last['number']} of {answer['name']}")])
    for text in answer["missing"]:
        lines += screen.flow([("busy", f"! {text}")], 4)
    for file in answer["files"] or ():
        lines += draw_file(file, screen)
    lines += _packages(answer["packages"], screen)
    lines += _data(answer["data"], screen)
    return lines if len(lines) > 1 else [*lines, "nothing differs"]


def draw_file(file: Json, screen: Screen, root: str = "") -> list[str]:
    """One file. root: the directory of the source that its path is relative to."""
    path = f"{root}/{file['path']}" if root else file["path"]
    pieces = [(WORDS[file["kind"]], file["kind"]), ("strong", file["path"]), ("dim", _sizes(file))]
    extra = [file.get("mode"), WHY.get(file.get("form", "")), file.get("why")]
    lines = ["", *screen.flow([*pieces, *(("dim", text) for text in extra if text)], 4)]
    if file.get("form") == "notebook":
        return lines + [line for cell in file["cells"] for line in _cell(cell, screen)] + _keys(file, screen)
    if not file.get("hunks"):
        return lines
    before = "/dev/null" if file["kind"] == "new" else f"a/{path}"
    after = "/dev/null" if file["kind"] == "deleted" else f"b/{path}"
    lines += [screen.paint("strong", f"--- {before}"), screen.paint("strong", f"+++ {after}")]
    return [*lines, *_hunks(file["hunks"], screen)]


def _cell(cell: Json, screen: Screen) -> Iterator[str]:
    place = cell["number"] if cell["number"] is not None else cell["was"]
    moved = cell["number"] is not None and cell["was"] not in (None, cell["number"])
    words = [cell["kind"], f"was cell {cell['was']}" if moved else "", cell["outputs"] or ""]
    words += [f"metadata: {', '.join(cell['metadata'])}" if cell["metadata"] else ""]
    head = [("strong", f"  cell {place}"), ("dim", cell["type"]), *(("busy", word) for word in words if word)]
    yield from screen.flow(head, 4)
    for line in _hunks(cell["hunks"], screen):
        yield f"  {line}"


def _keys(file: Json, screen: Screen) -> list[str]:
    """The keys of the notebook's own metadata that differ."""
    keys = ", ".join(file["metadata"])
    return screen.flow([("busy", f"  the notebook's metadata: {keys}")], 4) if keys else []


def _hunks(hunks: Iterable[Json], screen: Screen) -> Iterator[str]:
    for hunk in hunks:
        old, new = (f"{hunk[f'{side}_start']},{hunk[f'{side}_lines']}" for side in ("old", "new"))
        for line in (f"@@ -{old} +{new} @@", *hunk["lines"]):
            yield screen.paint(SIGNS.get(line[:1], ""), line)


def _sizes(file: Json) -> str:
    before, after = file.get("size_before"), file.get("size")
    if before is not None and after is not None and before != after:
        return f"{before:,} → {after:,} B"
    known = after if after is not None else before
    return f"{known:,} B" if known is not None else ""


def _packages(found: Json | None, screen: Screen) -> list[str]:
    signs = {"added": ("+", "good"), "removed": ("-", "bad"), "changed": ("~", "busy")}
    rows = [
        screen.paint(role, f"  {sign} {one['name']} {' → '.join(filter(None, (one['before'], one['after'])))}")
        for kind, (sign, role) in signs.items()
        for one in (found or {}).get(kind, ())
    ]
    return ["", screen.paint("strong", "packages"), *rows] if rows else []


def _data(found: Json | None, screen: Screen) -> list[str]:
    if not found or not found["files"]:
        return []
    total = "1 file differs" if found["total"] == 1 else f"{found['total']} files differ"
    lines = ["", *screen.flow([("strong", "data"), ("dim", total)])]
    for one in found["files"]:
        pieces = [(WORDS[one["kind"]], f"  {one['kind']:<7}"), ("", one["path"]), ("dim", _sizes(one))]
        lines += screen.flow(pieces, 4)
    return lines
