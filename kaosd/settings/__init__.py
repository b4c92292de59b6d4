"""Settings: the only reader of the configuration file and the environment; yields frozen values.

The file is TOML (`config/kaosd.toml` shows every key); relative paths in it start at its directory. A variable
KAOSD_<KEY> overrides its key, with the table in front for keys of tables: KAOSD_FRONT_PORT is port of [front].
[[notebook]] tables stand in the file only.
Whether source and data directories exist is not asked here: a notebook waits for them while the daemon runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kaosd.model import NotebookSpec
from kaosd.settings import locations, naming, sources
from kaosd.settings.directories import make_private, tighten_files
from kaosd.settings.line_numbers import line_of
from kaosd.settings.schema import (
    ENGINES,
    DockerTable,
    File,
    FrontTable,
    HooksTable,
    LogTable,
    NotebookTable,
    PachydermTable,
    WatchTable,
)
from kaosd.settings.sentences import Mistake, Origin, mistakes_of, request_refusal
from kaosd.settings.specs import Defaults, build_spec

__all__ = [
    "ENGINES",
    "DockerTable",
    "FrontTable",
    "HooksTable",
    "LogTable",
    "PachydermTable",
    "Settings",
    "WatchTable",
    "load",
    "prepare",
    "spec_from_request",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a person can set, checked. Durations are seconds, paths are absolute.

    config: the file that was read, or that would be (it may be absent at the default path).
    login: the user that notebooks belong to where they name none.
    pass_environment: names of the variables that builds and hosts get from the daemon's environment.
    stop_grace: what steps and hosts get to end when the daemon stops. max_backoff: the longest wait after failures.
    warnings: sentences about things that look like mistakes but stop nothing.
    """

    config: Path
    state_dir: Path
    socket: Path
    engine: str
    front: FrontTable
    watch: WatchTable
    log: LogTable
    hooks: HooksTable
    docker: DockerTable
    pachyderm: PachydermTable
    swap_when_idle: float
    idle_stop: float
    keep_versions: int
    stop_hosts_on_exit: bool
    stop_grace: float
    max_backoff: float
    desktop_notices: bool
    python_downloads: bool
    personal_kernels: bool
    personal_settings: bool
    pass_environment: tuple[str, ...]
    login: str
    notebooks: tuple[NotebookSpec, ...]
    warnings: tuple[str, ...] = ()


_AS_WRITTEN = (
    "engine", "front", "watch", "log", "hooks", "docker", "swap_when_idle", "idle_stop", "keep_versions",
    "stop_hosts_on_exit", "stop_grace", "max_backoff", "desktop_notices", "python_downloads", "personal_kernels",
    "personal_settings", "pass_environment",
)  # fmt: skip


