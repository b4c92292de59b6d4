"""The picture of the status: real text and colours become an SVG, and the one in the README is such a one."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.pictures import COLUMNS, PICTURE, drawn, on_terminal

README = Path(__file__).parent.parent / "README.md"
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[list[tuple[str, str]]]:
    """Each line as runs of colour and text."""
    rows = ET.fromstring(svg).findall(f"{SVG}text")
    return [[(run.get("fill") or "", run.text or "") for run in row] for row in rows]


def test_text_and_colours_stay() -> None:
    lines = texts(drawn("\x1b[1ma <b>\x1b[0m & c\r\n\x1b[31m✗ x\x1b[0m\r\n", "kaosctl status"))
    assert lines == [
        [("#8b949e", "$"), ("#d0d7de", " kaosctl status")],
        [("#ffffff", "a <b>"), ("#d0d7de", " & c")],
        [("#ff7b72", "✗ x")],
    ]


def test_the_terminal_is_a_real_one() -> None:
    program = "import os, sys; print(os.get_terminal_size().columns, sys.stdout.isatty())"
    assert on_terminal([sys.executable, "-c", program], {}) == f"{COLUMNS} True\r\n"


def test_the_readme_shows_a_picture_of_every_kind_of_state() -> None:
    assert str(PICTURE.relative_to(README.parent)) in README.read_text()
    lines = ["".join(text for _, text in line) for line in texts(PICTURE.read_text())]
    assert lines[0] == "$ kaosctl status"
    assert lines[1].startswith("kaosd ")
    assert [sum(line.startswith(sign) for line in lines) for sign in "●✗‖"] == [1, 1, 1]
    assert all(len(line) <= COLUMNS for line in lines)
