"""A requirement that is added to the text of an environment file, and what came of that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from kaosd.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Wanted:
    """A requirement to be added. text: as it was given; parsed: the same as PEP 508 understands it."""

    text: str
    parsed: Requirement

    @classmethod
    def of(cls, text: str) -> Wanted:
        """ConfigError when *text* is not a requirement, or not of one line: an address is taken with a line break."""
        hint = "for example scipy, 'scipy>=1.11' or 'pandas[excel]==2.2'"
        if not text.strip().isprintable():
            what = "it has a line break or another control character in it"
            raise ConfigError(f"{text.strip()[:80]!r} is not a requirement: {what}", hint=hint)
        try:
            return cls(text.strip(), Requirement(text.strip()))
        except InvalidRequirement as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"{text.strip()[:80]!r} is not a requirement: {reason}", hint=hint) from error

    @property
    def name(self) -> str:
        """The normalized name of the package."""
        return canonicalize_name(self.parsed.name)

    @property
    def is_bare(self) -> bool:
        """Whether it is a name alone, which any requirement of that package fulfils."""
        asks = self.parsed
        return not (asks.specifier or asks.extras or asks.url or asks.marker)


@dataclass(frozen=True, slots=True)
class Edited:
    """A text after requirements were added. added, there: as the file has them now; changed: before and after."""

    text: str
    added: tuple[str, ...] = ()
    changed: tuple[tuple[str, str], ...] = ()
    there: tuple[str, ...] = ()

    def then(self, later: Edited) -> Edited:
        """Both one after the other."""
        return Edited(
            later.text, (*self.added, *later.added), (*self.changed, *later.changed), (*self.there, *later.there)
        )


@dataclass(frozen=True, slots=True)
class RequirementSpan:
    """A requirement in a text. begin, end: of its characters there."""

    begin: int
    end: int
    value: str


def replacement(entry: RequirementSpan, wanted: Wanted) -> str | None:
    """What *wanted* makes of an entry of the same package; None when that asks for it already.

    A marker of the entry stays where *wanted* has none.
    """
    if wanted.is_bare:
        return None
    try:
        before = Requirement(entry.value)
    except InvalidRequirement:
        return wanted.text
    keeps = before.marker is not None and wanted.parsed.marker is None
    text = f"{wanted.text} ; {before.marker}" if keeps else wanted.text
    return None if Requirement(text) == before else text


def one_of(entries: Iterable[RequirementSpan], wanted: Wanted, file: str) -> RequirementSpan | None:
    """The entry of the same package, if there is one. ConfigError when there are more."""
    found = list(entries)
    if len(found) > 1:
        text = f"{file} names {wanted.parsed.name} {len(found)} times"
        raise ConfigError(text, hint="change the line that is meant by hand")
    return found[0] if found else None


def newline_of(text: str) -> str:
    """How lines end in *text*."""
    return "\r\n" if re.search(r"\r\n", text) else "\n"


Add = Callable[[str, Wanted, str], Edited]  # of one requirement to a text; the last is the file's name, for sentences
