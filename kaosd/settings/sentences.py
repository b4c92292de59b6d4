"""Mistakes in settings, and the one sentence that a person gets for them: where, which field, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from kaosd.errors import ConfigError
from kaosd.settings.line_numbers import line_of

Location = tuple[str | int, ...]


class Mistake(Exception):
    """Something wrong at one location; *text* says what, and what is allowed."""

    def __init__(self, location: Location, text: str) -> None:
        super().__init__(text)
        self.location = location
        self.text = text

    def below(self, *prefix: str | int) -> Mistake:
        """The same mistake, seen from the table that contains its table."""
        return Mistake((*prefix, *self.location), self.text)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where values came from: the file and its text, and the variables that were set in its stead."""

    file: Path
    text: str
    variables: Mapping[Location, str]

    def refusal(self, mistakes: Sequence[Mistake]) -> ConfigError:
        """The first mistake as an error that names line or variable, and how many more there are."""
        by_line = sorted(mistakes, key=lambda mistake: line_of(self.text, mistake.location))
        first = min(by_line, key=lambda mistake: self._variable(mistake) is None)
        place = self._variable(first) or self._place(first)
        return ConfigError(f"{place}: {first.text}", hint=_more(len(mistakes) - 1))

    def _variable(self, mistake: Mistake) -> str | None:
        """The variable that the value came from, if it was one; it may hold the whole array of a bad entry."""
        return self.variables.get(mistake.location) or self.variables.get(mistake.location[:-1])

    def _place(self, mistake: Mistake) -> str:
        if not self.text:
            return _field(mistake.location)  # a default, out of a home or runtime directory that does not suit
        return f"{self.file}:{line_of(self.text, mistake.location)}: {_field(mistake.location)}"


def request_refusal(mistakes: Sequence[Mistake]) -> ConfigError:
    """The first mistake of a request, which has fields but no lines."""
    first = mistakes[0]
    return ConfigError(f"{_field(first.location)}: {first.text}", hint=_more(len(mistakes) - 1))


def mistakes_of(error: ValidationError, model: type[BaseModel]) -> list[Mistake]:
    """What pydantic found, in our words; one mistake per field."""
    found: dict[Location, Mistake] = {}
    for detail in error.errors():
        location = detail["loc"]
        mistake = Mistake(location, _sentence(detail, model))
        found.setdefault(location, mistake)
    return list(found.values())


def _more(count: int) -> str:
    return f"and {count} more mistake{'s' if count > 1 else ''}" if count else ""


def _field(location: Location) -> str:
    """The words "front.port" for ("front", "port"); keys of [[notebook]] go without that word, the line says which."""
    keys = [key for key in location if isinstance(key, str)]
    if len(keys) > 1 and keys[0] == "notebook":
        keys = keys[1:]
    return ".".join(keys)


def _sentence(detail: Mapping[str, Any], model: type[BaseModel]) -> str:
    *parents, last = detail["loc"] or [""]
    if detail["type"] == "extra_forbidden":
        return _unknown(str(last), list(_table(model, parents).model_fields))
    cause = detail.get("ctx", {}).get("error")
    field = _described(model, detail["loc"])
    what = str(cause) if cause else f"{_shown(detail['input'])} is not allowed"
    return what if ";" in what or field is None else f"{what}; write {field.description}"


def _unknown(key: str, known: list[str]) -> str:
    return f"there is no such key; {did_you_mean(key, known) or 'known here: ' + ', '.join(sorted(known))}"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A question that names the known word nearest to *word*; empty when none is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.72)
    return f"did you mean {near[0]}?" if near else ""


def _shown(value: object) -> str:
    """The value as a person wrote it, cut where it gets long."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _described(model: type[BaseModel], location: Location) -> FieldInfo | None:
    """The innermost field on the way to *location*."""
    last = None
    for parents, field in _steps(model, location):
        last = parents.model_fields.get(field, last)
    return last


def _table(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel]:
    """The model of the table at *location*."""
    for parents, field in _steps(model, location):
        model = _model_in(parents.model_fields[field].annotation) or model
    return model


def _steps(model: type[BaseModel], location: Sequence[str | int]) -> Iterator[tuple[type[BaseModel], str]]:
    """Each table on the way to *location* with the key that is looked up in it."""
    for key in location:
        if not isinstance(key, str):
            continue
        yield model, key
        field = model.model_fields.get(key)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return
        model = inner


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The table type in an annotation such as Front or tuple[Notebook, ...]."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
