"""The topics of `kaosctl help`: what they must say, and how they look on a terminal."""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import subprocess
import sys
import termios
import threading
from enum import StrEnum
from pathlib import Path

import pytest

from kaosd.api.request_table import ROUTES
from kaosd.ctl import topics
from kaosd.ctl.manual import EXIT_CODES
from kaosd.ctl.screen import Screen, columns
from kaosd.ctl.usage import all_commands
from kaosd.model import HostState, JobState, NotebookState
from kaosd.planner import Why
from tests.ctl.standin import Daemon

PACKAGE = Path(topics.ROOT).parent
ROOT = PACKAGE.parent
README = (ROOT / "README.md").read_text()
PAGES = {name: topics.read(name) for name in topics.names()}
MARKS = re.compile(r"\]\(|\*\*|(?m:^#|^\s*\|)")


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_the_terminal(name: str, width: int) -> None:
    lines = topics.render(PAGES[name], Screen(width))
    assert lines[0] == PAGES[name].partition("\n")[0].removeprefix("# ")
    wide = [line for line in lines if columns(line) > width]
    assert width < 80 or wide == []
    assert [line for line in lines if MARKS.search(line)] == []
    words = set(re.findall(r"\w{4,}", "\n".join(lines)))
    assert set(re.findall(r"\w{4,}", re.sub(r"\]\([^)]+\)|(?m:^!\[.*$)", "", PAGES[name]))) - words == set()


def test_what_markdown_becomes() -> None:
    text = (
        "# Title\n\nA **strong** word,\nsee [bundles](bundles.md) and [this](docker.md).\n\n"
        "- an item that is\n  longer\n  - below\n1. first\n\n```\n  code  # kept\n```\n"
        "| key | meaning |\n|---|---|\n| `a\\|b` | one |\n"
    )
    assert topics.render(text, Screen(60)) == [
        "Title",
        "",
        "  A strong word, see `kaosctl help bundles` and this",
        "  (`kaosctl help docker`).",
        "",
        "  - an item that is longer",
        "    - below",
        "  1. first",
        "",
        "      code  # kept",
        "",
        "  key    meaning",
        "  `a|b`  one",
    ]


def test_a_table_that_is_too_wide_is_wrapped_and_its_rows_are_set_apart() -> None:
    rows = "| a | b |\n|---|---|\n| one | " + "word " * 12 + "|\n| two | x |\n"
    lines = topics.render(rows, Screen(40))
    assert lines[:3] == ["  a    b", "", "  one  word word word word word word"]
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("page", [*PAGES, "README"])
def test_links_lead_somewhere(page: str) -> None:
    text = README if page == "README" else PAGES[page]
    directory = ROOT if page == "README" else PACKAGE / "docs"
    targets = [target.partition("#")[0] for _, target in re.findall(r"\[([^\]]+)\]\(([^)]+)\)", text)]
    assert [target for target in targets if "://" not in target and not (directory / target).exists()] == []


def known(command: str) -> bool:
    """Whether kaosctl has the command, and the options, of a line such as "up DIR --engine E"."""
    words = command.split()
    for size in (2, 1):
        parser = all_commands().find(words[:size])
        if parser is not None and len(words) >= size:
            options = {option for action in parser._actions for option in action.option_strings}
            given = {word.partition("=")[0] for word in words[size:] if re.match(r"--?[a-z]", word)}
            return given <= options and (words[0] != "help" or len(words) == 1 or named(words[1:]))
    return False


def named(words: list[str]) -> bool:
    """Whether `kaosctl help` knows these words."""
    return words[0].isupper() or words[0] in PAGES or all_commands().find(words) is not None


@pytest.mark.parametrize("page", [*PAGES, "README"])
def test_every_command_that_is_named_exists(page: str) -> None:
    text = README if page == "README" else PAGES[page]
    fenced = "".join(re.findall(r"(?ms)^```\n(.*?)^```", text)) + "".join(re.findall(r"(?m)^    .*\n", text))
    spans = [*re.findall(r"`([^`\n]+)`", text), *map(str.strip, fenced.splitlines())]
    asked = [span.removeprefix("kaosctl ") for span in spans if re.match(r"kaosctl \w", span)]
    commands = [re.split(r"\s+#|&&|\||>|\)| ; ", span)[0].strip() for span in asked]
    assert [command for command in commands if not known(command)] == []


def test_the_test_knows_what_does_not_exist() -> None:
    assert known("notebook deploy --memory 4Gi")
    assert not known("status --now")
    assert not known("help nothing")
    assert not known("frobnicate")


def test_every_topic_is_reached_from_the_readme() -> None:
    assert set(re.findall(r"\(kaosd/docs/([a-z-]+)\.md\)", README)) == set(PAGES)


def test_the_page_of_json_says_what_there_is() -> None:
    page = PAGES["json"]
    words: list[type[StrEnum]] = [NotebookState, JobState, HostState, Why]
    assert [word.value for kind in words for word in kind if f"`{word.value}`" not in page] == []
    assert [code for code, text in EXIT_CODES.items() if f"| {code} | {text} |" not in page] == []