def load(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read, check and freeze the settings.

    config: the file; else KAOSD_CONFIG, else the default path, where it may be absent. Raises ConfigError
    "file:line: field: what is wrong; what is allowed" for the first mistake, with the number of the others.
    """
    file, origin = sources.read(config, environ)
    mistakes: list[Mistake] = []
    state_dir, socket = _own_paths(file, origin, environ)
    resolve = partial(locations.expand, base=origin.file.parent, environ=environ)
    defaults = Defaults(file.engine, locations.login(), file.swap_when_idle, file.idle_stop, state_dir, resolve)
    notebooks = tuple(_specs(file, defaults, origin, mistakes))
    mistakes += _missing(file, notebooks)
    if mistakes:
        raise origin.refusal(mistakes)
    return Settings(
        config=origin.file,
        state_dir=state_dir,
        socket=socket,
        pachyderm=file.pachyderm.resolved(lambda text: str(resolve(text))),
        login=defaults.user,
        notebooks=notebooks,
        warnings=sources.warnings(environ),
        **{name: getattr(file, name) for name in _AS_WRITTEN},
    )


def _missing(file: File, notebooks: tuple[NotebookSpec, ...]) -> list[Mistake]:
    """What must be set because of the engines that notebooks have."""
    if file.pachyderm.registry is not None or all(spec.engine != "pachyderm" for spec in notebooks):
        return []
    what = 'notebooks of the engine pachyderm need it; write where images are pushed to, as "registry.test/team"'
    return [Mistake(("pachyderm", "registry"), what)]


def spec_from_request(fields: Mapping[str, Any], settings: Settings) -> NotebookSpec:
    """The spec of a request to deploy a notebook: the keys of [[notebook]], absent or None for the default.

    Paths must be absolute. Raises ConfigError "field: what is wrong; what is allowed".
    """
    given = {key: value for key, value in fields.items() if value is not None}
    defaults = Defaults(
        settings.engine, settings.login, settings.swap_when_idle, settings.idle_stop, settings.state_dir, _absolute
    )
    try:
        return build_spec(NotebookTable.model_validate(given), defaults, registered=True)
    except ValidationError as error:
        raise request_refusal(mistakes_of(error, NotebookTable)) from error
    except Mistake as mistake:
        raise request_refusal([mistake]) from mistake


def inherited(complete: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """What was given of a registration that an earlier version kept with every value filled in.

    A value that the settings or the program itself would give now counts as inherited.
    """
    resources = complete.get("resources") or {}
    given = {key: value for key, value in {**complete, **resources}.items() if key in NotebookTable.model_fields}
    idle = (settings.swap_when_idle, File.model_fields["swap_when_idle"].default)
    known = {"engine": (settings.engine,), "user": (settings.login,), "swap_when_idle": idle}
    usual = {"workspace": "default", "data_mode": "snapshot", "gpu": 0, "environment_inputs": []}
    return {
        key: value
        for key, value in given.items()
        if value is not None and key != "name" and value != usual.get(key) and value not in known.get(key, ())
    }


def prepare(settings: Settings) -> None:
    """Make the state directory and the socket's, private to this user; ConfigError when they cannot be trusted."""
    make_private(settings.state_dir, "state directory", tighten=True)
    tighten_files(settings.state_dir)
    if settings.socket.parent != settings.state_dir:
        make_private(settings.socket.parent, "directory of the socket", tighten=False)


_LIMITS = {"state_dir": locations.STATE_DIR_MAX, "socket": locations.SOCKET_PATH_MAX}


def _own_paths(file: File, origin: Origin, environ: Mapping[str, str]) -> tuple[Path, Path]:
    """The state directory and the socket."""
    state_dir = _own_path("state_dir", file.state_dir, locations.default_state_dir(environ), origin, environ)
    return state_dir, _own_path("socket", file.socket, locations.default_socket(environ, state_dir), origin, environ)


def _own_path(field: str, text: str | None, default: Path, origin: Origin, environ: Mapping[str, str]) -> Path:
    """The path of state_dir or socket, short enough for the sockets that it holds or is."""
    base = None if (field,) in origin.variables else origin.file.parent
    try:
        path = locations.expand(text, base, environ) if text else default
    except ValueError as error:
        raise origin.refusal([Mistake((field,), str(error))]) from error
    size, limit = len(os.fsencode(path)), _LIMITS[field]
    if size > limit:
        what = f"{path} has {size} bytes; at most {limit} are allowed, because sockets have short paths"
        raise origin.refusal([Mistake((field,), what)])
    return path


def _specs(file: File, defaults: Defaults, origin: Origin, mistakes: list[Mistake]) -> Iterator[NotebookSpec]:
    """The notebooks of the file; what is wrong with one is added to *mistakes*."""
    specs: dict[int, NotebookSpec] = {}
    for index, table in enumerate(file.notebook):
        try:
            specs[index] = build_spec(table, defaults, registered=False)
        except Mistake as mistake:
            mistakes.append(mistake.below("notebook", index))
    first_use: dict[str, int] = {}
    taken: dict[str, str | None] = {}
    for index, spec in sorted(specs.items(), key=lambda one: (not one[1].named, one[0])):
        name = spec.name if spec.named else naming.choose(str(spec.directory), "", taken)
        if name in first_use:
            line = line_of(origin.text, ("notebook", first_use[name]))
            what = f"{name!r} is the name of the notebook in line {line} already; give this one another"
            mistakes.append(Mistake(("notebook", index, "name"), what))
        first_use.setdefault(name, index)
        taken[name] = str(spec.directory)
        specs[index] = replace(spec, name=name)
    yield from specs.values()


def _absolute(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(f"{text!r} is not an absolute path; write it from / on")
    return path
