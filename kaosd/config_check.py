"""`kaosd check`: whether this machine has what the configuration asks for. Changes nothing, and needs no daemon."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kaosd.daemon import Engines
from kaosd.engines.base import Engine, Finding, Remote
from kaosd.errors import ConfigError
from kaosd.model import NotebookSpec, Resources
from kaosd.settings import Settings


@dataclass(frozen=True, slots=True)
class CheckedLine:
    """One thing that is wrong. severity: error (the notebook will not run), or warning."""

    severity: str
    text: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.text}"


def examine(settings: Settings) -> list[CheckedLine]:
    """All that is wrong, errors first. Asks the engines, each for some seconds at the most."""
    with tempfile.TemporaryDirectory(prefix="kaosd-check-") as place:  # engines make files where their state is
        found = asyncio.run(_examine(replace(settings, state_dir=Path(place)), settings))
    return sorted(found, key=lambda one: one.severity)


async def _examine(scratch: Settings, settings: Settings) -> list[CheckedLine]:
    found = [CheckedLine("warning", text) for text in settings.warnings]
    engines = Engines(scratch)
    try:
        for name in sorted({settings.engine, *(spec.engine for spec in settings.notebooks)}):
            users = [spec for spec in settings.notebooks if spec.engine == name]
            try:
                engine = engines[name]
            except ConfigError as error:
                found += _engine(name, users, [Finding("engine", "error", error.text, error.hint)])
                continue
            found += _engine(name, users, await engine.examine() if isinstance(engine, Remote) else [])
            found += [one for spec in users for one in _resources(spec, engine)]
    finally:
        await engines.close()
    return [*found, *(one for spec in settings.notebooks for one in _directories(spec))]


def _engine(name: str, users: list[NotebookSpec], found: list[Finding]) -> Iterator[CheckedLine]:
    """What is wrong with an engine; only a warning where no notebook needs it."""
    for one in found:
        if one.severity != "ok":
            text = f"engine {name}: {one.text}" + (f"; {one.mend}" if one.mend else "")
            needed = f" (needed by {', '.join(spec.name for spec in users)})" if users else ""
            yield CheckedLine(one.severity if users else "warning", text + needed)


def _directories(spec: NotebookSpec) -> Iterator[CheckedLine]:
    for what, path in (("source", spec.source), ("data", spec.data)):
        if path is None:
            continue
        if not os.path.lexists(path):
            yield CheckedLine(
                "error", f"{spec.name}: {what} {path} does not exist; create it, or correct {what} in its table"
            )
        elif not os.path.isdir(path):
            yield CheckedLine("error", f"{spec.name}: {what} {path} is not a directory; correct {what} in its table")
        elif not os.access(path, os.R_OK | os.X_OK):
            yield CheckedLine("error", f"{spec.name}: {what} {path} cannot be read by you; see `ls -ld {path}`")


def _resources(spec: NotebookSpec, engine: Engine) -> Iterator[CheckedLine]:
    """Each limit alone, so that all that is too much is found."""
    wanted = spec.resources
    for one in (Resources(cpu=wanted.cpu), Resources(memory=wanted.memory), Resources(gpu=wanted.gpu)):
        try:
            engine.check(one)
        except ConfigError as error:
            yield CheckedLine("error", f"{spec.name}: {error.text}; {error.hint}")
