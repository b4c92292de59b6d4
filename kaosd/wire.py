"""The objects of `status --json` (schema 1) as types: what the daemon builds, and what readers may rely on.

Fields are only ever added. Times are RFC 3339 in UTC; `kaosctl help json` explains each field.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Tone = Literal["ok", "busy", "warn", "bad"]


class ActionObject(TypedDict):
    """The request that does something: POST /v1/notebooks/NAME/<verb>."""

    verb: str
    body: dict[str, Any]


class NextObject(TypedDict):
    """Something that the person can do; action: None where the command only shows something."""

    label: str
    command: str
    action: ActionObject | None


class ProgressObject(TypedDict):
    """How far the work in hand is. seconds: since it was started; expected: how many it usually takes."""

    stage: str
    step: int | None
    steps: int | None
    text: str
    seconds: float
    expected: float | None


class SwapObject(TypedDict):
    """A swap or restart that will stop kernels; until: when, though *busy* ones still run."""

    busy: int
    until: str | None
    why: str


class ResourcesObject(TypedDict):
    """The limits; enforced: the kernel holds them."""

    cpu: float | None
    memory: str | None
    gpu: int
    enforced: bool


class KernelUsageObject(TypedDict):
    """What one kernel uses: bytes, and processors as a number of cores."""

    id: str
    memory: int
    cpu: float


class UsageObject(TypedDict):
    """What the host uses."""

    memory: int
    cpu: float
    gpu_memory: int | None
    kernels: list[KernelUsageObject]


class BundleObject(TypedDict):
    """A source or data directory: versions on disk and served. hold: why they differ. mode: of data."""

    path: str | None
    disk: str | None
    live: str | None
    hold: str | None
    mode: NotRequired[str]


class DeploymentObject(TypedDict):
    """One attempt to bring the notebook to a version."""

    number: int
    cause: list[str]
    action: str
    source: str | None
    data: str | None
    started_at: str
    finished_at: str | None
    seconds: float
    outcome: str
    error: str | None
    checks: list[dict[str, Any]]


class JobObject(TypedDict):
    """One run of a stage. job and id are the same."""

    job: str
    id: str
    stage: str
    state: str
    started_at: str
    seconds: float
    error: str | None
    log: str | None


class LostObject(TypedDict):
    """Kernels that stopped with the host before this one; kernels: how many, None: not known."""

    kernels: int | None
    why: str
    at: str


class HostObject(TypedDict):
    """The running JupyterLab."""

    state: str
    since: str
    restarts: int
    kernels: int
    busy: int
    outdated: int
    outdated_kernels: list[str]
    lost: LostObject | None
    reason: str | None
    notice: str | None


class ByHandObject(TypedDict):
    """A package that was installed by hand."""

    name: str
    version: str
    requested: bool


class PackageChangesObject(TypedDict):
    """What the newest environment changed; changed: name, old and new version."""

    added: list[str]
    removed: list[str]
    changed: list[tuple[str, str, str]]


class EnvironmentObject(TypedDict):
    """What is known of the environment. file: in the bundle."""

    file: str | None
    by_hand: list[ByHandObject]
    change: PackageChangesObject | None


class AnswersObject(TypedDict):
    """What readers draw; see kaosd/notebook/guidance.py."""

    summary: str
    tone: Tone
    next: list[NextObject]
    progress: ProgressObject | None
    swap: SwapObject | None


class NotebookObject(AnswersObject):
    """One notebook. repos: what the engine keeps elsewhere under these names."""

    name: str
    workspace: str
    user: str
    engine: str
    state: str
    reason: str | None
    hold: str | None
    since: str
    paused: bool
    url: str
    resources: ResourcesObject
    usage: UsageObject | None
    source: BundleObject
    data: BundleObject
    deployment: DeploymentObject | None
    build: JobObject | None
    checks: list[dict[str, Any]]
    host: HostObject
    refused: list[str]
    warnings: list[str]
    environment: EnvironmentObject
    recovered: int
    edits: dict[str, int] | None
    can_roll_back: bool | None
    registered: bool
    notices: list[dict[str, Any]]
    repos: list[str]
