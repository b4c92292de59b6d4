"""What an environment's inputs ask uv for, read from the files as they were laid out."""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kaosd import encodings
from kaosd.declared import Declared, name_of
from kaosd.declared.contents import pipfile_lines, pyproject_asks
from kaosd.engines.process.blame import Requirement, read
from kaosd.errors import BuildFailed

_HASHED = re.compile(r"(?:^|\s)--(?:require-hashes|hash[= ])", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sources:
    """files: texts of requirements files by their path from the notebook's root. lines: what kaosd writes for uv.

    asked: the requirements with their lines. hashed: whether they are asked for by hashes.
    """

    files: Mapping[str, str]
    lines: tuple[str, ...]
    asked: tuple[Requirement, ...]
    hashed: bool


def sources(bundle: Path, declared: Declared) -> Sources:
    """Read what *declared* names below *bundle*. BuildFailed when a file is not what its name says."""
    path = declared.file or ""
    if declared.python is not None:
        _text(bundle, declared.python.path)
    text = _text(bundle, path) if path else ""
    if declared.kind == "requirements":
        files = {posixpath.relpath(one, declared.root or "."): _text(bundle, one) for one in _requirements(declared)}
        asked = [one for name, content in files.items() for one in read(name, content, declared.root)]
        return Sources(files, (), tuple(asked), any(_HASHED.search(content) for content in files.values()))
    if declared.kind == "pipfile":
        try:
            lines = pipfile_lines(text, declared.choice.groups)
        except (ValueError, TypeError) as error:
            raise BuildFailed(f"{path} {error}", hint="make it again: pipenv lock") from error
        asked_of = _asked(path, text, lines)
        return Sources({}, tuple(lines), asked_of, any(_HASHED.search(line) for line in lines))
    if declared.kind == "conda":
        return Sources({}, (), (), False)
    projects = tuple(f"./{posixpath.relpath(one.path or '.', declared.root or '.')}" for one in declared.projects)
    if declared.kind == "pyproject":
        _check_toml(path, text)
        choice = declared.choice
        return Sources({}, projects, _asked(path, text, pyproject_asks(text, choice.extras, choice.groups)), False)
    return Sources({}, projects, (), False)


def _check_toml(path: str, text: str) -> None:
    """BuildFailed with its line when *text* is not TOML."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else path
        raise BuildFailed(f"{where}: it is not TOML: {error}", hint="correct it") from error


def _requirements(declared: Declared) -> Iterable[str]:
    """The requirements files among the inputs, the one in use first."""
    others = (one for one in declared.requirements if one != declared.file)
    return [one for one in (declared.file, *others) if one is not None]


def _asked(path: str, text: str, lines: Iterable[str]) -> tuple[Requirement, ...]:
    """Requirements of another kind of file, each with the first line of *text* that has it, or its name."""
    written = text.split("\n")
    found = []
    for line in lines:
        name = name_of(line)
        at = [number for number, one in enumerate(written, 1) if line in one]
        at += [number for number, one in enumerate(written, 1) if name and f'"{name}' in one.lower()]
        found.append(Requirement(path, at[0] if at else 1, name, line.partition(" --hash")[0]))
    return tuple(found)


def _text(bundle: Path, name: str) -> str:
    """The text of a file, which is rewritten so that uv reads the same. BuildFailed names one that is not text."""
    try:
        return encodings.rewrite(bundle / name)
    except encodings.NotTextError as error:
        raise BuildFailed(f"{name} {error}") from error
