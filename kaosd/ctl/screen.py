"""What the person's screen can show: its width, its colours, and how text is laid out on it."""

from __future__ import annotations

import os

from kaosd.display import epoch, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TextIO

    Piece = tuple[str, str]  # role and text

ENDLESS = 1_000_000  # the width of a pipe: nothing is wrapped
_SEQUENCES = {
    "good": "32",
    "busy": "33",
    "bad": "31",
    "strong": "1",
    "dim": "2",
    "badly": "1;31",
    "link": "36",
    "found": "30;43",
}
_PLAIN_SYMBOLS = {"●": "*", "◐": "o", "✗": "x", "‖": "=", "○": "-", "─": "-", "→": "->", "…": "..."}


class Screen:
    """What is written to. width: columns. colour: whether escapes may be sent. plain: no symbols beyond ASCII."""

    def __init__(self, width: int = ENDLESS, *, colour: bool = False, plain: bool = False) -> None:
        self.width = width
        self.colour = colour
        self.plain = plain

    def safe(self, text: str) -> str:
        """*text* without anything that steers a terminal, and with symbols that this screen has."""
        text = printable(text)
        return "".join(_PLAIN_SYMBOLS.get(char, char) for char in text) if self.plain else text

    def paint(self, role: str, text: str) -> str:
        """*text* made safe for the terminal, in the colour of *role* ("" for none)."""
        text = self.safe(text)
        return f"\x1b[{_SEQUENCES[role]}m{text}\x1b[0m" if self.colour and role and text else text

    def aligned(self, rows: Sequence[Sequence[Piece]], gap: str = "  ") -> list[str] | None:
        """A line for each row, its cells in columns as wide as their widest one; None where that is too wide.

        Columns that are empty in every row are left out.
        """
        safe = [[(role, self.safe(text).replace("\t", " ")) for role, text in row] for row in rows]
        widths = [max(columns(text) for _, text in column) for column in zip(*safe, strict=True)]
        shown = [index for index, width in enumerate(widths) if width]
        if sum(widths) + len(gap) * (len(shown) - 1) > self.width:
            return None
        return [self._cells([(*row[index], widths[index]) for index in shown], gap) for row in safe]

    def _cells(self, cells: Sequence[tuple[str, str, int]], gap: str) -> str:
        """One line of cells (role, text, width), without spaces at its end."""
        line, owed = "", ""
        for role, text, width in cells:
            if text:
                line += owed + self.paint(role, text)
                owed = ""
            owed += " " * (width - columns(text)) + gap
        return line

    def flow(self, pieces: Iterable[Piece], indent: int = 0, gap: str = "   ") -> list[str]:
        """Lines that hold *pieces* in their order, broken between pieces where possible, else between words.

        Nothing is ever cut off: addresses and commands stay whole. Lines after the first are indented by *indent*.
        """
        lines: list[str] = []
        line, used = "", 0
        for role, text in (part for piece in pieces for part in self._parts(piece, indent)):
            needed = columns(text)
            if line and used + len(gap) + needed > self.width:
                lines.append(line)
                line, used = "", 0
            start = gap if line else " " * (indent if lines else 0)
            line, used = line + start + self.paint(role, text), used + len(start) + needed
        return [*lines, line] if line else lines

    def _parts(self, piece: Piece, indent: int) -> list[Piece]:
        """*piece*, in several when it is longer than a line and no command (those are copied whole)."""
        role, text = piece[0], printable(piece[1])
        room = self.width - indent
        if columns(text) <= room or role == "strong":
            return [(role, text)]
        words = text.lstrip(" ").split(" ")
        parts = [" " * (len(text) - len(text.lstrip(" "))) + words[0]]
        for word in words[1:]:
            longer = f"{parts[-1]} {word}"
            if columns(longer) > room:
                parts.append(word)
            else:
                parts[-1] = longer
        return [(role, part) for part in parts]

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
        """Rows of cells below *titles*, in columns as wide as their widest cell.

        Where the screen is too narrow for that, each row is a paragraph of its cells with their titles.
        """
        all_rows = list(rows)
        cells = [[("dim", title) for title in titles], *([("", cell) for cell in row] for row in all_rows)]
        lines = self.aligned(cells, "   ")
        return lines or [line for row in all_rows for line in self._paragraph(titles, row)]

    def _paragraph(self, titles: Sequence[str], row: Sequence[str]) -> list[str]:
        """The first cell, and the others with their titles below or beside it."""
        named = [("", f"{title} {cell}") for title, cell in zip(titles[1:], row[1:], strict=True)]
        return self.flow([("strong", row[0]), *named], 4)


def columns(text: str) -> int:
    """How many columns *text* takes on a terminal."""
    if all(char < "\u0300" or char in _PLAIN_SYMBOLS for char in text):  # spares most calls the Unicode tables
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(char) in ("Mn", "Me", "Cf") else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )


def cut(text: str, width: int) -> str:
    """*text* as far as it fits into *width* columns, with an ellipsis where it does not."""
    if columns(text) <= width:
        return text
    while text and columns(text) >= width:
        text = text[:-1]
    return f"{text}…"


def of(stream: TextIO) -> Screen:
    """The screen behind *stream*: COLUMNS, else the terminal's width; colour on a terminal and without NO_COLOR."""
    terminal = stream.isatty()
    given = os.environ.get("COLUMNS", "")
    width = int(given) if given.isascii() and given.isdecimal() and len(given) < 7 and int(given) else ENDLESS
    if width == ENDLESS and terminal:
        try:
            width = os.get_terminal_size(stream.fileno()).columns or 80
        except OSError:
            width = 80
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    plain = not (stream.encoding or "").lower().replace("-", "").startswith("utf")
    return Screen(max(width, 20), colour=colour, plain=plain)


def age(seconds: float) -> str:
    """A span of time in one or two units, as a person would say it: 0 s, 12 min, 3 h 5 min, 4 d 2 h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


def briefly(seconds: float) -> str:
    """A span of time in one unit, for a column: 0 s, 12 min, 3 h, 4 d."""
    return " ".join(age(seconds).split(" ")[:2])


def span(seconds: float) -> str:
    """How long something took: 9 ms, 0.3 s, 41 s, 2 min."""
    if 0 < seconds < 0.095:
        return f"{max(1, round(seconds * 1000))} ms"
    return f"{seconds:.1f} s" if seconds < 9.95 else age(round(seconds))


def since(at: str | None, now: float) -> str:
    """How long ago *at* was; "?" when that is not a time."""
    found = epoch(at)
    return age(now - found) if found is not None else "?"


def some(names: Sequence[object]) -> str:
    """The first names of many: a.py, b.py (+3)."""
    text = ", ".join(str(name) for name in names[:2])
    return text + (f" (+{len(names) - 2})" if len(names) > 2 else "")


def count(number: int, one: str, many: str | None = None) -> str:
    """1 file, 2 files."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def quantity(size: float) -> str:
    """Bytes as in the limits: 0, 312Mi, 1.2Gi."""
    size /= 2**20
    for unit in "MGT":
        if size < 1000 or unit == "T":
            break
        size /= 1024
    return f"{size:.1f}{unit}i" if unit != "M" and size < 9.95 else f"{size:.0f}{unit}i"


_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def size_of(text: str) -> float:
    """The bytes of a limit such as 4Gi; 0 when it is none."""
    number = text.rstrip("kKMGTPi")
    try:
        return float(number) * _UNITS.get(text[len(number) :], 1)
    except ValueError:
        return 0.0
