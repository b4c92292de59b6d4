"""A notebook as the world sees it: its state in one word with the reason, and its object in `status --json`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from kaosd import text
from kaosd.bundle import Refused, Verdict
from kaosd.engines.base import Contents
from kaosd.journal import Live
from kaosd.model import ByHand, Deployment, HostState, HostStatus, Job, NotebookSpec, NotebookState, Version
from kaosd.planner import Attempt, Failure, Hold, HostFact, Plan, Renew, Served, Start, Step, Stop, Swap, Sync, Why

HELD = (Why.PAUSED, Why.MASS_CHANGE, Why.PROBLEM, Why.PINNED, Why.BUSY, Why.OPEN)
WORD = {
    Start: "starting JupyterLab",
    Swap: "taking the new environment into use",
    Renew: "starting another host for the new limits or data",
    Stop: "stopping JupyterLab",
}

# How a wait for what is on disk ends when a hold will not pass by itself.
FINAL = {
    Why.FAILED: "failed",
    Why.SILENT: "failed",
    Why.PROBLEM: "held",
    Why.MASS_CHANGE: "held",
    Why.PAUSED: "held",
    Why.PINNED: "held",
    Why.STOPPED: "held",
    Why.REMOVED: "failed",
    Why.DRAINING: "failed",
}


def rfc3339(at: float | None) -> str | None:
    """A time as text, in UTC with milliseconds."""
    return None if at is None else text.rfc3339(at)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a notebook stands: what was planned for what is served. source, data: as they are on disk."""

    plan: Plan
    served: Served | None
    host: HostFact
    source: Version | None
    data: Version | None
    stepping: Step | None = None
    building: bool = False
    failures: tuple[Failure, ...] = ()
    paused: bool = False
    stopped: str = ""  # why no host is to run, as a sentence
    restarts: int = 0
    cut_short: bool = False  # a step was begun and did not end: nobody knows what the host holds
    unread: str | None = None  # why *source* and *data* need not be all that is on disk, as a sentence
    damage: str = ""  # what is wrong with the environment of the host

    @property
    def is_stopped(self) -> bool:
        """Whether no host runs, because none is wanted."""
        return bool(self.stopped) and self.host is HostFact.NONE and self.stepping is None

    @property
    def serving(self) -> bool:
        """Whether a host answers."""
        return self.served is not None and self.host is HostFact.RUNNING

    @property
    def fresh(self) -> bool:
        """Whether what is (or was last) served is what is on disk."""
        served = self.served
        return served is not None and not self.cut_short and (served.source, served.data) == (self.source, self.data)


def state(now: Standing) -> tuple[NotebookState, str | None]:
    """The state as a whole; there is a reason unless the content on disk is served."""
    hold = now.plan.hold
    why = hold.why if hold is not None else None
    if why is Why.REMOVED:
        return NotebookState.STOPPED, "removed"
    if waiting := _waiting(now):
        return NotebookState.HELD, waiting
    if isinstance(now.stepping, (Start, Swap, Renew, Stop)):
        return NotebookState.SWAPPING, WORD[type(now.stepping)]
    if now.is_stopped:
        return NotebookState.STOPPED, now.stopped
    if hold is not None and why in (Why.FAILED, Why.BACKING_OFF, Why.SILENT):
        return NotebookState.FAILED, hold.text
    if now.building:
        again = f" again: {now.damage}" if now.damage else ""
        return NotebookState.BUILDING, f"the environment is being built{again}"
    if hold is not None and why in HELD and not (why is Why.PAUSED and now.serving and now.fresh and not now.damage):
        return NotebookState.HELD, hold.text
    if now.serving and now.fresh:
        wrong = now.damage or now.unread
        return (NotebookState.STALE, wrong) if wrong else (NotebookState.LIVE, None)
    if not now.serving and now.failures:
        return NotebookState.FAILED, now.failures[-1].text
    if hold is not None:
        return NotebookState.STALE, hold.text
    return NotebookState.STALE, "a change on disk is being taken over" if now.serving else "not started yet"


