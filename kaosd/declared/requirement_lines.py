"""The lines of a requirements file, as pip reads them: continued lines joined, comments and blank lines left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPTION = re.compile(r"(-[a-zA-Z]|--[a-z][a-z-]*)(?:\s*=\s*|\s+)?(.*)")
_LONG = {
    "-r": "--requirement", "-c": "--constraint", "-e": "--editable", "-f": "--find-links",
    "-i": "--index-url", "--pypi-url": "--index-url",
}  # fmt: skip
_NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(?=$|[<>=!~;@(\s])")
_DIRECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\])?\s*@\s*(\S+)")
_ARCHIVE = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
_PINNED = re.compile(r"===?\s*([^\s,;*]+)\s*(?:;.*|--hash.*)?")


@dataclass(frozen=True, slots=True)
class RequirementLine:
    """One line that says something. number: where it starts, from 1. option: its long name; "" for a requirement.

    value: of the option, or the requirement itself.
    """

    number: int
    option: str
    value: str

    @property
    def path(self) -> str | None:
        """The local path that it refers to, without extras and markers; None for a package or an address."""
        value = self.value.strip("\"'")
        if self.option in ("--requirement", "--constraint", "--find-links"):
            return _local(value)
        if self.option not in ("", "--editable"):
            return None
        direct = _DIRECT.match(value)
        target = re.split(r"\s+[;#]|\s+--", direct[1] if direct else value)[0].strip()
        if direct is None and self.option == "" and not _looks_like_path(target):
            return None
        return _local(re.sub(r"\[[^\]/]*\]$", "", target))


def lines(text: str) -> list[RequirementLine]:
    """All lines of *text*."""
    found = []
    for number, body in _logical(text):
        option = _OPTION.fullmatch(body) if body.startswith("-") else None
        if option is None:
            found.append(RequirementLine(number, "", body))
        else:
            found.append(RequirementLine(number, _LONG.get(option[1], option[1]), option[2].strip()))
    return found


def _logical(text: str) -> Iterator[tuple[int, str]]:
    begun, parts = 0, []
    for number, line in enumerate(text.split("\n"), 1):
        body = " ".join(re.sub(r"(^|\s)#.*", "", line).split())  # no expression meets a long run of blanks
        begun = begun or number
        if body.endswith("\\") and not re.match(r"\s*#", line):
            parts.append(body[:-1].strip())
            continue
        whole = " ".join([*parts, body]).strip()
        if whole:
            yield begun, whole
        begun, parts = 0, []
    if whole := " ".join(parts).strip():
        yield begun, whole


def _looks_like_path(text: str) -> bool:
    return text.startswith((".", "/", "file:")) or ("/" in text and "://" not in text) or text.endswith(_ARCHIVE)


def _local(text: str) -> str | None:
    """A path as it was written; None for an address."""
    if text.startswith("file:") and not text.startswith("file://"):
        return text.removeprefix("file:").partition("#")[0]
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text):
        return None
    return text.partition("#")[0]


def name_of(requirement: str) -> str:
    """The normalized name of the package that a requirement asks for; "" for paths and addresses."""
    match = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""


def pin_of(requirement: str) -> str:
    """The one version that a requirement allows; "" when it allows more."""
    rest = requirement[len(match[0]) :] if (match := _NAME.match(requirement)) else ""
    pinned = _PINNED.fullmatch(rest.strip())
    return pinned[1] if pinned else ""
