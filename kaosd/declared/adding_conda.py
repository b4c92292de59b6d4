"""Adds a requirement to an environment.yml: to its pip section where it has one, else to conda's own packages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from packaging.utils import canonicalize_name

from kaosd.declared.contents import Conda, Malformed, conda_name, read_conda
from kaosd.declared.edited import Edited, RequirementSpan, Wanted, newline_of, one_of, replacement
from kaosd.declared.requirement_lines import name_of
from kaosd.errors import ConfigError

_BY_HAND = "add it by hand"


def add_conda(text: str, wanted: Wanted, file: str) -> Edited:
    """*text* with one requirement. ConfigError where the file is written in a way unknown, or conda cannot say it."""
    before = _read(text, file)
    edited = _edited(text, wanted, file)
    after = _read(edited.text, file)
    expected = [*before.specs, *before.pip, *edited.added]
    for old, new in edited.changed:
        expected = [new if one == old else one for one in expected]
    if sorted([*after.specs, *after.pip]) != sorted(expected):
        raise ConfigError(f"{file} is written in a way that is not understood", hint=_BY_HAND)
    return edited


def _read(text: str, file: str) -> Conda:
    try:
        return read_conda(text)
    except Malformed as error:
        raise ConfigError(f"{file} {error}", hint="correct it first") from error


def _edited(text: str, wanted: Wanted, file: str) -> Edited:
    import yaml  # noqa: PLC0415 - only a repository with such a file needs it

    top = yaml.compose(text, Loader=yaml.SafeLoader)
    listed = _value(top, "dependencies") if isinstance(top, yaml.MappingNode) else None
    if listed is None or not isinstance(listed, yaml.SequenceNode) or listed.flow_style:
        raise ConfigError(f"{file} has no list of dependencies with one in each line", hint=_BY_HAND)
    packages = [one for one in listed.value if isinstance(one, yaml.ScalarNode)]
    sections = [one for one in listed.value if isinstance(one, yaml.MappingNode)]
    pip = next((found for one in sections if (found := _value(one, "pip")) is not None), None)
    inside = pip.value if isinstance(pip, yaml.SequenceNode) and not pip.flow_style else []
    if pip is not None and not inside:
        raise ConfigError(f"the pip section of {file} is not a list with one in each line", hint=_BY_HAND)
    by_pip = [one for one in _entries(inside) if name_of(one.value) == wanted.name]
    by_conda = [one for one in _entries(packages) if canonicalize_name(conda_name(one.value)[0]) == wanted.name]
    entry = one_of([*by_pip, *by_conda], wanted, file)
    if entry is not None:
        return _changed(text, entry, wanted, file, by_pip=bool(by_pip))
    if pip is not None:
        return _after(text, inside, wanted.text)
    return _after(text, packages, conda_spec(wanted, file))


def _value(node: Any, key: str) -> Any:  # noqa: ANN401 - nodes of yaml
    """The node of *key* in a mapping; None where it is not one, or has no such key."""
    pairs = node.value if isinstance(node.value, list) else []
    return next((value for name, value in pairs if name.value == key), None)


def _entries(nodes: Sequence[Any]) -> list[RequirementSpan]:
    return [RequirementSpan(one.start_mark.index, one.end_mark.index, str(one.value)) for one in nodes]


def _changed(text: str, entry: RequirementSpan, wanted: Wanted, file: str, *, by_pip: bool) -> Edited:
    in_conda = None if wanted.is_bare or by_pip else conda_spec(wanted, file)
    new = replacement(entry, wanted) if by_pip else in_conda
    if new is None or new == entry.value:
        return Edited(text, there=(entry.value,))
    quote = text[entry.begin] if text[entry.begin] in "\"'" else ""
    whole = f"{text[: entry.begin]}{_plain(new, quote)}{text[entry.end :]}"
    return Edited(whole, changed=((entry.value, new),))


def _after(text: str, nodes: Sequence[Any], spec: str) -> Edited:
    """One more item in the line after the last of *nodes*."""
    if not nodes:
        raise ConfigError("the list of dependencies has no package yet", hint=_BY_HAND)
    last = _entries(nodes)[-1]
    line = text.rfind("\n", 0, last.begin) + 1
    dash = text[line : last.begin]
    found, end = text.find("\n", last.end), newline_of(text)
    head, rest = (text + end, "") if found < 0 else (text[: found + 1], text[found + 1 :])
    return Edited(f"{head}{dash}{_plain(spec)}{end}{rest}", added=(spec,))


def _plain(spec: str, quote: str = "") -> str:
    """*spec* as a value of YAML, without quotes where it needs none."""
    import yaml  # noqa: PLC0415 - as above

    if not quote:
        try:
            if yaml.safe_load(f"- {spec}\n") == [spec]:
                return spec
        except yaml.YAMLError:
            quote = "'"
    quote = quote or "'"
    return f"'{spec.replace(chr(39), chr(39) * 2)}'" if quote == "'" or '"' in spec else f'"{spec}"'


def conda_spec(wanted: Wanted, file: str) -> str:
    """A requirement in conda's words. ConfigError for what only pip knows: extras, markers, addresses."""
    asks = wanted.parsed
    if asks.extras or asks.url or asks.marker or any(one.operator == "===" for one in asks.specifier):
        text = f"conda cannot say {wanted.text!r}, and {file} has no pip section for it"
        raise ConfigError(text, hint="write `- pip:` below dependencies with the package in it")
    return asks.name.lower() + re.sub(r"[\s()]", "", wanted.text[len(asks.name) :])
