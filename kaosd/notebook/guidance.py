"""What a person needs to know of a notebook at a glance, and what they can do: one sentence, a tone, next steps.

Pure, and worked out only here: the client, the pages and JupyterLab draw what stands in the notebook's object.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from kaosd.model import DeployCheck, HostState, NotebookState, Progress, Stage
from kaosd.notebook.standing import Standing
from kaosd.planner import Why, ends_kernels
from kaosd.wire import ActionObject, NextObject, Tone

LONGEST = 100  # characters of a summary
DATA = "new data restarts JupyterLab"

TONES: dict[NotebookState, Tone] = {
    NotebookState.LIVE: "ok",
    NotebookState.STALE: "busy",
    NotebookState.BUILDING: "busy",
    NotebookState.SWAPPING: "busy",
    NotebookState.HELD: "warn",
    NotebookState.FAILED: "bad",
    NotebookState.STOPPED: "ok",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What the answers are made of. state, reason: see standing.state.

    left: seconds until the hold passes, None when that is not known. busy, outdated: numbers of kernels. by_hand:
    packages that were installed by hand. notice: what happened to the running host. memory: see
    resource_use.near_limit.
    """

    name: str
    standing: Standing
    state: NotebookState
    reason: str | None
    host: HostState
    progress: Progress | None = None
    build_failed: bool = False
    left: float | None = None
    busy: int = 0
    outdated: int = 0
    memory: str = ""
    warnings: int = 0
    refused: int = 0
    recovered: int = 0
    by_hand: int = 0
    notice: str = ""
    failed_checks: tuple[DeployCheck, ...] = ()
    can_roll_back: bool = False


@dataclass(frozen=True, slots=True)
class Next:
    """Something that the person can do. command: for a terminal. verb, body: the request that does it, if one does."""

    label: str
    command: str
    verb: str | None = None
    body: dict[str, Any] = field(default_factory=dict)

    def shown(self) -> NextObject:
        """The object of `status --json`."""
        action: ActionObject | None = {"verb": self.verb, "body": dict(self.body)} if self.verb is not None else None
        return {"label": self.label, "command": self.command, "action": action}


def summary(known: Known) -> str:
    """The notebook's state in one sentence that fits a line of a screen."""
    match known.state:
        case NotebookState.LIVE:
            text = ", ".join(["live", *_asides(known)])
        case NotebookState.BUILDING:
            text = _building(known)
        case NotebookState.SWAPPING | NotebookState.STOPPED:
            text = known.reason or known.state.value
        case NotebookState.STALE if known.progress is not None:
            text = known.progress.text
        case _:
            text = f"{known.state.value}: {_brief(known)}"
    return _one_line(text)


def tone(known: Known) -> Tone:
    """How the summary is to be coloured."""
    if known.state is NotebookState.LIVE and _asides(known):
        return "warn"
    return TONES[known.state]


def next_steps(known: Known) -> list[Next]:
    """What the person would want to do next, the likeliest first; none when all is well."""
    return [*_by_state(known), *_failed_checks(known), *_keepsakes(known)]


def swap(known: Known) -> tuple[int, str] | None:
    """The busy kernels that a swap or restart will stop, and why it comes; None without one.

    It waits for them first, or is being done.
    """
    hold, step = known.standing.plan.hold, known.standing.stepping
    if ends_kernels(step):
        return known.busy, f"kaosd is {known.reason}" if known.reason else DATA
    return (known.busy, hold.text) if hold is not None and hold.why is Why.BUSY else None


def _why(known: Known) -> Why | None:
    hold = known.standing.plan.hold
    return hold.why if hold is not None else None


def _asides(known: Known) -> list[str]:
    """What is worth attention although the content on disk is served."""
    found = [text for text in ("paused by you" if known.standing.paused else "", known.notice, known.memory) if text]
    found += map(_check, known.failed_checks)
    found += [
        text
        for number, text in (
            (known.warnings, _count(known.warnings, "warning")),
            (known.refused, f"{_count(known.refused, 'path')} left out"),
            (known.outdated, f"{_count(known.outdated, 'kernel')} on an older environment"),
        )
        if number
    ]
    return found


