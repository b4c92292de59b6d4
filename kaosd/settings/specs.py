"""From a [[notebook]] table, or the body of a request, to the frozen NotebookSpec that the daemon works with."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kaosd.errors import ConfigError
from kaosd.model import DataMode, NotebookSpec, Resources, check_name
from kaosd.settings.naming import base_name
from kaosd.settings.schema import NotebookTable
from kaosd.settings.sentences import Mistake

WORKSPACE = "default"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a notebook gets where its table is silent, and how its paths are read.

    resolve: text to absolute path; raises ValueError with what is wrong.
    """

    engine: str
    user: str
    swap_when_idle: float
    idle_stop: float
    state_dir: Path
    resolve: Callable[[str], Path]


def build_spec(table: NotebookTable, defaults: Defaults, *, registered: bool) -> NotebookSpec:
    """The spec of *table*; Mistake, located within the table, when it cannot be."""
    user = table.user or defaults.user
    idle = defaults.swap_when_idle if table.swap_when_idle is None else table.swap_when_idle
    source, data = _watched("source", table.source, defaults), _watched("data", table.data, defaults)
    directory = source or data if table.name is None and table.workspace is None else None
    workspace = table.workspace or WORKSPACE
    name = base_name(str(directory)) if directory is not None else table.name or derived_name(workspace, user)
    return NotebookSpec(
        name=name,
        named=directory is None,
        workspace=workspace,
        user=user,
        engine=table.engine or defaults.engine,
        source=source,
        data=data,
        data_mode=DataMode(table.data_mode),
        resources=Resources(cpu=table.cpu, memory=table.memory, gpu=table.gpu),
        environment=table.environment,
        extras=table.extras,
        groups=table.groups,
        environment_inputs=table.environment_inputs,
        swap_when_idle=idle,
        idle_stop=defaults.idle_stop if table.idle_stop is None else table.idle_stop,
        run_on_deploy=table.run_on_deploy,
        registered=registered,
    )


def derived_name(workspace: str, user: str) -> str:
    """The name that kaos makes of workspace and user; Mistake when that is too long."""
    name = f"notebook-{workspace}-{user}"
    try:
        return check_name(name)
    except ConfigError as error:
        text = f"the name made of workspace and user, {name!r}, has {len(name)} characters; {error.hint}: give one"
        raise Mistake(("name",), text) from error


def _watched(field: str, text: str | None, defaults: Defaults) -> Path | None:
    """The directory to watch, if any; it and the state directory may not contain each other."""
    if text is None:
        return None
    try:
        path = defaults.resolve(text)
    except ValueError as error:
        raise Mistake((field,), str(error)) from error
    watched, state = os.path.realpath(path), os.path.realpath(defaults.state_dir)
    if _contains(watched, state):
        raise Mistake((field,), f"the state directory {defaults.state_dir} lies in {path}; set state_dir elsewhere")
    if _contains(state, watched):
        raise Mistake((field,), f"{path} lies in the state directory {defaults.state_dir}; move it out of there")
    return path


def _contains(outer: str, inner: str) -> bool:
    return os.path.commonpath((outer, inner)) == outer
