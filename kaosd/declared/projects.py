"""Projects that lie in the repository itself and belong to its environment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kaosd.declared.looking_up import Files, beneath, joined
from kaosd.declared.pythons import table

_METADATA = ("pyproject.toml", "setup.py", "setup.cfg", "MANIFEST.in")
# These put a path into the environment for an editable project; others may compile, and what they do is theirs.
_BY_PATH = ("setuptools", "hatchling", "flit", "poetry", "pdm", "uv_build")
_COMPILES = re.compile(r"\b(ext_modules|ext-modules|cffi_modules|rust_extensions|Extension|cythonize)\b")
_PROSE = (".py", ".md", ".rst", "README", "LICENSE", "LICENCE", "AUTHORS", "COPYING")
_WORD = re.compile(r"[\"'\s=]((?:[\w.-]+/)*[\w-][\w.-]*)[\"'\s]")


@dataclass(frozen=True, slots=True)
class Project:
    """A local project. path: its directory in the bundle.

    live: its code is read where the notebook has it, so that a save of it is a sync. Otherwise the environment holds a
    copy, and all its files are environment inputs.
    """

    path: str
    live: bool


def project(files: Files, path: str, root: str) -> Project | None:
    """The project in the directory *path*; None when nothing there says that it is one. root: of the notebook."""
    if not any(files.kind(joined(path, name)) == "file" for name in _METADATA[:3]):
        return None
    inside = path == root or not root or path.startswith(f"{root}/")
    return Project(path, live=inside and not _compiles(files, path))


def _compiles(files: Files, path: str) -> bool:
    texts = {name: files.text(joined(path, name)) or "" for name in _METADATA[:3]}
    backend = table(texts["pyproject.toml"], "build-system").get("build-backend") or "setuptools"
    if not isinstance(backend, str) or not backend.startswith(_BY_PATH):
        return True
    return any(_COMPILES.search(text) for text in texts.values())


def metadata_of(files: Files, path: str) -> Iterator[str]:
    """The files that say what a project is called, needs and holds: its own, and those that they name."""
    for name in _METADATA:
        text = files.text(joined(path, name))
        if text is None:
            continue
        yield joined(path, name)
        for word in sorted(set(_WORD.findall(text))):
            found = beneath(path, word)
            if found and not word.endswith(_PROSE) and not word.startswith(_PROSE) and files.kind(found) == "file":
                yield found


def packages_of(files: Files, path: str) -> Iterator[str]:
    """The directories that hold Python code of a project, as deep as a package can start; what is found in them."""
    for directory in (path, joined(path, "src"), joined(path, "lib")):
        for name in files.names(directory):
            inner = joined(directory, name)
            if files.kind(inner) == "directory" and any(one.endswith(".py") for one in files.names(inner)):
                yield inner


def sources_of(files: Files, path: str) -> Iterator[str]:
    """The local paths that a project's pyproject.toml takes packages from (tool.uv.sources), as it writes them."""
    sources = table(files.text(joined(path, "pyproject.toml")) or "", "tool", "uv", "sources")
    for value in sources.values():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and isinstance(one.get("path"), str):
                yield one["path"]