def _building(known: Known) -> str:
    """How far the build is; when there is nothing to tell of that, why it is made."""
    at = known.progress
    if at is None or at.stage is not Stage.BUILD:
        return f"building: {known.reason}"
    if at.step is None:
        return f"building: {at.text}"
    return f"building: step {at.step} of {at.steps}, {at.text}"


def _brief(known: Known) -> str:
    """Why the notebook is in its state, in few words, and for how long."""
    hold, failures = known.standing.plan.hold, known.standing.failures
    if hold is None or hold.text != known.reason:
        brief = next((failure.brief for failure in failures if failure.text == known.reason), "")
        return brief or known.reason or ""
    text = hold.brief or hold.text
    return f"{text}, {_clock(known.left)} left" if hold.why is Why.BUSY and known.left is not None else text


def _by_state(known: Known) -> list[Next]:
    name = known.name
    match known.state:
        case NotebookState.FAILED:
            return _after_failure(known)
        case NotebookState.HELD | NotebookState.LIVE if known.standing.paused:
            return [Next("resume", f"kaosctl resume {name}", "resume")]
        case NotebookState.HELD:
            return _held(known)
        case NotebookState.STALE if known.standing.unread is None:
            return [Next("logs", f"kaosctl logs {name}")]
        case NotebookState.STOPPED if known.standing.is_stopped:
            return [Next("start", f"kaosctl start {name}", "start")]
        case _:
            return []


def _after_failure(known: Known) -> list[Next]:
    name, why, now = known.name, _why(known), known.standing
    if why is Why.CANCELLED:
        return [_redeploy("build again", name)]
    steps = [Next("logs", f"kaosctl logs {name} {_evidence(known)}")]
    if why is Why.SILENT:
        return [*steps, _redeploy("restart now", name, now=True)]
    if why is Why.BACKING_OFF:
        steps.append(_redeploy("try again now", name))
    if now.served is not None and now.served.source != now.source and known.can_roll_back:
        steps.append(Next("roll back", f"kaosctl rollback {name}", "rollback"))
    return steps


def wait_steps(name: str, *, limited: bool) -> list[Next]:
    """What can be done about a wait for busy kernels. limited: it passes by itself."""
    when_idle = Next("wait until idle", f"kaosctl redeploy {name} --when-idle", "redeploy", {"when_idle": True})
    return [_redeploy("redeploy now", name, now=True), *([when_idle] if limited else [])]


def _held(known: Known) -> list[Next]:
    name = known.name
    match _why(known):
        case Why.BUSY:
            return wait_steps(name, limited=known.left is not None)
        case Why.PINNED:
            return [_redeploy("follow the files again", name)]
        case Why.MASS_CHANGE:
            return [_redeploy("deploy it all the same", name, force=True)]
        case _:
            return [Next("logs", f"kaosctl logs {name} --stage watch")]


def _failed_checks(known: Known) -> list[Next]:
    """The way to see the traceback of a notebook file that failed after the deployment."""
    return [Next("run again", f"kaosctl run {known.name} {shlex.quote(one.notebook)}") for one in known.failed_checks]


def _check(one: DeployCheck) -> str:
    """What a notebook file that failed says of itself."""
    return f"{one.notebook} failed" + (f" in cell {one.cell}" if one.cell is not None else "")


def _keepsakes(known: Known) -> list[Next]:
    """Where the copies of edits are listed, and what was installed by hand."""
    steps = [Next("kept copies", f"kaosctl recovered {known.name}")] if known.recovered else []
    return [*steps, Next("packages", f"kaosctl env {known.name}")] if known.by_hand else steps


def _evidence(known: Known) -> str:
    """The options of `kaosctl logs` that show the part that failed."""
    if known.host in (HostState.FAILURE, HostState.RESTARTING):
        return "--stage host"
    return "--stage build" if known.build_failed else "--deploy failed"


def _redeploy(label: str, name: str, *, force: bool = False, now: bool = False) -> Next:
    options = (" --force" if force else "") + (" --now" if now else "")
    return Next(label, f"kaosctl redeploy {name}{options}", "redeploy", {"force": force, "now": now})


def _one_line(text: str) -> str:
    """The first line of a text, no longer than a summary may be."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _clock(seconds: float) -> str:
    """Minutes and seconds: 9:40."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02}"


def _count(number: int, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"
