"""kaosd/ARCHITECTURE.md: what it names exists, and what must be in it is in it."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAP = (ROOT / "kaosd/ARCHITECTURE.md").read_text()
STORIES = re.split(r"(?m)^### ", MAP)[1:]


def functions(path: Path) -> set[str]:
    """The functions and classes of a module, each as Class.method or function."""
    found: set[str] = set()

    def walk(node: ast.AST, before: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(before + child.name)
                walk(child, f"{before}{child.name}.")
            elif not isinstance(child, ast.Lambda):
                walk(child, before)

    walk(ast.parse(path.read_text()), "")
    return found


@pytest.mark.parametrize("story", STORIES, ids=[story.partition(".")[0] for story in STORIES])
def test_a_story_names_functions_that_exist(story: str) -> None:
    stations = re.findall(r"(?m)^[0-9]+\. `(kaosd/[\w/]+\.py):([\w.]+)`: \S", story)
    assert len(stations) == len(re.findall(r"(?m)^[0-9]+\. `", story))
    assert 10 < len(stations) < 20
    gone = [f"{path}:{name}" for path, name in stations if name not in functions(ROOT / path)]
    assert gone == [], "kaosd/ARCHITECTURE.md tells a story in which these have a part"


def test_there_are_five_stories() -> None:
    assert [story[:2] for story in STORIES] == ["1.", "2.", "3.", "4.", "5."]


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`((?:kaosd|tests|config)/[\w/.]*\w)", MAP))
    assert len(named) > 40
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_floors_are_those_of_the_import_contracts() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [re.split(r" \| ", layer) for layer in contracts[0]["layers"]]
    table = MAP.partition("## Floors")[2].partition("##")[0]
    floors = [re.findall(r"`(\w+)`", row) for row in re.findall(r"(?m)^\| (`[^|]+) \|", table)]
    assert floors == layers
