"""From the lines of requirements to the files and local projects that they refer to."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field

from kaosd.declared.looking_up import Files, beneath, joined
from kaosd.declared.projects import Project, project, sources_of
from kaosd.declared.requirement_lines import RequirementLine, lines

_ARCHIVES = (".whl", ".tar.gz", ".zip", ".tgz", ".tar.bz2", ".html")


@dataclass(frozen=True, slots=True)
class Followed:
    """What was found. files: to be read for the environment. problems: a text and a hint each. lines: the requirements.

    requirements: those of the files that are requirements files.
    """

    files: tuple[str, ...]
    projects: tuple[Project, ...]
    problems: tuple[tuple[str, str], ...]
    lines: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()


@dataclass(slots=True)
class _Finding:
    files: dict[str, None] = field(default_factory=dict)
    projects: dict[Project, None] = field(default_factory=dict)
    problems: dict[tuple[str, str], None] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def follow(
    files: Files,
    root: str,
    texts: Iterable[tuple[str, str]],
    single: Iterable[tuple[str, str]] = (),
    directory: str | None = None,
) -> Followed:
    """Follow whole requirements files (path, text), and *single* lines (of path, line) of another file.

    Paths of -r, -c and --find-links are relative to their file, all others to *root*, as uv has it; those of single
    lines to *directory*.
    """
    found = _Finding()
    pending = list(texts)
    for path, text in single:
        for line in lines(text):
            if line.option in ("--requirement", "--constraint"):
                pending += _included(files, path, line, found)
            else:
                _refer(files, root if directory is None else directory, root, path, line, found)
    whole: dict[str, None] = {}
    while pending:
        path, text = pending.pop()
        if path in whole:
            continue
        whole[path] = None
        for line in lines(text):
            if line.option in ("--requirement", "--constraint"):
                pending += _included(files, path, line, found)
            else:
                base = posixpath.dirname(path) if line.option == "--find-links" else root
                _refer(files, base, root, f"{path}:{line.number}", line, found)
    return Followed(
        (*whole, *found.files), tuple(found.projects), tuple(found.problems), tuple(found.lines), tuple(whole)
    )


def _included(files: Files, path: str, line: RequirementLine, found: _Finding) -> Iterable[tuple[str, str]]:
    target = line.path
    if target is None or target.startswith("/"):
        return ()
    where = beneath(posixpath.dirname(path), target)
    text = files.text(where) if where is not None else None
    if where is None or text is None:
        reason = f"{path}:{line.number}: {line.option} {target}: "
        reason += "it lies outside of the source directory" if where is None else f"there is no file {where}"
        found.problems[reason, "the files that it names belong into the source directory"] = None
        return ()
    return ((where, text),)


def _refer(files: Files, base: str, root: str, place: str, line: RequirementLine, found: _Finding) -> None:
    """Note what one line refers to. base: what its path is relative to."""
    target = line.path
    if target is None:
        if not line.option:
            found.lines.append(line.value)
        return
    if target.startswith("/"):
        return  # on this machine; uv reads it where it is
    where = beneath(base, target)
    if where is None:
        found.problems[
            f"{place}: {target} lies outside of the source directory",
            "make what it names a part of the source directory",
        ] = None
        return
    kind = files.kind(where)
    if line.option == "--find-links":
        names = files.names(where) if kind == "directory" else ()
        found.files.update(dict.fromkeys(joined(where, name) for name in names if name.endswith(_ARCHIVES)))
    if kind == "file":
        found.files[where] = None
    elif line.option != "--find-links" and kind == "directory":
        _project(files, where, root, place, found)
    elif not kind:
        found.problems[
            f"{place}: there is no {where}", "correct the path, which is relative to the notebook's root"
        ] = None


def _project(files: Files, where: str, root: str, place: str, found: _Finding) -> None:
    """Note a local project, and those that its own pyproject.toml takes from a path."""
    one = project(files, where, root)
    if one is None:
        reason = f"{place}: {where or 'the top of the source directory'} has no pyproject.toml, setup.py or setup.cfg"
        found.problems[reason, "a project that is installed needs one of them"] = None
    elif one not in found.projects:
        found.projects[one] = None
        for path in sources_of(files, where):
            _refer(files, where, root, joined(where, "pyproject.toml"), RequirementLine(1, "", f"./{path}"), found)
