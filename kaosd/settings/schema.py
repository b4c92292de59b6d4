"""What may stand in kaosd.toml: every key with its type, default and the words for what is allowed.

Raw tables in, raw values out: paths are still text and nothing is looked up on disk (`kaosd.settings` does that).
The description of a field is what a person reads when the value is refused. Types are strict: TOML has numbers,
so "8890" is refused as a port; only text from the environment (`Variable`) is converted.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kaosd.errors import ConfigError
from kaosd.model import check_name, check_notebook_name, parse_memory

ENGINES = ("process", "docker", "pachyderm")
PREFIX = "KAOSD_"
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Variable(str):
    """Text that came from an environment variable, where numbers and lists have no other form."""


def _number(value: object) -> object:
    """The number in a variable's text; values of TOML stay as they are."""
    if not isinstance(value, Variable):
        return value
    try:
        return int(value) if re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value) else float(value)
    except ValueError:
        raise ValueError(f"{str(value)!r} is not a number") from None


def _yes_no(value: object) -> object:
    return _YES_NO[value.strip().lower()] if isinstance(value, Variable) and value.strip().lower() in _YES_NO else value


def _words(value: object) -> object:
    """The words in a variable's text, "A, B" or "A B"."""
    return value.replace(",", " ").split() if isinstance(value, Variable) else value


def _arguments(value: object) -> object:
    """The words in a variable's text as a shell splits it."""
    return shlex.split(value) if isinstance(value, Variable) else value


def _frozen(value: object) -> object:
    """A TOML array as the tuple that frozen settings hold."""
    return tuple(value) if isinstance(value, list) else value


def _duration(value: object) -> object:
    """Seconds of 600, 0.5 or "10m"."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        return float(match[1]) * _SECONDS[match[2]]
    number = _number(value)
    return float(number) if isinstance(number, int) and not isinstance(number, bool) else number


def _memory(value: object) -> object:
    """A quantity as text; a plain number of bytes may be written as a number."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str):
        _asking(parse_memory, text)
    return text


def _name(value: str) -> str:
    _asking(check_name, value)
    return value


def _notebook_name(value: str) -> str:
    _asking(check_notebook_name, value)
    return value


def _asking(check: Callable[[str], object], value: str) -> None:
    """Run a check of the model; what it refuses becomes an error that pydantic gives a position in the file."""
    try:
        check(value)
    except ConfigError as error:
        raise ValueError(f"{error.text.partition(' ')[2]}; {error.hint}") from error


def _engine(value: str) -> str:
    if value not in ENGINES:
        raise ValueError(f"{value!r} is not an engine")
    return value


def _known_path(value: str) -> str:
    if not value or "\0" in value:
        raise ValueError(f"{value!r} is not a path")
    return value


def _container_engine(value: str) -> str:
    path = value.removeprefix("unix://")
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"{value!r} is not the path of a Unix socket")
    return value


def _pachd_address(value: str) -> str:
    if not re.fullmatch(r"(grpcs?://)?[A-Za-z0-9.-]+:[0-9]{1,5}", value):
        raise ValueError(f"{value!r} is not the address of a pachd")
    return value


def _registry(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9._-]+)*", value):
        raise ValueError(f"{value!r} is not the start of an image's name")
    return value


def _service_address(value: str) -> str:
    try:
        shown = value.format(ip="192.0.2.1", port=8888, name="a", project="b")
    except (KeyError, IndexError, ValueError):
        raise ValueError(f"{value!r} has braces around something else") from None
    if not re.fullmatch(r"https?://[^/\s]+", shown):
        raise ValueError(f"{value!r} is not http://host:port")
    return value


def _variable_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError(f"{value!r} is not the name of a variable")
    return value


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+(:[0-9]{1,5})?", value):
        raise ValueError(f"{value!r} is not the name of a host, with or without a port")
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
Cores = Annotated[float, BeforeValidator(_number), AfterValidator(_finite)]
Seconds = Annotated[float, BeforeValidator(_duration), AfterValidator(_finite)]
YesNo = Annotated[bool, BeforeValidator(_yes_no)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_frozen)]
VariableNames = Annotated[
    tuple[Annotated[str, AfterValidator(_variable_name)], ...], BeforeValidator(_frozen), BeforeValidator(_words)
]
HostNames = Annotated[
    tuple[Annotated[str, AfterValidator(_host_name)], ...], BeforeValidator(_frozen), BeforeValidator(_words)
]
Words = Annotated[tuple[str, ...], BeforeValidator(_frozen), BeforeValidator(_words)]
Arguments = Annotated[tuple[str, ...], BeforeValidator(_frozen), BeforeValidator(_arguments)]
PachdAddress = Annotated[str, AfterValidator(_pachd_address)]
Registry = Annotated[str, AfterValidator(_registry)]
ServiceAddress = Annotated[str, AfterValidator(_service_address)]
Name = Annotated[str, AfterValidator(_name)]
NotebookName = Annotated[str, AfterValidator(_notebook_name)]
EngineName = Annotated[str, AfterValidator(_engine)]
PathText = Annotated[str, AfterValidator(_known_path)]

