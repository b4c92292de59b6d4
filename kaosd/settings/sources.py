"""Reads the configuration file and the KAOSD_ variables and lays the variables over the file."""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from kaosd import encodings
from kaosd.errors import ConfigError
from kaosd.settings import locations
from kaosd.settings.schema import PREFIX, File, Table, Variable
from kaosd.settings.sentences import Location, Origin, did_you_mean, mistakes_of

_CONFIG = f"{PREFIX}CONFIG"


def read(config: Path | None, environ: Mapping[str, str]) -> tuple[File, Origin]:
    """The checked file with the variables over it, and where each value came from. Raises ConfigError."""
    path, text = _text(config, environ)
    variables = {location: name for location, name in _variable_names(File) if environ.get(name)}
    origin = Origin(path, text, variables)
    return _validated(_tables(path, text), origin, environ), origin


def warnings(environ: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each KAOSD_ variable that sets nothing; other programs may own it, so it stops nothing."""
    known = [_CONFIG, *(name for _location, name in _variable_names(File))]
    strangers = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    return tuple(f"the variable {name} sets nothing; {did_you_mean(name, known)}".rstrip("; ") for name in strangers)


def _text(config: Path | None, environ: Mapping[str, str]) -> tuple[Path, str]:
    """The file to read and its text; no text when it is absent and was not named."""
    named = str(config) if config is not None else environ.get(_CONFIG)
    try:
        path = locations.expand(named, None, environ) if named else locations.default_config(environ)
    except ValueError as error:
        raise ConfigError(f"the configuration {named}: {error}") from error
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"the configuration {path} is not a regular file")
        return path, encodings.text(path.read_bytes())
    except FileNotFoundError as error:
        if not named:
            return path, ""
        raise ConfigError(f"the configuration {path} does not exist") from error
    except OSError as error:
        raise ConfigError(f"the configuration {path} cannot be read: {error.strerror}") from error
    except encodings.NotTextError as error:
        raise ConfigError(f"the configuration {path} {error}") from error


def _tables(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{path}:1: not TOML: nested too deeply") from error
    except ValueError as error:
        place = re.search(r" ?\(at (?:line (\d+), column \d+|end of document)\)", str(error))
        line = int(place[1]) if place and place[1] else len(text.splitlines()) or 1
        what = str(error).replace(place[0], "") if place else str(error)
        raise ConfigError(f"{path}:{line}: not TOML: {what}", hint='lines look like key = "text" or [table]') from error


def _validated(tables: dict[str, Any], origin: Origin, environ: Mapping[str, str]) -> File:
    """The tables with the variables over them, checked key by key."""

    class Sourced(File):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_others: object, **_named: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return _Variables(settings_cls, origin.variables, environ), InitSettingsSource(settings_cls, tables)

    try:
        return Sourced()
    except ValidationError as error:
        raise origin.refusal(mistakes_of(error, File)) from error


class _Variables(PydanticBaseSettingsSource):
    """The environment as a source of settings: one variable per key, its tables in front."""

    def __init__(
        self, settings_cls: type[BaseSettings], variables: Mapping[Location, str], environ: Mapping[str, str]
    ) -> None:
        super().__init__(settings_cls)
        self._values: dict[str, Any] = {}
        for location, name in variables.items():
            *tables, key = (str(part) for part in location)
            target = self._values
            for table in tables:
                target = target.setdefault(table, {})
            target[key] = Variable(environ[name])

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._values


def _variable_names(model: type[BaseModel], parents: tuple[str, ...] = ()) -> Iterator[tuple[Location, str]]:
    """Each key that a variable can set, with the variable's name; notebooks have none."""
    for key, field in model.model_fields.items():
        location = (*parents, key)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Table):
            yield from _variable_names(field.annotation, location)
        elif location != ("notebook",):
            yield location, PREFIX + "_".join(location).upper()