def test_the_page_of_json_names_every_field_of_the_status() -> None:
    page = PAGES["json"]
    for path, functions in {
        "notebook/view.py": {
            "notebook",
            "_host",
            "_bundle",
            "deployment",
            "job",
            "_environment",
            "_answers",
            "_progress",
            "_swap",
        },
        "requests/daemon_wide.py": {"status", "_shown"},
    }.items():
        found = [
            key.value
            for node in ast.walk(ast.parse((PACKAGE / path).read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in functions
            for one in ast.walk(node)
            if isinstance(one, ast.Dict)
            for key in one.keys
            if isinstance(key, ast.Constant)
        ]
        assert len(found) > 10
        assert [key for key in found if f'"{key}"' not in page and f"`{key}`" not in page] == []


def test_the_page_of_the_api_has_every_route_and_every_code() -> None:
    page = PAGES["api"]
    named = {(method, path) for method, path in re.findall(r"(?m)^\| (GET|POST|DELETE) `(/v1[^`?]+)", page)}
    assert named == {(route.method, re.sub(r"\{[^}]+\}", "NAME", route.path)) for route in ROUTES}
    codes = {
        node.value.value
        for path in (PACKAGE / "errors.py",)
        for found in ast.walk(ast.parse(path.read_text()))
        if isinstance(found, ast.ClassDef)
        for node in found.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "code"
        if isinstance(node.value, ast.Constant)
    } - {"error", "document_held"}  # never answered: the base, and what only makes a step wait
    codes |= set(
        re.findall(r'Refusal\(\d+, "(\w+)"', "".join(path.read_text() for path in (PACKAGE / "api").glob("*.py")))
    )
    assert [code for code in codes if f"`{code}`" not in page] == []


def test_the_kinds_of_events_are_listed() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        found |= set(re.findall(r'\.event\("(\w+)"|journal\.append\("(\w+)"', path.read_text()))
    kinds = {one or other for one, other in found}
    assert "job_progress" in kinds
    assert [kind for kind in kinds if f"`{kind}`" not in PAGES["api"]] == []


# Words that people who read English as a second language stumble over, each with what is said instead.
PLAIN = {
    r"mend(s|ed|ing)?(?![`\"])": "fix", "anew": "again", "droppings": "temporary files", "at one blow": "atomically",
    r"cut short": "interrupted", r"go(es)? on\b(?! (with|to))": "keeps running", r"takes? over": "applies",
    r"whoever|who (types|asks)": "the user", r"(?<![Tt]here )is no (?!longer)": "is not a",
    r"befall?s?|befell": "happens", r"tells? of": "reports", "brought to the disk": "written and synced",
}  # fmt: skip


@pytest.mark.parametrize("page", [*PAGES, "README", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG"])
def test_the_words_are_plain(page: str) -> None:
    others = {"README": "README.md", "ARCHITECTURE": "kaosd/ARCHITECTURE.md", "CHANGELOG": "CHANGELOG.md"}
    others["CONTRIBUTING"] = ".github/CONTRIBUTING.md"
    text = PAGES[page] if page in PAGES else (ROOT / others[page]).read_text()
    found = {one[0]: better for words, better in PLAIN.items() if (one := re.search(rf"\b({words})\b", text))}
    assert found == {}


def test_help_shows_a_topic_and_lists_all(stopped: Daemon) -> None:
    done = stopped.run("help", "docker")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, topics.titles()["docker"])
    told = json.loads(stopped.run("help", "docker", "--json").stdout)
    assert (told["topic"], told["markdown"]) == ("docker", PAGES["docker"])
    listed = stopped.run("help").stdout
    assert re.search(r"(?m)^  getting-started +Get started", listed)
    assert re.search(r"(?m)^    status +\w", listed)
    wrong = stopped.run("help", "bundels")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean `kaosctl help bundles`?" in wrong.stderr


def on_terminal(environment: dict[str, str]) -> str:
    """What `kaosctl help api` writes to a terminal of 24 rows."""
    here, there = pty.openpty()
    output = b""

    def read() -> None:
        nonlocal output
        try:
            while part := os.read(here, 4096):
                output += part
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    termios.tcsetwinsize(here, (24, 80))
    command = [sys.executable, "-m", "kaosd.ctl", "help", "api"]
    done = subprocess.run(command, stdin=there, stdout=there, env={**os.environ, **environment}, check=False)
    os.close(there)
    reader.join()
    os.close(here)
    assert done.returncode == 0
    return output.decode()


def test_a_long_page_goes_through_the_pager_of_the_person() -> None:
    assert on_terminal({"PAGER": "sed s/^/PAGED/"}).count("PAGED") > 24


def test_without_a_pager_the_page_is_written_as_it_is() -> None:
    assert "/v1/events" in on_terminal({"PAGER": "no-such-pager"})
