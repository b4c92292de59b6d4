"""A notebook as the world sees it: its object in `status --json`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, overload

from kaosd import display, wire
from kaosd.bundle import Refused, Verdict
from kaosd.engines.base import Contents
from kaosd.journal import Live
from kaosd.model import (
    ByHand,
    Deployment,
    HostStatus,
    Job,
    JobState,
    LostKernels,
    NotebookSpec,
    NotebookState,
    Progress,
    Version,
)  # fmt: skip
from kaosd.notebook import guidance, tab_notices
from kaosd.notebook.resource_use import Sample, kernel_rates, near_limit, rate
from kaosd.notebook.standing import Standing, host_state, state
from kaosd.planner import Hold


@overload
def rfc3339(at: float) -> str: ...


@overload
def rfc3339(at: None) -> None: ...


@overload
def rfc3339(at: float | None) -> str | None: ...


def rfc3339(at: float | None) -> str | None:
    """A time as text, in UTC with milliseconds."""
    return None if at is None else display.rfc3339(at)


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
    progress: Progress | None
    until: float | None = None  # when the hold passes
    samples: list[Sample] = field(default_factory=list)  # of what the host has used
    gpu_memory: int | None = None  # bytes in use; None: not known
    can_roll_back: bool | None = None  # only told where that is the way out
    edits: dict[str, int] | None = None  # made in the notebook: how many edited, new, deleted; None: not known yet
    copy: tab_notices.Copy | None = None
    repos: tuple[str, ...] = ()  # of the engine; none where all is in the state directory


def notebook(facts: Facts) -> wire.NotebookObject:
    """The object of one notebook in `kaosctl status --json` (see `kaosctl help json`; fields are only ever added)."""
    spec, status, now = facts.spec, facts.status, facts.standing
    word, reason = state(now)
    known = _known(facts, word, reason)
    warned = (*facts.warnings, known.memory) if known.memory else facts.warnings
    return {
        "name": spec.name,
        "workspace": spec.workspace,
        "user": spec.user,
        "engine": spec.engine,
        "state": word.value,
        "reason": reason,
        **_answers(known, facts.until),
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
        "usage": _usage(facts),
        "source": _bundle(spec.source, now.source, facts.live.source, now.plan.source),
        "data": {**_bundle(spec.data, now.data, facts.live.data, now.plan.data), "mode": spec.data_mode.value},
        "deployment": None if facts.deployment is None else deployment(facts.deployment),
        "build": None if facts.build is None else job(facts.build),
        "checks": [asdict(check) for check in facts.deployment.checks] if facts.deployment is not None else [],
        "host": _host(now, status, facts.host_since, facts.live.lost),
        "refused": list(facts.refused),
        "warnings": list(warned),
        "environment": _environment(facts),
        "recovered": facts.recovered,
        "edits": facts.edits,
        "can_roll_back": facts.can_roll_back,
        "registered": spec.registered,
        "repos": list(facts.repos),
        "notices": [notice.shown() for notice in tab_notices.notices(_causes(facts, known))],
    }


def _environment(facts: Facts) -> wire.EnvironmentObject:
    """What is known of the environment. change: by which it differs from the one before."""
    by_hand, change = facts.status.by_hand if facts.status else (), facts.live.change
    changed: wire.PackageChangesObject | None = None
    if change is not None:
        added, removed = list(change.added), list(change.removed)
        changed = {"added": added, "removed": removed, "changed": list(change.changed)}
    packages: list[wire.ByHandObject] = [
        {"name": one.name, "version": one.version, "requested": one.requested} for one in by_hand
    ]
    return {"file": facts.environment_file, "by_hand": packages, "change": changed}


def _known(facts: Facts, word: NotebookState, reason: str | None) -> guidance.Known:
    now, status, build = facts.standing, facts.status, facts.build
    return guidance.Known(
        name=facts.spec.name,
        standing=now,
        state=word,
        reason=reason,
        host=host_state(now),
        progress=facts.progress,
        build_failed=build is not None and build.state is JobState.FAILURE,
        left=facts.until - time.time() if facts.until is not None else None,
        busy=status.busy if status else 0,
        outdated=len(status.outdated) if status else 0,
        memory=near_limit(rate(facts.samples), facts.spec.resources.memory_bytes),
        warnings=len(facts.warnings),
        refused=len(facts.refused),
        recovered=facts.recovered,
        by_hand=len(status.by_hand) if status else 0,
        notice=status.notice if status else "",
        failed_checks=tuple(one for one in facts.deployment.checks if one.outcome == "failed")
        if facts.deployment is not None
        else (),
        can_roll_back=bool(facts.can_roll_back),
    )


def _answers(known: guidance.Known, until: float | None) -> wire.AnswersObject:
    """What the readers of the object draw; see answers."""
    return {
        "summary": guidance.summary(known),
        "tone": guidance.tone(known),
        "next": [step.shown() for step in guidance.next_steps(known)],
        "progress": _progress(known.progress),
        "swap": _swap(known, until),
    }


def _causes(facts: Facts, known: guidance.Known) -> tab_notices.Causes:
    """What the notices of open tabs are made of."""
    plan = facts.standing.plan
    return tab_notices.Causes(
        name=known.name,
        now=time.time(),
        state=known.state,
        reason=known.reason,
        since=facts.since,
        serving=facts.standing.serving,
        hold=plan.hold,
        source=plan.source,
        data=plan.data,
        until=facts.until,
        busy=known.busy,
        steps=guidance.next_steps(known),
        build_failed=known.build_failed,
        updated=_updated(facts),
        by_hand=facts.status.by_hand if facts.status else (),
        file=facts.environment_file,
        memory=known.memory,
        lost=facts.live.lost,
        copy=facts.copy,
        happened=known.notice,
        host_since=facts.host_since,
    )


def _updated(facts: Facts) -> tab_notices.Updated | None:
    """The environment that kernels get when they start now."""
    environment, build = facts.live.environment, facts.build
    if environment is None or facts.status is None:
        return None
    at = (build.finished_at if build is not None else None) or facts.host_since
    return tab_notices.Updated(environment.digest, at, facts.status.outdated, facts.live.change)


def _progress(now: Progress | None) -> wire.ProgressObject | None:
    """How far the work in hand is. seconds: since it was started; expected: how many it usually takes."""
    if now is None:
        return None
    return {
        "stage": now.stage.value,
        "step": now.step,
        "steps": now.steps,
        "text": now.text,
        "seconds": _seconds(now.since, None),
        "expected": now.expected,
    }


def _swap(known: guidance.Known, until: float | None) -> wire.SwapObject | None:
    """A swap or restart that will stop kernels and waits for busy ones, *until* when at the latest."""
    coming = guidance.swap(known)
    return {"busy": coming[0], "until": rfc3339(until), "why": coming[1]} if coming is not None else None


def _usage(facts: Facts) -> wire.UsageObject | None:
    """What the host uses now: bytes of memory, processors as a number of cores; null where that is not known."""
    whole = rate(facts.samples)
    if whole is None:
        return None
    kernels: list[wire.KernelUsageObject] = [
        {"id": kernel, "memory": used.memory, "cpu": used.cpu}
        for kernel, used in sorted(kernel_rates(facts.samples).items())
    ]
    return {"memory": whole.memory, "cpu": whole.cpu, "gpu_memory": facts.gpu_memory, "kernels": kernels}


def _host(now: Standing, status: HostStatus | None, since: float, lost: LostKernels | None) -> wire.HostObject:
    return {
        "state": host_state(now).value,
        "since": rfc3339(since),
        "restarts": now.restarts,
        "kernels": status.kernels if status else 0,
        "busy": status.busy if status else 0,
        "outdated": len(status.outdated) if status else 0,
        "outdated_kernels": list(status.outdated) if status else [],
        "lost": {"kernels": lost.kernels, "why": lost.why, "at": rfc3339(lost.at)} if lost else None,
        "reason": (status.reason if status else "") or None,
        "notice": (status.notice if status else "") or None,
    }


def _bundle(path: object, disk: Version | None, live: Version | None, hold: Hold | None) -> wire.BundleObject:
    """One directory. hold: why what is on disk is not deployed, if that is so."""
    return {
        "path": str(path) if path is not None else None,
        "disk": str(disk) if disk is not None else None,
        "live": str(live) if live is not None else None,
        "hold": hold.text if hold is not None else None,
    }


def deployment(one: Deployment) -> wire.DeploymentObject:
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
        "checks": [asdict(check) for check in one.checks],
    }


def job(one: Job) -> wire.JobObject:
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
    shown = display.printable(os.fsdecode(inside)) if inside != b"." else f"the {kind} directory itself"
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
        yield f"{display.printable(os.fsdecode(one.path))}: {one.reason}"


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
            {**asdict(one), "instead_of": found.packages.get(one.name), "keep": keep(name, one, file)}
            for one in found.by_hand
        ],
        "unused": found.unused,
    }


def keep(name: str, one: ByHand, file: str | None) -> str | None:
    """What to do so that a package installed by hand is part of the environment; None when it came with another."""
    if not one.requested:
        return None
    line = f"{one.name}=={one.version}"
    if file is None or file.endswith((".txt", ".toml", ".yml", ".yaml")):
        return f"kaosctl add {name} {line}"
    return f"add {line} to the dependencies in {file}"
