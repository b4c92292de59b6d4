"""What to do next for one notebook, and why nothing: a pure function of one look at the world.

No clock and no I/O: the time is part of the observation. The caller runs at most the one step that comes back, then
looks again, so a plan can never be stale. The rules stand in `plan`, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from kaosd.model import ONE_SAVE, Environment, Resources, Version
from kaosd.plans import (
    Apply,
    Attach,
    Build,
    CancelBuild,
    Hold,
    Plan,
    Renew,
    Start,
    Step,
    Stop,
    Swap,
    Sync,
    Target,
    Why,
    ends_kernels,
)  # fmt: skip

__all__ = [
    "STOPPING", "Apply", "Attach", "Attempt", "Build", "CancelBuild", "DirectoryState", "Disk", "FailedAttempt", "Hold",
    "HostFact", "Look", "Plan", "Renew", "Served", "Settle", "Start", "Step", "Stop", "Swap", "Sync", "Target", "Why",
    "about", "being_written", "ends_kernels", "plan",
]  # fmt: skip

STOPPING = "stopping"  # the key of a failure to stop a host because the person wants that
READING = "reading the directories for the first time"
TOGETHER = 0.5  # seconds for which the files of one save wait for one of them that is still being written


@dataclass(frozen=True, slots=True)
class Served:
    """What the host serves now, or served when it last ran. server: see model.Environment."""

    source: Version
    environment: str
    server: str
    data: Version | None
    resources: Resources

    @property
    def target(self) -> Target:
        """The target that it fulfils."""
        return Target(self.source, self.environment, self.data, self.resources)


@dataclass(frozen=True, slots=True)
class DirectoryState:
    """One of the two directories as its last scan found it.

    reading: the first scan has not ended. problem: why the directory cannot be taken.
    guard: sentence of the mass-change guard; brief: the same without advice.
    accepted: the person wants exactly this content all the same.
    saving: names of files that are still being written; the version holds what they were before.
    first, last: times of the first and last event since the last rest, if any. one: the last ones are one whole save.
    """

    reading: bool = False
    problem: str | None = None
    guard: str | None = None
    brief: str = ""
    accepted: bool = False
    saving: tuple[str, ...] = ()
    git_busy: bool = False
    first: float | None = None
    last: float | None = None
    one: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """What is on disk.

    target: where a directory cannot be taken or is not read yet, its part is what is served; None when nothing is.
    """

    target: Target | None
    source: DirectoryState = DirectoryState()
    data: DirectoryState = DirectoryState()


class HostFact(StrEnum):
    """What is known of the host process."""

    NONE = "none"
    ENDED = "ended"
    SILENT = "silent"  # runs, but does not answer
    LOST = "lost"  # and never will
    RUNNING = "running"


class Attempt(StrEnum):
    """Kinds of step that can fail."""

    BUILD = "build"
    HOST = "host"
    SYNC = "sync"
    ATTACH = "attach"
    APPLY = "apply"


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """The last attempt of one kind that failed, and when another one is due.

    key: what it was about (see `about`, or STOPPING); anything else is tried at once.
    retry_at: None when only a change on disk can help. waits: nothing went wrong; an open document is waited for.
    tries: how many attempts of this kind have failed in a row. cancelled: the user cancelled the attempt.
    brief: the text without advice; "" where it is the same.
    """

    attempt: Attempt
    key: object
    text: str
    retry_at: float | None
    waits: bool = False
    tries: int = 1
    cancelled: bool = False
    brief: str = ""


def about(attempt: Attempt, target: Target) -> object:
    """The part of *target* that an attempt of this kind depends on."""
    match attempt:
        case Attempt.BUILD:
            return target.environment
        case Attempt.ATTACH:
            return target.data
        case Attempt.APPLY:
            return target.resources
        case Attempt.HOST | Attempt.SYNC:
            return target


@dataclass(frozen=True, slots=True)
class Settle:
    """Seconds of quiet, and the longest wait, before a build; and the quiet while git is at work."""

    quiet: float = 0.4
    cap: float = 5.0
    git_quiet: float = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """All that a decision depends on.

    built: complete environments, by digest. building: digest of the build in flight. pinned: what a rollback asked
    for, while the directories are as they were then. now: the person ended the wait for busy kernels.
    when_idle: the person wants them waited for without limit.
    waiting_since: when a swap started to wait for them. silent: why the host does not answer, if that is known.
    cut_short: steps that were started and did not end; what they change may be anything, whatever *served* says.
    refused: what the running host cannot be given, and only a new one can have: kinds of step with their `about`.
    damage: what is wrong with the environment of the running host; it is built again, or, being there, gets a new host.
    data_restarts: new data stops the kernels of the host.
    stopped: why no host is to run, as a sentence; "" when one is. restart: the host is to be replaced by a new one.
    """

    now: float
    disk: Disk
    served: Served | None = None
    host: HostFact = HostFact.NONE
    silent: str = ""
    busy: int = 0
    built: tuple[Environment, ...] = ()
    building: str | None = None
    failures: tuple[FailedAttempt, ...] = ()
    pinned: Target | None = None
    paused: bool = False
    now_please: bool = False
    when_idle: bool = False
    waiting_since: float | None = None
    cut_short: frozenset[Attempt] = frozenset()
    refused: frozenset[tuple[Attempt, object]] = frozenset()
    damage: str = ""
    data_restarts: bool = False
    swap_when_idle: float = 600.0
    settle: Settle = Settle()
    stopped: str = ""
    restart: bool = False
    removed: bool = False
    draining: bool = False


def plan(look: Look) -> Plan:
    """The next step for *look*, or the reason that there is none. Neither means: the target is served.

    The directories are independent: one that is held keeps the part of it that is served, the other is deployed.
    """
    if look.removed:
        return _remove(look)
    aim = _aim(look)
    if look.draining:
        hold = Hold(Why.DRAINING, "the daemon is stopping; it continues after its next start")
        return Plan(None, hold, aim.target, aim.source, aim.data)
    found = _stopped(look, aim) if look.stopped or look.restart else None
    found = found or _step(look, aim)
    source, data = aim.source or _saving(look.disk.source), aim.data or _saving(look.disk.data)
    return replace(found, hold=found.hold or aim.data or source or data, source=source, data=data)


def _step(look: Look, aim: _Aim) -> Plan:
    """The next step on the way to *aim*, or the hold, which is not that of the data."""
    target, hold = aim.target, aim.hold
    repaired = look.damage and look.served is not None and look.building == look.served.environment
    if look.building is not None and not repaired and _superseded(look.building, aim):
        return Plan(CancelBuild(look.building), hold, target)
    if target is None:
        return Plan(None, hold)
    if look.host in (HostFact.NONE, HostFact.ENDED):
        return _bring_up(look, target, hold)
    return _bring_to(look, target, hold)


def _remove(look: Look) -> Plan:
    """A notebook that is no longer configured: its build and host stop, in that order."""
    hold = Hold(Why.REMOVED, "the notebook was removed")
    if look.building is not None or look.host is HostFact.NONE:
        return Plan(CancelBuild(look.building) if look.building is not None else None, hold)
    away = _not_stopped(look)
    return Plan(None, Hold(Why.REMOVED, away.text, away.retry_at)) if away else Plan(Stop(), hold)


def _stopped(look: Look, aim: _Aim) -> Plan | None:
    """The way to no host: what is on disk is read, and nothing is done for it. None when another plan is due.

    A host that is to be restarted is stopped; the next observation then finds none and starts one.
    """
    hold = Hold(Why.STOPPED, look.stopped) if look.stopped else aim.hold
    if look.stopped and look.building is not None:
        return Plan(CancelBuild(look.building), hold, aim.target)
    if look.host in (HostFact.NONE, HostFact.ENDED):
        return Plan(None, hold, aim.target) if look.stopped else None
    if away := _not_stopped(look):
        return Plan(None, Hold(Why.BACKING_OFF, away.text, away.retry_at, away.tries), aim.target)
    return Plan(Stop(), hold, aim.target)


def _not_stopped(look: Look) -> FailedAttempt | None:
    """Why the host could not be stopped, while that is not tried again."""
    away = (one for one in look.failures if one.key == STOPPING and look.now < (one.retry_at or 0))
    return next(away, None)


@dataclass(frozen=True, slots=True)
class _Aim:
    """What is aimed at, and the holds if that is not what is on disk. hold: of the source, or of both directories."""

    target: Target | None
    hold: Hold | None = None
    source: Hold | None = None
    data: Hold | None = None


def _superseded(building: str, aim: _Aim) -> bool:
    """Whether a build in flight is of no use; a hold that passes by itself does not make it so."""
    if aim.source is not None or (aim.target is None and aim.data is not None):
        return False
    return aim.target is None or aim.target.environment != building


def _aim(look: Look) -> _Aim:
    """What is on disk, as far as it is not held.

    A hold on the content never takes down what is served: that part of the target then is what is served already, so
    that a host which ends meanwhile is still started again. Before anything is served, both directories are needed.
    """
    disk = look.disk
    stay = look.served.target if look.served else None
    stay = replace(stay, resources=disk.target.resources) if stay and disk.target else stay
    if look.paused:
        return _Aim(stay, Hold(Why.PAUSED, "paused by you"))
    source, data = _held(look, disk.source), _held(look, disk.data)
    if look.pinned is not None:
        text = f"rolled back to {look.pinned.source}; stays until the files change again"
        pinned = Hold(Why.PINNED, text, brief=f"rolled back to {look.pinned.source}")
        return _Aim(look.pinned, source or data or pinned, source, data)
    if disk.target is None or (stay is None and (source or data)):
        return _Aim(stay, source or data or Hold(Why.SCANNING, READING), source, data)
    target = disk.target
    if stay is not None and source is not None:
        target = replace(target, source=stay.source, environment=stay.environment)
    if stay is not None and data is not None:
        target = replace(target, data=stay.data)
    return _Aim(target, source, source, data)


def _held(look: Look, found: DirectoryState) -> Hold | None:
    """Why the content of one directory is not to be deployed as it is now."""
    if found.problem is not None:
        return Hold(Why.PROBLEM, found.problem)
    if found.reading:
        return Hold(Why.SCANNING, READING)
    if found.guard is not None and not found.accepted:
        return Hold(Why.MASS_CHANGE, found.guard, brief=found.brief)
    if found.git_busy and found.last is not None and look.now < found.last + look.settle.git_quiet:
        return Hold(Why.SETTLING, "git is at work in the tree", found.last + look.settle.git_quiet)
    if found.saving and found.first is not None and look.now < found.first + TOGETHER:
        return Hold(Why.SETTLING, str(being_written(found.saving)), found.first + TOGETHER)
    return None


def _saving(found: DirectoryState) -> Hold | None:
    """Why what is deployed of a directory that is not held is not all of it."""
    written = being_written(found.saving)
    return Hold(Why.SAVING, written) if written is not None else None


def being_written(saving: tuple[str, ...]) -> str | None:
    """The sentence about files that are still being written; None without any."""
    names = ", ".join(saving[:3]) + (f" and {len(saving) - 3} more" if saving[3:] else "")
    return f"still being written: {names}" if names else None


def _bring_up(look: Look, target: Target, hold: Hold | None) -> Plan:
    """No host runs: start one for the target, or for what was served while the target is not ready."""
    environment = _built(look, target.environment)
    failed = _failed(look, Attempt.HOST, target) or _failed(look, Attempt.BUILD, target)
    if environment is not None and failed is None:
        return Plan(Start(target, environment), hold, target)
    other = look.served is not None and target.resources != look.served.resources and failed is not None
    if look.served is not None and (other or target.environment != look.served.environment):
        before = replace(target, source=look.served.source, environment=look.served.environment)
        before = replace(before, resources=look.served.resources) if other else before
        old = _built(look, before.environment)
        if old is not None and _failed(look, Attempt.HOST, before) is None:
            return Plan(Start(before, old), hold or failed, target)
    if environment is None and failed is None:
        return _build(look, target, hold)
    return Plan(None, failed or hold, target)


def _bring_to(look: Look, target: Target, hold: Hold | None) -> Plan:
    """A host runs: the cheap steps first, then the environment."""
    served = look.served
    if look.host in (HostFact.SILENT, HostFact.LOST) or served is None:
        return _without_answer(look, target)
    holds = [hold]
    new = served.target  # and what of the target only a new host can have
    for attempt, part, change in (
        (Attempt.ATTACH, "data", Attach(target.data, look.data_restarts)),
        (Attempt.APPLY, "resources", Apply(target.resources)),
    ):
        wanted = getattr(target, part)
        if wanted == getattr(served, part) and attempt not in look.cut_short:
            continue
        if (attempt, about(attempt, target)) in look.refused:
            new = replace(new, **{part: wanted})
            continue
        ends = ends_kernels(change)
        holds.append(_failed(look, attempt, target) or (_busy(look, "new data restarts the host") if ends else None))
        if holds[-1] is None:
            return Plan(change, hold, target)
    rest = Plan(None, hold, target)
    if target.environment != served.environment:
        rest = _swap(look, target, served, hold)
        back = replace(target, source=served.source, environment=served.environment)
        begun = Attempt.SYNC in look.cut_short and (rest.hold is None or rest.hold.why is not Why.OPEN)
        if rest.step is None and begun and _failed(look, Attempt.SYNC, back) is None:
            rest = replace(rest, step=Sync(back))  # what is served stays whole meanwhile
    elif target.source != served.source or Attempt.SYNC in look.cut_short:
        failed = _failed(look, Attempt.SYNC, target)
        rest = Plan(None if failed else Sync(target), failed or hold, target)
        if (Attempt.SYNC, target) in look.refused:  # its directory is elsewhere, and it takes nothing
            rest = _renew(look, replace(target, data=served.data, resources=served.resources), hold)
    if rest.step is None and (new != served.target or look.damage) and not _swaps_soon(rest):
        renewal = _renew(look, new, hold)
        rest = replace(rest, step=renewal.step, hold=renewal.hold or rest.hold)
    first = next((hold for hold in (rest.hold, *holds) if hold is not None), None)
    return replace(rest, hold=first)


def _without_answer(look: Look, target: Target) -> Plan:
    """A host that runs and does not answer: it is stopped when the person says so, or when it cannot be reached."""
    silent = look.silent or "the host runs but does not answer"
    hold = Hold(Why.SILENT, f"{silent}; `kaosctl redeploy --now` starts another one", brief=silent)
    ends = look.now_please or look.host is HostFact.LOST
    failed = _failed(look, Attempt.HOST, target) if ends else None
    return Plan(Stop() if ends and failed is None else None, failed or hold, target)


def _swap(look: Look, target: Target, served: Served, hold: Hold | None) -> Plan:
    environment = _built(look, target.environment)
    if environment is None:
        failed = _failed(look, Attempt.BUILD, target)
        return Plan(None, failed, target) if failed else _build(look, target, hold)
    if failed := _failed(look, Attempt.HOST, target):
        return Plan(None, failed, target)
    keeps = environment.server == served.server
    if not keeps and (busy := _busy(look)):
        return Plan(None, busy, target)
    return Plan(Swap(target, environment, keeps), hold, target)


def _renew(look: Look, target: Target, hold: Hold | None) -> Plan:
    """A new host of the environment that is served: *target* has what the running one cannot be given."""
    environment = _built(look, target.environment)
    if environment is None:
        failed = _failed(look, Attempt.BUILD, target)
        return Plan(None, failed, target) if failed else _build(look, target, hold)
    if held := _failed(look, Attempt.HOST, target) or _busy(look):
        return Plan(None, held, target)
    return Plan(Renew(target, environment), hold, target)


def _swaps_soon(rest: Plan) -> bool:
    """Whether a new host comes anyhow, for another environment."""
    return rest.hold is not None and rest.hold.why in (Why.BUSY, Why.BUILDING, Why.SETTLING)


def _busy(look: Look, what: str = "the swap would end them") -> Hold | None:
    """The hold of a step that would end busy kernels, for as long as they are waited for."""
    since = look.waiting_since if look.waiting_since is not None else look.now
    until = None if look.when_idle else since + look.swap_when_idle
    if not look.busy or look.now_please or (until is not None and look.now >= until):
        return None
    kernels = "1 kernel is" if look.busy == 1 else f"{look.busy} kernels are"
    brief = f"{look.busy} busy kernel{'' if look.busy == 1 else 's'}"
    return Hold(Why.BUSY, f"{kernels} busy and {what}; `kaosctl redeploy --now` does not wait", until, brief=brief)


def _build(look: Look, target: Target, hold: Hold | None) -> Plan:
    """Build the target's environment once its inputs have settled, and what is being built is there."""
    if look.building is not None:
        return Plan(None, hold or Hold(Why.BUILDING, "the environment is being built"), target)
    first, last = look.disk.source.first, look.disk.source.last
    if first is not None and last is not None and look.served is not None:
        until = min(last + look.settle.quiet * (ONE_SAVE if look.disk.source.one else 1), first + look.settle.cap)
        if look.now < until:
            return Plan(None, Hold(Why.SETTLING, "waiting for the end of the save", until), target)
    return Plan(Build(target), hold, target)


def _built(look: Look, digest: str) -> Environment | None:
    return next((environment for environment in look.built if environment.digest == digest), None)


def _failed(look: Look, attempt: Attempt, target: Target) -> Hold | None:
    """The hold of an earlier failure of this very attempt, while another one is not due."""
    for failure in look.failures:
        if failure.attempt is attempt and failure.key == about(attempt, target):
            if failure.retry_at is None:
                return Hold(Why.CANCELLED if failure.cancelled else Why.FAILED, failure.text, brief=failure.brief)
            if look.now < failure.retry_at:
                why = Why.OPEN if failure.waits else Why.BACKING_OFF
                return Hold(why, failure.text, failure.retry_at, failure.tries, failure.brief)
    return None
