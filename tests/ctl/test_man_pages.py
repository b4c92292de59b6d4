"""kaosctl(1) and kaosd(1): made from the help, complete, and in the language of man pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kaosd.ctl.man_pages import pages
from kaosd.ctl.usage import all_commands

REQUESTS = {".TH", ".SH", ".SS", ".TP", ".PP", ".nf", ".fi", ".RS", ".RE", ".nh", ".ad"}
PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_usual_sections_and_no_unknown_request(name: str) -> None:
    lines = PAGES[name].splitlines()
    assert {line.split(" ")[0] for line in lines if line.startswith(".")} <= REQUESTS
    assert not [line for line in lines if line.startswith("'")]
    sections = [line.removeprefix(".SH ") for line in lines if line.startswith(".SH ")]
    assert sections == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO",
    ]  # fmt: skip
    assert re.search(rf"^{name.removesuffix('.1')} \\- [a-z]", PAGES[name], re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_every_escape_is_one_that_is_meant(name: str) -> None:
    assert set(re.findall(r"\\(.)", PAGES[name])) <= {"-", "f", "e", "&"}
    assert "\\-\\-" in PAGES[name]
    assert not re.search(r"[^\\]--", PAGES[name])


def test_every_command_has_its_usage_arguments_and_examples() -> None:
    text = PAGES["kaosctl.1"].replace("\\-", "-")
    for words, page in all_commands().pages():
        assert f".SS kaosctl {words}\n" in text
        assert all(f"\n{example}\n" in text for example in page.examples)
        for action in page.parser._actions:
            assert action.dest in ("help", "as_json") or all(
                f"\\fB{each}\\fR" in text for each in action.option_strings
            )


def test_the_pages_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kaosd.ctl.man_pages", str(tmp_path / "man1")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [Path(line).name for line in done.stdout.splitlines()] == list(PAGES)
    assert {path.name: path.read_text() for path in (tmp_path / "man1").iterdir()} == PAGES
