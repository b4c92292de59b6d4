"""What a change of the requirements asks for, compared with those that an environment was built from. Pure.

A copy of an environment may stand for a fresh one only where packages come from an index by name: then name and
version say all, and uv can tell what to exchange. Everything else (paths, addresses, hashes, other indexes, another
Python) is built again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from kaosd.engines.process.blame import MAIN

# They never go back over what they have read: a line may be long.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*+\s*+(\[[^\]]*+\])?[^@\\/:$]*+")
_ARCHIVE = re.compile(r".*\.(whl|zip|tar|tgz|tbz|txz|gz|bz2|xz|zst)")
_INDEX = re.compile(r"(-i|--index-url|--extra-index-url)[\s=]\S+|--no-index|--pre")
_INCLUDE = re.compile(r"(?:-r|-c|--requirement|--constraint)[\s=]++(\S+)")


@dataclass(frozen=True, slots=True)
class RequirementsChange:
    """How the wanted requirements follow from those of a built environment.

    added: the lines of a requirements file that holds what is new, with the options of the whole; None when something
    was removed or changed, too, so that all must be resolved again.
    """

    added: tuple[str, ...] | None


def compare(
    before: Mapping[str, str], after: Mapping[str, str], server: tuple[str, str], main: str = MAIN
) -> RequirementsChange | None:
    """The change from *before* to *after* (texts by their path), or None when only a fresh build is sure.

    server: the specs that the host itself adds, before and after, one on each line. main: the file that is in use.
    """
    old, new = _lines(before, main), _lines(after, main)
    if old is None or new is None or options(before) != options(after):
        return None
    same_rest = {**before, main: ""} == {**after, main: ""}
    missing = Counter(old[main]) - Counter(new[main])
    includes = any(_INCLUDE.fullmatch(line) for line in new[main])
    if missing or includes or not same_rest or not set(server[1].split("\n")) <= set(server[0].split("\n")):
        return RequirementsChange(None)
    fresh = Counter(new[main]) - Counter(old[main])
    return RequirementsChange((*options(after), *fresh.elements()))


def _lines(files: Mapping[str, str], main: str) -> dict[str, list[str]] | None:
    """The requirements of each file; None when some line is not plain or includes what is not among the files."""
    found: dict[str, list[str]] = {name: _bodies(text) for name, text in files.items()}
    used = {main}
    for name in [main, *found]:
        for line in found.get(name, []):
            include = _INCLUDE.fullmatch(line)
            if include is not None and include[1] in found:
                used.add(include[1])
    for name in used:
        if not all(
            _INDEX.fullmatch(line) or _known(line, found) or _plain(line) for line in found.setdefault(name, [])
        ):
            return None
    found[main] = [line for line in found[main] if not _INDEX.fullmatch(line)]
    return found


def _plain(line: str) -> bool:
    """Whether a line asks for a package of the index by its name."""
    return bool(_PLAIN.fullmatch(line)) and "--" not in line and not _ARCHIVE.fullmatch(line)


def _known(line: str, files: Mapping[str, list[str]]) -> bool:
    include = _INCLUDE.fullmatch(line)
    return include is not None and include[1] in files


def options(files: Mapping[str, str]) -> list[str]:
    """The options of the index, in the order of the files."""
    return [line for name in sorted(files) for line in _bodies(files[name]) if _INDEX.fullmatch(line)]


def _bodies(text: str) -> list[str]:
    """Lines without comments and blanks."""
    bodies = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.split("\n"))
    return [body for body in bodies if body]