def _waiting(now: Standing) -> str | None:
    """The open document that a step waited for which is being tried again: to whoever looks the wait goes on."""
    step = now.stepping or now.plan.step
    if not isinstance(step, Sync if now.stepping else (Sync, Swap, Renew)):
        return None
    return next((one.text for one in now.failures if one.waits and one.key == step.target), None)


def final(plan: Plan, tries: int | None = None) -> str | None:
    """How a wait ends because of what is planned; None while that may still change by itself.

    tries: failed attempts in a row after which the caller no longer waits for another one; None: never.
    """
    if plan.hold is None or plan.step is not None:
        return None
    if plan.hold.why is Why.BACKING_OFF and tries is not None and plan.hold.tries >= tries:
        return "failed"
    return FINAL.get(plan.hold.why)


def host_state(now: Standing) -> HostState:
    """The host's state in the words of kaos."""
    if now.host is HostFact.RUNNING:
        return HostState.RUNNING
    starting = isinstance(now.stepping, Start)
    if now.is_stopped:
        return HostState.STANDBY
    if now.host in (HostFact.SILENT, HostFact.LOST):
        return HostState.FAILURE
    if not starting and any(failure.attempt is Attempt.HOST for failure in now.failures):
        return HostState.FAILURE
    if starting or now.host is HostFact.ENDED or now.served is not None:
        return HostState.RESTARTING if now.restarts or now.served is not None else HostState.STARTING
    return HostState.PAUSED if now.paused else HostState.STANDBY


@dataclass(frozen=True, slots=True)
class Facts:
    """What the object of a notebook is made of."""

    spec: NotebookSpec
    url: str
    standing: Standing
    since: float
    enforced: bool
    live: Live
    host_since: float
    status: HostStatus | None
    deployment: Deployment | None
    build: Job | None
    refused: tuple[str, ...]
    warnings: tuple[str, ...]
    environment_file: str | None
    recovered: int
    progress: str | None
    can_roll_back: bool | None = None  # only told where that is the way out


def notebook(facts: Facts) -> dict[str, Any]:
    """The object of one notebook in `kaosctl status --json` (see `kaosctl help json`; fields are only ever added)."""
    spec, status, now = facts.spec, facts.status, facts.standing
    word, reason = state(now)
    return {
        "name": spec.name,
        "workspace": spec.workspace,
        "user": spec.user,
        "engine": spec.engine,
        "state": word.value,
        "reason": reason,
        "hold": now.plan.hold.why.value if now.plan.hold is not None else None,
        "since": rfc3339(facts.since),
        "paused": now.paused,
        "url": facts.url,
        "resources": {
            "cpu": spec.resources.cpu,
            "memory": spec.resources.memory,
            "gpu": spec.resources.gpu,
            "enforced": facts.enforced,
        },
        "source": _bundle(spec.source, now.source, facts.live.source, now.plan.source),
        "data": _bundle(spec.data, now.data, facts.live.data, now.plan.data) | {"mode": spec.data_mode.value},
        "deployment": None if facts.deployment is None else deployment(facts.deployment),
        "build": None if facts.build is None else job(facts.build),
        "host": _host(now, status, facts.host_since),
        "refused": list(facts.refused),
        "warnings": list(facts.warnings),
        "environment": {
            "file": facts.environment_file,
            "by_hand": [asdict(one) for one in status.by_hand] if status else [],
        },
        "recovered": facts.recovered,
        "progress": facts.progress,
        "can_roll_back": facts.can_roll_back,
        "registered": spec.registered,
    }


def _host(now: Standing, status: HostStatus | None, since: float) -> dict[str, Any]:
    return {
        "state": host_state(now).value,
        "since": rfc3339(since),
        "restarts": now.restarts,
        "kernels": status.kernels if status else 0,
        "busy": status.busy if status else 0,
        "reason": (status.reason if status else "") or None,
        "notice": (status.notice if status else "") or None,
    }


