"""`kaosctl help TOPIC`: the pages of kaosd/docs, which are Markdown, as text for a terminal.

Understood are headings, paragraphs, lists, tables, indented and fenced code, **strong** words and links; pictures are
left out. A link to another page becomes the command that shows it.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator

import kaosd
from kaosd.ctl import pager
from kaosd.ctl.screen import Screen, columns

ROOT = os.path.join(os.path.dirname(kaosd.__file__), "docs")
WIDEST = 100  # columns of running text; longer lines are hard to read
NARROWEST = 8  # columns of a table
_NO_BREAK = "\0"  # stands for a space at which a line must not be broken
_ITEM = re.compile(r"( *)(-|[0-9]+\.) +")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
_CODE = re.compile(r"`[^`]+`")


def names() -> list[str]:
    """The topics that there are, by name."""
    return sorted(name.removesuffix(".md") for name in os.listdir(ROOT) if name.endswith(".md"))


def titles() -> dict[str, str]:
    """The topics that there are, each with the heading of its page."""
    return {name: read(name).partition("\n")[0].removeprefix("# ") for name in names()}


def read(name: str) -> str:
    """The page of a topic, as Markdown."""
    with open(os.path.join(ROOT, f"{name}.md"), encoding="utf-8") as file:
        return file.read()


def show(name: str, *, as_json: bool) -> int:
    """Print the page of a topic; on a terminal that is too small for it, in a pager."""
    from kaosd.ctl import command_output

    if as_json:
        command_output.tell({"topic": name, "title": titles()[name], "markdown": read(name)}, (), as_json=True)
    else:
        pager.show(render(read(name), command_output.here()))
    return 0


def render(markdown: str, screen: Screen) -> list[str]:
    """The lines that show *markdown* on *screen*."""
    width = min(screen.width, WIDEST)
    lines: list[str] = []
    for kind, block in _blocks(markdown.splitlines()):
        if kind == "heading":
            lines += [screen.paint("strong", _plain(block[0].lstrip("# ")))]
        elif kind == "table":
            lines += [f"  {line}".rstrip() for line in _table(block, width - 2, screen)]
        elif kind == "code":
            lines += [screen.paint("", f"    {line}".rstrip()) for line in block]
        elif kind == "item":
            head = _ITEM.match(block[0])
            before = " " * (2 + len(head[1] if head else "")) + (head[2] if head else "-") + " "
            text = " ".join([block[0][head.end() if head else 0 :], *(line.strip() for line in block[1:])])
            lines += [_painted(line, screen) for line in _wrap(text, width, before)]
        elif kind == "text":
            lines += [_painted(line, screen) for line in _wrap(" ".join(map(str.strip, block)), width, "  ")]
        elif lines and lines[-1]:
            lines += [""]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The blocks of a page with their kinds: heading, table, code, item (of a list), text, blank."""
    kind, block, fenced = "blank", [""], False
    for line in lines:
        if line.startswith("```"):
            fenced = not fenced
            yield kind, block
            kind, block = ("code", []) if fenced else ("blank", [""])
            continue
        found = "code" if fenced else _kind(line, kind)
        if found == "more" or (found == kind and kind in ("code", "table", "text")):
            block.append(line[4:] if found == "code" and not fenced else line)
            continue
        yield kind, block
        kind, block = found, [line[4:] if found == "code" and not fenced else line]
    yield kind, block


def _kind(line: str, before: str) -> str:
    """The kind of block that *line* belongs to, after one of kind *before*; "more": it continues that one."""
    if not line.strip() or line.startswith("!["):
        return "blank"
    if line.startswith("#"):
        return "heading"
    if line.startswith("|"):
        return "table"
    if _ITEM.match(line):
        return "item"
    if before == "item" and line.startswith(" "):
        return "more"
    return "code" if line.startswith("    ") else "text"


def _wrap(text: str, width: int, before: str) -> list[str]:
    """*text* in lines of at most *width* columns, the first after *before*, the others set in as far."""
    room = max(width - len(before), NARROWEST)
    kept = _CODE.sub(lambda one: one[0].replace(" ", _NO_BREAK) if len(one[0]) <= room else one[0], _plain(text))
    lines = textwrap.wrap(kept, room, break_long_words=False, break_on_hyphens=False) or [""]
    lead = [before, *[" " * len(before)] * (len(lines) - 1)]
    return [start + line.replace(_NO_BREAK, " ") for start, line in zip(lead, lines, strict=True)]


def _plain(text: str) -> str:
    """*text* without the marks of Markdown, but for those of code."""
    text = _LINK.sub(lambda link: _linked(link[1], link[2]), text)
    return text.replace("**", "")


def _linked(label: str, target: str) -> str:
    page = target.partition("#")[0].removesuffix(".md")
    if target.endswith(".md") and "/" not in target:
        return f"`kaosctl help {page}`" if label == page else f"{label} (`kaosctl help {page}`)"
    return label if label == target or target.startswith(("#", ".")) else f"{label} ({target})"


def _painted(line: str, screen: Screen) -> str:
    return screen.paint("", line)


def _table(rows: list[str], width: int, screen: Screen) -> list[str]:
    """The rows of a table as columns that fit into *width*, and a line between rows that need more than one."""
    cells = [
        [_plain(cell.strip()).replace("\\|", "|") for cell in _cells(row)] for row in rows if set(row) - set("|-: ")
    ]
    count = max(map(len, cells))
    cells = [row + [""] * (count - len(row)) for row in cells]
    wanted = [max(columns(row[at]) for row in cells) for at in range(count)]
    least = [max(columns(word) for row in cells for word in (row[at] or " ").split()) for at in range(count)]
    widths = _widths(wanted, least, width - 2 * (count - 1))
    wrapped = [[_wrap(cell, room, "") for cell, room in zip(row, widths, strict=True)] for row in cells]
    apart = any(len(cell) > 1 for row in wrapped for cell in row)
    lines: list[str] = []
    for number, row in enumerate(wrapped):
        if number and apart:
            lines.append("")
        for at in range(max(map(len, row))):
            parts = [cell[at] if at < len(cell) else "" for cell in row]
            line = "  ".join(part + " " * (room - columns(part)) for part, room in zip(parts, widths, strict=True))
            lines.append(screen.paint("" if number else "dim", line.rstrip()))
    return lines


def _cells(row: str) -> list[str]:
    return re.split(r"(?<!\\)\|", row.strip().strip("|"))


def _widths(wanted: list[int], least: list[int], room: int) -> list[int]:
    """The widths of columns that want so much, need *least* for their longest word and have *room* together."""
    widths = list(wanted)
    while sum(widths) > room:
        spare = [
            (width - NARROWEST if width > need else 0, at)
            for at, (width, need) in enumerate(zip(widths, least, strict=True))
        ]
        most, at = max(spare)
        if most <= 0:
            break
        widths[at] -= 1
    return widths
