"""What a plan is made of: what is aimed at, the next step, and the hold that says why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kaosd.model import Environment, Resources, Version


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be served. environment: digest of the environment inputs of *source*."""

    source: Version
    environment: str
    data: Version | None
    resources: Resources


class Why(StrEnum):
    """Kinds of hold."""

    SCANNING = "scanning"
    PROBLEM = "problem"
    MASS_CHANGE = "mass change"
    SAVING = "saving"
    SETTLING = "settling"
    PAUSED = "paused"
    PINNED = "pinned"
    STOPPED = "stopped"
    BUILDING = "building"
    FAILED = "failed"
    CANCELLED = "cancelled"
    BACKING_OFF = "backing off"
    BUSY = "busy"
    OPEN = "open"
    SILENT = "silent"
    REMOVED = "removed"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing is done, in a sentence, and until when (None: until something changes).

    tries: of BACKING_OFF, how many attempts have failed in a row.
    brief: the text in few words, without advice; "" where the text is brief itself.
    """

    why: Why
    text: str
    until: float | None = None
    tries: int = 0
    brief: str = ""


@dataclass(frozen=True, slots=True)
class Build:
    """Start to make the environment of the target; runs beside everything else, can be cancelled."""

    target: Target


@dataclass(frozen=True, slots=True)
class CancelBuild:
    """Stop the build in flight: no notebook wants its environment any more."""

    digest: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start a host that serves the target, there being none."""

    target: Target
    environment: Environment


@dataclass(frozen=True, slots=True)
class Swap:
    """Take the environment into use, with the source that needs it. keeps_kernels: no server is replaced."""

    target: Target
    environment: Environment
    keeps_kernels: bool


@dataclass(frozen=True, slots=True)
class Renew:
    """Start a host of the same environment beside the running one, for limits or data that this one cannot get."""

    target: Target
    environment: Environment


@dataclass(frozen=True, slots=True)
class Sync:
    """Copy changed code into the running host."""

    target: Target


@dataclass(frozen=True, slots=True)
class Attach:
    """Replace the attached data. restarts: the host starts again for that, and its kernels are stopped."""

    data: Version | None
    restarts: bool = False


@dataclass(frozen=True, slots=True)
class Apply:
    """Change the limits of the running host."""

    resources: Resources


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the host of a notebook that is removed, stopped or restarted, or whose host cannot be reached."""


Step = Build | CancelBuild | Start | Swap | Renew | Sync | Attach | Apply | Stop


@dataclass(frozen=True, slots=True)
class Plan:
    """The next step, or None; and the hold that keeps the target from being served, or None.

    Both can be there: data is attached while a build is held up. target: what is being aimed at.
    source, data: why the content of this directory is not deployed as it is now, if that is so.
    """

    step: Step | None = None
    hold: Hold | None = None
    target: Target | None = None
    source: Hold | None = None
    data: Hold | None = None


def ends_kernels(step: Step | None) -> bool:
    """Whether a step puts another host into the place of the one that runs the kernels."""
    if isinstance(step, Attach):
        return step.restarts
    return isinstance(step, Renew) or (isinstance(step, Swap) and not step.keeps_kernels)
