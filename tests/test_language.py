"""Messages and docstrings are in plain technical English: no word of the list."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kaosd"
MODULES = sorted({path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()})
THINGS = r"(process(es)?|hosts?|kernels?|daemon|builds?|JupyterLab|containers?)"
WORDS = {
    r"(?<!memory )\bmend(s|ed|ing)?\b": "fix; repair",  # but for the list of keys in ctl/masking.py
    r"\banew\b(?!:)": "again",
    rf"\bend(s|ed|ing)? ((the|a|an|its|their|all|this|that|your|running) )*{THINGS}\b": "stop, or kill",
    r"\bkernels? (will )?ends?\b": "stop, or are stopped",
    r"\b(go|goes|going|went|gone) on\b": "keep running; continue",
    r"\b(take|takes|taken|taking|took) ((a|the|no|more|all|this|its) )*((changes?|it|them) )?over\b": "apply",
    r"\b(is|are|was|were|be|been) told\b|\btold of\b": "is reported, is shown",
    r"\bnobody\b|\bwho (types|asks)\b": "the user, the caller",
    r"\bat one blow\b": "atomically",
    r"(?<!\bthere )\b(is|are|was|were) no (?!longer\b|more\b)": "is not a",
    r"\bdroppings\b": "temporary files of editors and tools",
    r"(?<!\bin )(?<!\btake )(?<!\btakes )(?<!\btook )(?<!\bin the )(?<!\binto the )(?<!\bin its )(?<!\btake its )"
    r"(?<!\btakes the )(?<!\btakes its )"
    r"(?<!\*)\bplaces?\b(?![*:])": "path; location",
    r"(?<!\*)(?-i:\b[Bb]eg(in|ins|an|un|inning)\b)(?!, end|[*:])": "start",
    r"\b(your|a person's|the person's|people's) work\b": "edits made in the notebook",
    r"\bgives? way\b": "is replaced; a copy is kept",
    r"\bbrought to the disk\b": "written and synced",
    r"\b(a|the|next|first|each|every|last|two|later) looks?\b": "observation; scan result",
    r"\bcut short\b": "interrupted",
    r"(?<![/-])\b(shop|lobby|desk|beneath)\b(?!\.py)": "the name of the thing",
}
KEYS = {"mend", "places", "begin immediate", "/desk", "desk"}  # of schema 1, of SQL and of addresses


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a module that is a text, with its line: docstrings, messages, parts of f-strings."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in KEYS:
            yield node.lineno, " ".join(node.value.split())


def found(path: Path) -> list[str]:
    """What a module says that it should say otherwise."""
    return [
        f"{path.relative_to(PACKAGE)}:{line}: {match[0]!r} in {around(text, match)!r}: write {instead}"
        for line, text in texts(path)
        for pattern, instead in WORDS.items()
        for match in re.finditer(pattern, text, re.IGNORECASE)
    ]


def around(text: str, match: re.Match[str]) -> str:
    return text[max(0, match.start() - 40) : match.end() + 30]


def modules(name: str) -> list[Path]:
    return sorted((PACKAGE / name).rglob("*.py")) if (PACKAGE / name).is_dir() else [PACKAGE / f"{name}.py"]


@pytest.mark.parametrize("name", MODULES)
def test_texts_use_the_words_of_the_field(name: str) -> None:
    assert [line for path in modules(name) for line in found(path)] == []
