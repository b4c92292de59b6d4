"""Which Python the files ask for."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import Any

from kaosd.declared.looking_up import Files, joined

LOWEST_PYTHON = (3, 9)  # that a notebook can be hosted with
LOWEST_LAB = "3.6"  # the last one of 3; older ones know no collaboration and another server
_RUNTIME = re.compile(r"(?:python[- ]?)?([0-9](?:\.[0-9]+){0,2})")
_VERSION = re.compile(r"(?:cpython[@-]?)?([0-9](?:\.[0-9]+){0,2})(?:[-+].*)?")


@dataclass(frozen=True, slots=True)
class PythonWanted:
    """What a file asks for. request: "3.10", ">=3.9,<3.12", or "" when *text* of the file is not a Python version.

    path, line: where that stands.
    """

    request: str
    text: str
    path: str
    line: int

    @property
    def place(self) -> str:
        """Where that stands, for people."""
        return f"{self.path}:{self.line}"

    @property
    def is_other_language(self) -> bool:
        """Whether the file asks for R, which is a warning of the notebook."""
        return re.match(r"r-", self.text, re.IGNORECASE) is not None


def wanted(files: Files, folder: str, root: str, used: str | None) -> PythonWanted | None:
    """The Python of runtime.txt, .python-version, or the environment file *used*, in this order; None: any."""
    for path in dict.fromkeys((joined(folder, "runtime.txt"), joined(root, "runtime.txt") if not folder else "")):
        if path and (found := _first(files, path, _RUNTIME)) is not None:
            return found
    for directory in dict.fromkeys((folder, root)):
        if (found := _first(files, joined(directory, ".python-version"), _VERSION)) is not None and found.request:
            return found
    if used is None:
        return None
    if used.endswith("pyproject.toml"):
        return _required(files, used)
    return _of_pipfile(files, used) if used.endswith("Pipfile.lock") else None


def _first(files: Files, path: str, form: re.Pattern[str]) -> PythonWanted | None:
    """The first line of a file that is not a comment."""
    for number, line in enumerate((files.text(path) or "").splitlines(), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            match = form.fullmatch(text)
            return PythonWanted(match[1] if match else "", text, path, number)
    return None


def _required(files: Files, path: str) -> PythonWanted | None:
    text = files.text(path) or ""
    value = table(text, "project").get("requires-python")
    if not isinstance(value, str) or not value.strip():
        return None
    return PythonWanted(value.strip(), value, path, line_of(text, "requires-python"))


def _of_pipfile(files: Files, path: str) -> PythonWanted | None:
    text = files.text(path) or ""
    try:
        requires = json.loads(text)["_meta"]["requires"]
        version = requires.get("python_full_version") or requires.get("python_version")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        return None
    return PythonWanted(version, version, path, line_of(text, "python_"))


def is_toml(text: str) -> bool:
    """Whether *text* can be read as TOML."""
    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return False
    return True


def table(text: str, *names: str) -> dict[str, Any]:
    """The table *names* of TOML *text*; empty when there is none, or the text is not TOML."""
    try:
        found: Any = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def line_of(text: str, words: str) -> int:
    """The first line that holds *words*, from 1; 1 when none does."""
    return next((number for number, line in enumerate(text.split("\n"), 1) if words in line), 1)
