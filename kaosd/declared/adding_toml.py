"""Adds a requirement to the dependencies of a pyproject.toml, and leaves every other character as it is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

from kaosd.declared.edited import Edited, RequirementSpan, Wanted, newline_of, one_of, replacement
from kaosd.declared.pythons import table
from kaosd.declared.requirement_lines import name_of
from kaosd.errors import ConfigError

_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"""'
    r"|'''.*?'''"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*|\n|[\[\]{}=,]|[^\S\n]+"
    r"|[^\s\[\]{}=,#\"']+",
    re.DOTALL,
)
_BY_HAND = "add it by hand"


@dataclass(frozen=True, slots=True)
class _Token:
    begin: int
    end: int
    text: str

    @property
    def is_string(self) -> bool:
        return self.text[:1] in ('"', "'")

    @property
    def is_blank(self) -> bool:
        return self.text.isspace() or self.text.startswith("#")


def add_pyproject(text: str, wanted: Wanted, file: str) -> Edited:
    """*text* with one requirement in [project] dependencies. ConfigError where they are written in a way unknown."""
    project = table(text, "project")
    if not project:
        raise ConfigError(f"{file} has no [project] that can be read", hint="correct it first")
    if "dependencies" in (project.get("dynamic") or ()):
        raise ConfigError(f"the dependencies of {file} are dynamic", hint="add it where they are computed from")
    before = project.get("dependencies", [])
    edited = _edited(text, wanted, file)
    try:
        after = tomllib.loads(edited.text)["project"]["dependencies"]
    except (tomllib.TOMLDecodeError, KeyError):
        after = None
    expected = [*before, *edited.added]
    for old, new in edited.changed:
        expected = [new if one == old else one for one in expected]
    if after != expected:
        raise ConfigError(f"the dependencies of {file} are written in a way that is not understood", hint=_BY_HAND)
    return edited


def _edited(text: str, wanted: Wanted, file: str) -> Edited:
    tokens = [_Token(one.start(), one.end(), one[0]) for one in _TOKEN.finditer(text)]
    header = _header(tokens)
    if header is None:
        raise ConfigError(f"{file} has its project in another form than [project]", hint=_BY_HAND)
    array = _array(tokens, header)
    if array is None:
        end, at = newline_of(text), _line_end(text, _last_of(tokens, header).end)
        start = "" if text[:at].endswith("\n") else end
        lines = f"{start}dependencies = [{end}    {_quoted(wanted.text)},{end}]{end}"
        return Edited(text[:at] + lines + text[at:], added=(wanted.text,))
    strings = [one for one in array if one.is_string]
    entries = [RequirementSpan(one.begin, one.end, str(tomllib.loads(f"x = {one.text}")["x"])) for one in strings]
    entry = one_of((one for one in entries if name_of(one.value) == wanted.name), wanted, file)
    if entry is None:
        return Edited(_appended(text, array, wanted.text), added=(wanted.text,))
    new = replacement(entry, wanted)
    if new is None:
        return Edited(text, there=(entry.value,))
    quoted = _quoted(new, text[entry.begin])
    return Edited(text[: entry.begin] + quoted + text[entry.end :], changed=((entry.value, new),))


def _header(tokens: list[_Token]) -> int | None:
    """The index of the bracket that closes the header [project]."""
    return next((end for _, end, words in _headers(tokens) if words == ["project"]), None)


def _body(tokens: list[_Token], header: int) -> list[_Token]:
    """The tokens of the table whose header ends at the index *header*."""
    last = next((begin for begin, _, _ in _headers(tokens) if begin > header), len(tokens))
    return tokens[header + 1 : last]


def _last_of(tokens: list[_Token], header: int) -> _Token:
    """The last token of a table that says something, or else of its header."""
    return [one for one in (tokens[header], *_body(tokens, header)) if not one.is_blank][-1]


def _headers(tokens: list[_Token]) -> Iterator[tuple[int, int, list[str]]]:
    """The headers of tables: the indexes of their first and last bracket, and the words between."""
    depth, first = 0, True  # first: nothing but blanks came before in this line
    index = 0
    while index < len(tokens):
        text = tokens[index].text
        if text == "[" and first and depth == 0:
            words, begin = [], index
            while index + 1 < len(tokens) and tokens[index + 1].text != "\n":
                index += 1
                if tokens[index].text not in "[]" and not tokens[index].is_blank:
                    words.append(tokens[index].text.strip("\"'"))
                if tokens[index].text == "]":
                    break
            yield begin, index, words
        elif text in ("[", "{"):
            depth += 1
        elif text in ("]", "}"):
            depth -= 1
        first = text == "\n" or (first and text.isspace())
        index += 1


def _array(tokens: list[_Token], header: int) -> list[_Token] | None:
    """The tokens of the array of dependencies, its brackets among them; None when the table has no such key."""
    body, depth = _body(tokens, header), 0
    for index, token in enumerate(body):
        key = token.text.strip("\"'") == "dependencies" and depth == 0
        rest = [one for one in body[index + 1 :] if not one.is_blank][:2] if key else []
        if [one.text for one in rest] == ["=", "["]:
            return _closed(body, body.index(rest[1]))
        depth += (token.text in ("[", "{")) - (token.text in ("]", "}"))
    return None


def _closed(tokens: list[_Token], begin: int) -> list[_Token]:
    depth = 0
    for index in range(begin, len(tokens)):
        depth += (tokens[index].text in ("[", "{")) - (tokens[index].text in ("]", "}"))
        if depth == 0:
            return tokens[begin : index + 1]
    return tokens[begin:]


def _appended(text: str, array: list[_Token], requirement: str) -> str:
    """*text* with one more string at the end of the array, in the form of those before."""
    solid = [one for one in array if not one.is_blank]
    last, close = solid[-2], solid[-1]  # the last one is the opening bracket of an empty array
    strings = [one for one in solid if one.is_string]
    quoted = _quoted(requirement, strings[-1].text[0] if strings else '"')
    comma = "" if last.text in ("[", ",") else ","
    if not any(one.text == "\n" for one in array):
        space = " " if strings else ""
        return text[: last.end] + comma + space + quoted + text[last.end :]
    end = newline_of(text)
    indent = _indent(text, strings[-1].begin) if strings else "    "
    if "\n" not in text[last.end : close.begin]:  # the bracket stands behind the last one
        return f"{text[: last.end]}{comma}{end}{indent}{quoted}{text[last.end :]}"
    at = _line_end(text, last.end)  # behind its comment
    trailing = "" if comma and strings else ","
    return f"{text[: last.end]}{comma}{text[last.end : at]}{indent}{quoted}{trailing}{end}{text[at:]}"


def _indent(text: str, at: int) -> str:
    """The blanks before what starts at *at*, where nothing else stands before it."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line if line.isspace() else "    "


def _line_end(text: str, at: int) -> int:
    """Where the line after the one with *at* starts."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def _quoted(requirement: str, quote: str = '"') -> str:
    if "'" in requirement or (quote == '"' and '"' not in requirement):
        return '"' + requirement.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"'{requirement}'"
