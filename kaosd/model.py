"""The nouns that all modules share: frozen values without behaviour beyond their own invariants.

Standard library only, because the client may import it. Times are seconds since the epoch (float) unless a
name says otherwise; digests are lower-case hexadecimal; paths inside bundles are bytes, relative, with "/".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from kaosd.errors import ConfigError

NAME_MAX = 44
RESERVED = frozenset({"kaosd"})  # names that no notebook may have
ONE_SAVE = 0.1  # of a quiet time is enough after the save of one file that is whole
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,43}")
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([a-zA-Z]*)")
_FACTORS = {
    "": 1,
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50,
}  # fmt: skip


class JobState(StrEnum):
    """State of one run of a stage, in the words of kaos."""

    STARTING = "JOB_STARTING"
    RUNNING = "JOB_RUNNING"
    SUCCESS = "JOB_SUCCESS"
    FAILURE = "JOB_FAILURE"
    KILLED = "JOB_KILLED"


class HostState(StrEnum):
    """State of the running JupyterLab, in the words of kaos."""

    STARTING = "PIPELINE_STARTING"
    RUNNING = "PIPELINE_RUNNING"
    RESTARTING = "PIPELINE_RESTARTING"
    FAILURE = "PIPELINE_FAILURE"
    STANDBY = "PIPELINE_STANDBY"
    PAUSED = "PIPELINE_PAUSED"


class NotebookState(StrEnum):
    """State of a notebook as a whole; LIVE means that the content on disk is served."""

    LIVE = "live"
    STALE = "stale"
    BUILDING = "building"
    SWAPPING = "swapping"
    HELD = "held"
    FAILED = "failed"
    STOPPED = "stopped"


class Stage(StrEnum):
    """What a log belongs to."""

    WATCH = "watch"
    BUILD = "build"
    HOST = "host"
    DAEMON = "daemon"


class DataMode(StrEnum):
    """How data reaches the notebook: a versioned copy, or the directory itself."""

    SNAPSHOT = "snapshot"
    LINK = "link"


def check_name(name: str, what: str = "name") -> str:
    """Return *name* when it may name a notebook, workspace or user; ConfigError when not."""
    if _NAME.fullmatch(name):
        return name
    if len(name) > NAME_MAX:
        raise ConfigError(f"{what} {name[:60]!r} has {len(name)} characters", hint=f"at most {NAME_MAX} are allowed")
    raise ConfigError(
        f"{what} {name!r} is not valid",
        hint="use letters, digits, - and _, starting with a letter or digit, for example 'mnist'",
    )


def check_notebook_name(name: str) -> str:
    """The same for the name of a notebook alone: the front has addresses of its own."""
    if name in RESERVED:
        text = f"name {name!r} is reserved, because the front has its own pages at /{name}/"
        raise ConfigError(text, hint=f"choose another, for example '{name}-notebook'")
    return check_name(name)


def parse_memory(text: str) -> int:
    """Bytes of a Kubernetes quantity: plain, k M G T P, Ki Mi Gi Ti Pi. ConfigError when it is none."""
    match = _QUANTITY.fullmatch(text.strip())
    factor = _FACTORS.get(match[2]) if match else None
    amount = int(float(match[1]) * factor) if match and factor else 0
    if amount <= 0:
        raise ConfigError(
            f"memory {text!r} is not a quantity",
            hint="write a positive number with k, M, G, T, P or Ki, Mi, Gi, Ti, Pi, for example 512Mi or 4Gi",
        )
    return amount


@dataclass(frozen=True, slots=True)
class Resources:
    """What a host may use. cpu in cores (None: no limit), memory as a Kubernetes quantity (None: no limit)."""

    cpu: float | None = None
    memory: str | None = None
    gpu: int = 0

    @property
    def memory_bytes(self) -> int | None:
        """The memory limit in bytes."""
        return parse_memory(self.memory) if self.memory is not None else None


@dataclass(frozen=True, slots=True)
class NotebookSpec:
    """A notebook as a person configured it; every field is validated.

    swap_when_idle: seconds that a swap which stops kernels waits for busy ones.
    idle_stop: seconds without busy kernels and open tabs after which the host is stopped; 0: never.
    run_on_deploy: notebook files, relative to the notebook's root, that are run after each deployment.
    environment: the environment file, relative to the bundle; "" for the first that is there. extras, groups: of a
    pyproject.toml, installed besides its dependencies.
    registered: made by `kaosctl notebook deploy` (kept in the journal) and not by the configuration file.
    named: False when the name was only made from its directory.
    """

    name: str
    workspace: str
    user: str
    engine: str = "process"
    source: Path | None = None
    data: Path | None = None
    data_mode: DataMode = DataMode.SNAPSHOT
    resources: Resources = field(default_factory=Resources)
    environment: str = ""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    environment_inputs: tuple[str, ...] = ()
    swap_when_idle: float = 600.0
    idle_stop: float = 0.0
    run_on_deploy: tuple[str, ...] = ()
    registered: bool = False
    named: bool = True

    @property
    def directory(self) -> Path | None:
        """The directory that the notebook is of: its source, or its data where it has no source."""
        return self.source or self.data


@dataclass(frozen=True, slots=True)
class Version:
    """A bundle's content: the name of its directory and the digest of its tree (64 hexadecimal digits)."""

    root: str
    digest: str

    def __str__(self) -> str:
        return f"{self.root}:{self.digest[:7]}"

    @property
    def full(self) -> str:
        """The whole text form, for storing."""
        return f"{self.root}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """The reverse of `full`."""
        root, _, digest = text.rpartition(":")
        return cls(root, digest)


@dataclass(frozen=True, slots=True)
class Environment:
    """What Build made of one set of environment inputs.

    digest: of the inputs, the key. handle: the engine's own word for it (process: the absolute path of the
    virtual environment). server: digest of the packages that serve JupyterLab itself; two environments with
    the same one can change under a running server. notes: what it cannot give to a notebook, one sentence each.
    """

    digest: str
    handle: str
    server: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """A running JupyterLab.

    upstream: where the front reaches it, "unix:/path" or "http://127.0.0.1:port". handle: what the engine
    needs to find it again after a restart of the daemon; JSON values only.
    environment, server: of the Environment that it serves kernels from, and that its server runs in.
    """

    upstream: str
    environment: str
    server: str
    started_at: float
    handle: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ByHand:
    """A package that was installed by hand in a notebook. requested: it was asked for itself."""

    name: str
    version: str
    requested: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """What a host or kernel has used. memory: bytes in use now. seconds: of processors since it was started."""

    memory: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PackageChanges:
    """How an environment differs from the one before it: names of packages; changed: name, old and new version."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LostKernels:
    """Kernels that stopped, and their variables with them, when their host did. kernels: how many; None: not known."""

    kernels: int | None
    why: str
    at: float


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What a probe found. reason: why it is not answering, as a sentence with the last lines of its log.

    notice: what a person should know of a host that answers, such as a kernel that its memory limit has ended.
    damage: why kernels may not start although it answers: what is wrong with its environment, as a sentence.
    lost: it does not answer and never will: its socket is gone, or it has another token.
    by_hand: what was installed by hand in this notebook alone.
    holds: the versions of model/ that may be in its directory, by its own word; None where kaosd writes there itself.
    moved: the same host as it is to be reached from now on, when it is found somewhere else.
    outdated: ids of running kernels that are still on an older environment than kernels get that start now.
    usage: None where the engine cannot tell; kernel_usage: by kernel id, as far as the engine can tell.
    pids: all processes of the host, as far as they are processes of this machine.
    """

    alive: bool
    answering: bool
    kernels: int = 0
    busy: int = 0
    reason: str = ""
    notice: str = ""
    damage: str = ""
    lost: bool = False
    by_hand: tuple[ByHand, ...] = ()
    holds: tuple[str, ...] | None = None
    moved: Host | None = None
    outdated: tuple[str, ...] = ()
    usage: Usage | None = None
    kernel_usage: Mapping[str, Usage] = field(default_factory=dict)
    pids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the daemon as a whole; shown in status and doctor."""

    code: str
    severity: str
    text: str
    mend: str
    since: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work in hand is. step: of *steps*, None where there are none. text: what is being done, in words.

    since: when it was started. expected: seconds that it usually takes, None when that is not known.
    """

    stage: Stage
    text: str
    since: float
    step: int | None = None
    steps: int | None = None
    expected: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a stage within a deployment. id: 32 hexadecimal digits. log: the file of its lines.

    ready_at: when what it makes was there: the host that answered. None for builds, which are finished then.
    """

    id: str
    notebook: str
    deployment: int
    stage: Stage
    state: JobState
    started_at: float
    finished_at: float | None = None
    error: str | None = None
    log: str | None = None
    ready_at: float | None = None


@dataclass(frozen=True, slots=True)
class DeployCheck:
    """A notebook file that is run after a deployment, see NotebookSpec.run_on_deploy.

    outcome: "running", "passed", "failed" or "cancelled". cell: the number of the code cell that failed.
    """

    notebook: str
    outcome: str = "running"
    cell: int | None = None
    error: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """One attempt to bring a notebook to a version; numbered per notebook from 1.

    cause: paths that changed (as shown to people), or one word in brackets such as "[first start]"; after "[reverted]"
    the paths that went back to what is served.
    action: the costliest step that it took: sync, attach, build, swap or start; none when all was served already.
    outcome: "running", "live", "failed", "superseded" or "cancelled".
    """

    notebook: str
    number: int
    cause: tuple[str, ...]
    action: str
    source: Version | None
    data: Version | None
    started_at: float
    finished_at: float | None = None
    outcome: str = "running"
    error: str | None = None
    checks: tuple[DeployCheck, ...] = ()
