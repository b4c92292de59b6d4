"""Adds requirements to the text of an environment file, in its own syntax; comments, order and line ends stay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kaosd.declared.adding_conda import add_conda
from kaosd.declared.adding_toml import add_pyproject
from kaosd.declared.edited import Add, Edited, RequirementSpan, Wanted, newline_of, one_of, replacement
from kaosd.declared.requirement_lines import lines, name_of
from kaosd.errors import ConfigError

_COMMENT = re.compile(r"(?:^|\s)#.*")


def add(kind: str, file: str, text: str, requirements: Iterable[str]) -> Edited:
    """*text*, the content of the environment file *file*, with *requirements* (PEP 508) added.

    kind: as in Declared. A package that is there already gets the new specifier; a bare name changes nothing then.
    ConfigError when a requirement is not one, or the file cannot take it.
    """
    wanted = [Wanted.of(one) for one in requirements]
    found = Edited(text)
    for one in wanted:
        found = found.then(_add_to(kind, file)(found.text, one, file))
    return found


def _add_to(kind: str, file: str) -> Add:
    kinds: dict[str, Add] = {"requirements": add_requirement, "pyproject": add_pyproject, "conda": add_conda}
    if kind in kinds:
        return kinds[kind]
    hints = {
        "pipfile": "run `pipenv install` with the package in the source directory",
        "setup": "add it to install_requires by hand",
    }
    raise ConfigError(f"{file} cannot take a requirement from here", hint=hints.get(kind, "change it by hand"))


def add_requirement(text: str, wanted: Wanted, file: str) -> Edited:
    """The same for one requirement and a requirements file."""
    if any("--hash" in line.value for line in lines(text)):
        hint = "add it where the file is made from, and make it again"
        raise ConfigError(f"{file} pins its packages by hash, and a line without one is refused", hint=hint)
    end = newline_of(text)
    there = [one for one in _entries(text) if name_of(one.value) == wanted.name]
    entry = one_of(there, wanted, file)
    if entry is None:
        whole = text if not text or text.endswith("\n") else text + end
        whole += end if re.search(r"\\\r?\n\Z", whole) else ""  # else it would continue the last line
        return _checked(Edited(f"{whole}{wanted.text}{end}", added=(wanted.text,)), wanted, file)
    new = replacement(entry, wanted)
    if new is None:
        return Edited(text, there=(entry.value,))
    if "\n" in text[entry.begin : entry.end]:
        raise ConfigError(f"{entry.value!r} spans several lines of {file}", hint="change it by hand")
    return _checked(Edited(text[: entry.begin] + new + text[entry.end :], changed=((entry.value, new),)), wanted, file)


def _checked(edited: Edited, wanted: Wanted, file: str) -> Edited:
    """What is read again from the text must be what was to be written."""
    if not any(line.option == "" and name_of(line.value) == wanted.name for line in lines(edited.text)):
        raise ConfigError(f"{wanted.text!r} cannot be written into {file}", hint="add it by hand")
    return edited


def _entries(text: str) -> Iterator[RequirementSpan]:
    """The requirements of a requirements file, without comments and options of their lines."""
    starts, at = [], 0
    for line in text.split("\n"):
        starts.append(at)
        at += len(line) + 1
    starts.append(len(text) + 1)
    for found in lines(text):
        if found.option or not name_of(found.value):
            continue
        start, end = starts[found.number - 1], starts[found.number] - 1
        while text[start:end].endswith(("\\", "\\\r")) and end < len(text):
            following = text.find("\n", end + 1)
            end = following if following >= 0 else len(text)
        body = text[start:end]
        bare = body if "\n" in body else _COMMENT.sub("", body)
        begin = start + len(bare) - len(bare.lstrip())
        yield RequirementSpan(begin, begin + len(bare.strip()), found.value)