_DURATIONS = 'seconds or a duration such as "500ms" or "10m"'
_ENGINES = "one of: " + ", ".join(ENGINES)
_NAMES = "letters, digits, - and _, at most 44 characters"
_DIRECTORY = "the path of a directory"
_IDLE = f"{_DURATIONS}, 0 or more"
_OFF = f"{_DURATIONS}; 0 for never"
_COMMAND = 'an array of words, for example ["notify-send", "kaosd"]'


class Table(BaseModel):
    """A table of the file: strict, frozen, and no key that is not listed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FrontTable(Table):
    """[front]: the one local address behind which all hosts stand."""

    port: Whole = Field(default=8890, ge=1, le=65535, description="a whole number from 1 to 65535")
    hosts: HostNames = Field(default=(), description='an array of names, for example ["lab.example.org"]')


class WatchTable(Table):
    """[watch]: how changes on disk are noticed. All but mode are seconds.

    quiet, cap: cheap steps start after so much quiet, at the latest after cap. build_quiet, build_cap: likewise for
    builds. When one file was saved and is whole, a tenth of the quiet time is enough, and cheap steps often need none.
    rescan: the most between two comparisons of a directory with what is known of it, whatever the events say.
    """

    mode: Literal["auto", "poll"] = Field(default="auto", description='"auto" or "poll"')
    quiet: Seconds = Field(default=0.05, ge=0, description=f"{_DURATIONS}, 0 or more")
    cap: Seconds = Field(
        default=0.5, ge=0, description=f"{_DURATIONS}, at least as long as quiet", validate_default=True
    )
    build_quiet: Seconds = Field(default=0.4, ge=0, description=f"{_DURATIONS}, 0 or more")
    build_cap: Seconds = Field(
        default=5.0, ge=0, description=f"{_DURATIONS}, at least as long as build_quiet", validate_default=True
    )
    rescan: Seconds = Field(default=60.0, ge=1, description=f"{_DURATIONS}, 1 or more")

    @field_validator("cap", "build_cap")
    @classmethod
    def _cap_holds(cls, cap: float, info: ValidationInfo) -> float:
        quiet = info.data.get(str(info.field_name).replace("cap", "quiet"), 0)
        if cap < quiet:
            raise ValueError(f"{cap:g} is shorter than the quiet time of {quiet:g}")
        return cap


class PachydermTable(Table):
    """[pachyderm]: the cluster, and how images are made and hosts are reached there; see config/kaosd.toml."""

    address: PachdAddress | None = Field(default=None, description='"grpc://host:port" or "grpcs://host:port"')
    ca_file: PathText | None = Field(default=None, description="the path of a PEM file")
    token_file: PathText | None = Field(default=None, description="the path of a file that holds the token alone")
    token: str | None = Field(default=None, repr=False, description="the token")
    project: str | None = Field(default=None, description="the name of a project")
    registry: Registry | None = Field(default=None, description='for example "registry.example.com/team"')
    registry_secret: str | None = Field(default=None, description="the name of a Kubernetes secret with a config.json")
    plain_registry: YesNo = Field(default=False, description="true or false")
    pull_secrets: Words = Field(default=(), description='an array of names of secrets, for example ["pull"]')
    buildkit: str | None = Field(default=None, description='an address such as "tcp://buildkitd:1234"')
    builder_image: str = Field(default="moby/buildkit:v0.32.2-rootless", description="the name of an image")
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        default="ClusterIP", description='"ClusterIP", "NodePort" or "LoadBalancer"'
    )
    service_port: Whole = Field(default=8888, ge=1, le=65535, description="a whole number from 1 to 65535")
    service_address: ServiceAddress = Field(
        default="http://{ip}:{port}", description="an address with {ip}, {port}, {name} and {project} where they belong"
    )
    start_within: Seconds = Field(default=900.0, ge=1, description=f"{_DURATIONS}, 1 or more")

    def resolved(self, absolute: Callable[[str], str]) -> PachydermTable:
        """The same with absolute paths."""
        files = {key: absolute(path) for key in ("ca_file", "token_file") if (path := getattr(self, key)) is not None}
        return self.model_copy(update=files)

    @field_validator("service_port")
    @classmethod
    def _port_suits(cls, port: int, info: ValidationInfo) -> int:
        if info.data.get("service_type") == "NodePort" and not 30000 <= port <= 32767:
            raise ValueError(f"{port} is not a NodePort; write a whole number from 30000 to 32767, one per notebook")
        return port


class LogTable(Table):
    """[log]: the daemon's own log. auto: colours on a terminal, JSON lines elsewhere, prefixed text for a journal."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    format: Literal["auto", "console", "json", "journal"] = Field(
        default="auto", description="auto, console, json or journal"
    )  # fmt: skip


