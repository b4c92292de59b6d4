"""What the journal holds beyond the shared nouns, and how all of it becomes text and back.

Values are kept as JSON with every character outside ASCII escaped: paths and names that are not UTF-8 (surrogates,
as os.fsdecode makes them) come back as they were. A field that is added to a noun later takes its default.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from kaosd.errors import StoreError
from kaosd.model import Environment, Host, LostKernels, PackageChanges, Resources, Version

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Live:
    """What a notebook serves, or served when it last ran; the daemon starts from here.

    source_tree, model_tree: digests of the stored trees of *source*. syncing: model tree that a sync in
    progress is writing into the host's directory; left: those of syncs before it that did not end either.
    restarts: how often the host ended without being asked to.
    attaching, applying: a change of data or resources was started, and is not written down as done.
    directory: the path of the source directory that this is of; None when there is none, or it is not known.
    change: how the environment differs from the one before it; None when that is not known.
    lost: the kernels that stopped with the host before this one; None when there were none.
    """

    source: Version | None = None
    source_tree: str | None = None
    model_tree: str | None = None
    data: Version | None = None
    environment: Environment | None = None
    resources: Resources | None = None
    host: Host | None = None
    syncing: str | None = None
    restarts: int = 0
    attaching: bool = False
    applying: bool = False
    left: tuple[str, ...] = ()
    directory: str | None = None
    change: PackageChanges | None = None
    lost: LostKernels | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """A notebook that a person registered.

    given: keys of [[notebook]] that were given, as JSON values; all others are inherited from the settings.
    complete: *given* is a whole NotebookSpec, as versions before this one kept it.
    """

    name: str
    given: dict[str, Any]
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Intent:
    """What a person wants of a notebook, beyond its specification.

    pinned_source, pinned_data: what a rollback serves, for as long as pinned_over_source and pinned_over_data
    are what is on disk. stopped: why no host is to run, as a sentence; "" when one is. when_idle: the swap that is due
    waits for busy kernels without limit.
    """

    paused: bool = False
    pinned_source: Version | None = None
    pinned_data: Version | None = None
    pinned_over_source: Version | None = None
    pinned_over_data: Version | None = None
    stopped: str = ""
    when_idle: bool = False


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A version that was deployed. kind: "source" or "data". at: when it was last deployed."""

    notebook: str
    kind: str
    version: Version
    files: int
    bytes: int
    at: float


@dataclass(frozen=True, slots=True)
class Recovered:
    """A copy of edits made in the notebook that a newer version replaced.

    path: in the bundle, as shown to people. file: where the copy is. size: of the copy, in bytes.
    """

    notebook: str
    deployment: int
    path: str
    file: str
    size: int
    at: float


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the stream. seq: its number, higher than that of every event before it, in any life."""

    seq: int
    time: float
    notebook: str | None
    kind: str
    data: dict[str, Any]


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Made when it is used first: the daemon's start needs few of them."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def encode(value: object) -> str:
    """The text of one of the dataclasses above."""
    return json.dumps(_adapter(type(value)).dump_python(value, mode="json"))


def decode(kind: type[Value], text: str) -> Value:
    """The reverse of `encode`; StoreError when *text* is not a *kind*."""
    try:
        value: Value = _adapter(kind).validate_python(json.loads(text))
    except (ValidationError, ValueError) as error:
        what = f"the journal holds a {kind.__name__} that cannot be read: {text[:80]}"
        raise StoreError(what, hint="was it edited by hand?", retryable=False) from error
    return value
