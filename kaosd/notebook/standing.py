"""How a notebook stands, out of what was planned for what is served: its state in one word, with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from kaosd.model import HostState, NotebookState, Version
from kaosd.planner import Attempt, FailedAttempt, HostFact, Plan, Renew, Served, Start, Step, Stop, Swap, Sync, Why

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
    Why.CANCELLED: "failed",
    Why.SILENT: "failed",
    Why.PROBLEM: "held",
    Why.MASS_CHANGE: "held",
    Why.PAUSED: "held",
    Why.PINNED: "held",
    Why.STOPPED: "held",
    Why.REMOVED: "failed",
    Why.DRAINING: "failed",
}


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
    failures: tuple[FailedAttempt, ...] = ()
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
    if hold is not None and why in (Why.FAILED, Why.CANCELLED, Why.BACKING_OFF, Why.SILENT):
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
    return NotebookState.STALE, "a change on disk is being applied" if now.serving else "not started yet"


def _waiting(now: Standing) -> str | None:
    """The open document that a step waited for which is being tried again: for the user the wait continues."""
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