class DockerTable(Table):
    """[docker]: the container engine of the docker engine."""

    socket: Annotated[str, AfterValidator(_container_engine)] | None = Field(
        default=None, description='the socket of a container engine, for example "unix:///run/podman/podman.sock"'
    )


class HooksTable(Table):
    """[hooks]: commands that are run when a notebook fails or is live."""

    on_failure: Arguments = Field(default=(), description=_COMMAND)
    on_live: Arguments = Field(default=(), description=_COMMAND)


class NotebookTable(Table):
    """[[notebook]]: one hosted notebook; also the body of a request to deploy one."""

    name: NotebookName | None = Field(default=None, description=_NAMES)
    workspace: Name | None = Field(default=None, description=_NAMES)
    user: Name | None = Field(default=None, description=_NAMES)
    engine: EngineName | None = Field(default=None, description=_ENGINES)
    source: PathText | None = Field(default=None, description=_DIRECTORY)
    data: PathText | None = Field(default=None, description=_DIRECTORY)
    data_mode: Literal["snapshot", "link"] = Field(default="snapshot", description='"snapshot" or "link"')
    cpu: Cores | None = Field(default=None, gt=0, description="a number of cores greater than 0, for example 0.5 or 2")
    memory: Annotated[str, BeforeValidator(_memory)] | None = Field(
        default=None, description='a quantity such as "512Mi" or "4Gi"'
    )
    gpu: Whole = Field(default=0, ge=0, description="a whole number, 0 or more")
    environment: str = Field(
        default="", description='the path of a file below the source, for example "requirements-gpu.txt"'
    )
    extras: Words = Field(default=(), description='an array of names, for example ["plot"]')
    groups: Words = Field(default=(), description='an array of names, for example ["dev"]')
    environment_inputs: Patterns = Field(
        default=(), description='an array of patterns, for example ["model/setup.cfg"]'
    )
    swap_when_idle: Seconds | None = Field(default=None, ge=0, description=_IDLE)
    idle_stop: Seconds | None = Field(default=None, ge=0, description=_OFF)
    run_on_deploy: Patterns = Field(default=(), description='an array of paths, for example ["smoke.ipynb"]')


class File(BaseSettings):
    """The whole file; `sources` says where the values come from."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, strict=True)

    engine: EngineName = Field(default="process", description=_ENGINES)
    state_dir: PathText | None = Field(default=None, description=_DIRECTORY)
    socket: PathText | None = Field(default=None, description="the path of a socket")
    swap_when_idle: Seconds = Field(default=600.0, ge=0, description=_IDLE)
    idle_stop: Seconds = Field(default=0.0, ge=0, description=_OFF)
    keep_versions: Whole = Field(default=20, ge=1, description="a whole number, 1 or more")
    stop_hosts_on_exit: YesNo = Field(default=False, description="true or false")
    stop_grace: Seconds = Field(default=10.0, ge=0, description=_IDLE)
    max_backoff: Seconds = Field(default=60.0, ge=1, description=f"{_DURATIONS}, 1 or more")
    desktop_notices: YesNo = Field(default=False, description="true or false")
    python_downloads: YesNo = Field(default=False, description="true or false")
    personal_kernels: YesNo = Field(default=False, description="true or false")
    personal_settings: YesNo = Field(default=False, description="true or false")
    pass_environment: VariableNames = Field(
        default=(), description='an array of variable names, for example ["AWS_PROFILE"]'
    )
    front: FrontTable = Field(default_factory=FrontTable, description="a table: [front]")
    watch: WatchTable = Field(default_factory=WatchTable, description="a table: [watch]")
    log: LogTable = Field(default_factory=LogTable, description="a table: [log]")
    hooks: HooksTable = Field(default_factory=HooksTable, description="a table: [hooks]")
    docker: DockerTable = Field(default_factory=DockerTable, description="a table: [docker]")
    pachyderm: PachydermTable = Field(default_factory=PachydermTable, description="a table: [pachyderm]")
    notebook: Annotated[tuple[NotebookTable, ...], BeforeValidator(_frozen)] = Field(
        default=(), description="tables: [[notebook]]"
    )