def _bundle(path: object, disk: Version | None, live: Version | None, hold: Hold | None) -> dict[str, Any]:
    """One directory. hold: why what is on disk is not deployed, if that is so."""
    return {
        "path": str(path) if path is not None else None,
        "disk": str(disk) if disk is not None else None,
        "live": str(live) if live is not None else None,
        "hold": hold.text if hold is not None else None,
    }


def deployment(one: Deployment) -> dict[str, Any]:
    """A deployment's object."""
    return {
        "number": one.number,
        "cause": list(one.cause),
        "action": one.action,
        "source": str(one.source) if one.source else None,
        "data": str(one.data) if one.data else None,
        "started_at": rfc3339(one.started_at),
        "finished_at": rfc3339(one.finished_at),
        "seconds": _seconds(one.started_at, one.finished_at),
        "outcome": one.outcome,
        "error": one.error,
    }


def job(one: Job) -> dict[str, Any]:
    """A job's object; "job" is its id."""
    return {
        "job": one.id,
        "id": one.id,
        "stage": one.stage.value,
        "state": one.state.value,
        "started_at": rfc3339(one.started_at),
        "seconds": _seconds(one.started_at, one.finished_at),
        "error": one.error,
        "log": one.log,
    }


def why(
    kind: str, inside: bytes, verdict: Verdict, inputs: frozenset[bytes], top: bytes = b"model", does: str = ""
) -> dict[str, Any]:
    """What a change of one path means. inside: the path in the bundle. inputs: the environment inputs.

    top: the directory of the bundle that is the notebook's root, b"" for the bundle itself. does: see declared.meaning.
    """
    if verdict.ignored:
        costs, says = "nothing", "is left out of the bundle"
    elif kind == "data":
        costs, says = "attach", "is data"
    elif inside in inputs:
        costs, says = "build", "is an environment input"
    elif not top or inside.startswith(top + b"/"):
        costs, says = "sync", "is code"
    else:
        costs, says = "nothing", f"is in the bundle, but neither an environment input nor below {os.fsdecode(top)}/"
    shown = text.printable(os.fsdecode(inside)) if inside != b"." else f"the {kind} directory itself"
    rule = f" (rule {verdict.rule} of {verdict.origin})" if verdict.rule else ""
    if rule and verdict.line is not None:
        rule = f" (rule {verdict.rule}, {verdict.origin}:{verdict.line})"
    return {
        "kind": kind,
        "counts": not verdict.ignored,
        "rule": verdict.rule,
        "origin": verdict.origin,
        "line": verdict.line,
        "costs": costs,
        "text": f"{shown} {says}{rule}" + (f"; {does}" if does else ""),
    }


def refusals(refused: Iterable[Refused]) -> Iterator[str]:
    """What was left out of a bundle, in words."""
    for one in refused:
        yield f"{text.printable(os.fsdecode(one.path))}: {one.reason}"


def _seconds(started: float, finished: float | None) -> float:
    return round(max(0.0, (finished if finished is not None else time.time()) - started), 3)


def contents(name: str, file: str | None, found: Contents) -> dict[str, Any]:
    """The object of what a notebook's environment holds. file: where it is asked for."""
    return {
        "name": name,
        "file": file,
        "python": found.python,
        "packages": [{"name": one, "version": version} for one, version in found.packages.items()],
        "by_hand": [
            {**asdict(one), "instead_of": found.packages.get(one.name), "keep": keep(one, file)}
            for one in found.by_hand
        ],
        "unused": found.unused,
    }


def keep(one: ByHand, file: str | None) -> str | None:
    """What to do so that a package installed by hand is part of the environment; None when it came with another."""
    if not one.requested:
        return None
    where = file or "model/requirements.txt"
    line = f"{one.name}=={one.version}"
    return f"add the line {line} to {where}" if where.endswith(".txt") else f"add {line} to the dependencies in {where}"
