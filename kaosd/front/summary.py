"""What a person needs to know of a notebook at one glance: pure, out of its object of the status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kaosd.front.routes import DescribedRoute, Route
from kaosd.model import HostState, JobState, NotebookState, Stage

FAILED, WORKING, RESTING, READY = "failed", "working", "resting", "ready"


@dataclass(frozen=True, slots=True)
class Step:
    """One of the steps on the way to an open notebook. mark: "done", "now", "failed" or "later"."""

    label: str
    mark: str


@dataclass(frozen=True, slots=True)
class Summary:
    """tone: FAILED, WORKING, RESTING or READY. since: RFC 3339, when the work in hand started ("" when none is).

    expected: seconds that it usually takes, if that is known. doing: what is being done, in more words.

    error: what went wrong, as it was reported. next: what happens next.
    """

    tone: str
    title: str
    steps: tuple[Step, ...]
    since: str = ""
    expected: float | None = None
    doing: str = ""
    error: str = ""
    next: str = ""


def summarise(route: DescribedRoute, *, answering: bool) -> Summary:
    """The summary of a notebook. answering: whether its host answers now."""
    if answering:
        return _ready(route)
    if route.state == NotebookState.FAILED:
        return _failed(route)
    if route.state in (NotebookState.STOPPED, NotebookState.HELD) or route.status.get("paused"):
        return _resting(route)
    return _working(route)


def is_coming(route: Route) -> bool:
    """Whether a host can be expected without anybody doing anything."""
    return route.state not in (NotebookState.FAILED, NotebookState.STOPPED, NotebookState.HELD)


def field(route: DescribedRoute, *path: str) -> str:
    """A value inside the status as text; "" when it is absent or null."""
    value: Any = route.status
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def _ready(route: DescribedRoute) -> Summary:
    steps = (Step("Build", "done"), Step("Start", "done"), Step("Open", "done"))
    if route.state == NotebookState.FAILED:
        text = "The version before it is still served. Save a correction, and it is deployed again."
        error = _error_of(route)
        title = "The last change could not be deployed"
        return Summary(FAILED, title, steps, error=error, next=text)
    return Summary(READY, "JupyterLab is running", steps, error=field(route, "reason"))


def _failed(route: DescribedRoute) -> Summary:
    if field(route, "build", "state") == JobState.FAILURE:
        title = "The build failed"
        steps = (Step("Build", "failed"), Step("Start", "later"), Step("Open", "later"))
    else:
        title = "JupyterLab did not start"
        steps = (Step("Build", "done"), Step("Start", "failed"), Step("Open", "later"))
    text = "Save a correction: it is tried again at once, and this page opens the notebook when it works."
    return Summary(FAILED, title, steps, error=_error_of(route), next=text)


def _resting(route: DescribedRoute) -> Summary:
    steps = (Step("Build", "later"), Step("Start", "later"), Step("Open", "later"))
    reason = field(route, "reason")
    if route.status.get("paused"):
        return Summary(RESTING, "The notebook is paused", steps, error=reason)
    if route.state == NotebookState.HELD:
        return Summary(RESTING, "The deployment is held", steps, error=reason)
    text = "Opening its address starts it; files, edits and history are as they were."
    return Summary(RESTING, "The notebook is stopped", steps, error=reason, next=text)


def _working(route: DescribedRoute) -> Summary:
    building = field(route, "build", "state") in (JobState.STARTING, JobState.RUNNING)
    if (field(route, "progress", "stage") or (Stage.BUILD if building else "")) == Stage.BUILD:
        steps = (Step("Build", "now"), Step("Start", "later"), Step("Open", "later"))
        since, title = field(route, "build", "started_at"), "Building the environment"
        return Summary(WORKING, title, steps, since=since, expected=_expected(route), doing=_doing(route))
    steps = (Step("Build", "done"), Step("Start", "now"), Step("Open", "later"))
    again = field(route, "host", "state") == HostState.RESTARTING
    title = "Starting JupyterLab again" if again else "Starting JupyterLab"
    since = field(route, "host", "since") or field(route, "deployment", "started_at")
    error = field(route, "reason") if again else ""
    return Summary(WORKING, title, steps, since=since, expected=_expected(route), doing=_doing(route), error=error)


def _error_of(route: DescribedRoute) -> str:
    """Why the notebook is in its state; the errors of its last deployment and build may be older than that."""
    return field(route, "reason")


def _doing(route: DescribedRoute) -> str:
    step, text = field(route, "progress", "step"), field(route, "progress", "text")
    return f"Step {step} of {field(route, 'progress', 'steps')}: {text}" if step else text


def _expected(route: DescribedRoute) -> float | None:
    seconds = (route.status.get("progress") or {}).get("expected")
    return float(seconds) if seconds is not None else None
