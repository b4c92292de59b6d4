"""`kaosctl wait, redeploy, pause, resume, cancel`: what a person tells one notebook."""

from __future__ import annotations

import time
from typing import Any

from kaosd.ctl import command_output, failure
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.picture import draw_notebook, working
from kaosd.ctl.screen import span

GRACE = 10.0  # seconds that the daemon may take to tell that time is up
OUTCOMES = {"live": 0, "timeout": failure.TIMED_OUT}  # anything else: failed


def wait(name: str, *, timeout: float | None = None, as_json: bool = False) -> int:
    """Return when what is on disk now is live, or why it will not be."""
    outcome = wait_for(Client(), name, timeout)
    command_output.tell(outcome, told(name, outcome), as_json=as_json)
    return OUTCOMES.get(outcome["outcome"], failure.FAILED)


def wait_for(client: Client, name: str, timeout: float | None, tries: int | None = None) -> dict[str, Any]:
    """The outcome of waiting: outcome, state, reason, hold, source, data, seconds.

    tries: failed attempts in a row that end it, although the daemon makes another one.
    """
    patience = None if timeout is None else timeout + GRACE
    wanted = {"timeout": timeout} | ({} if tries is None else {"tries": tries})
    return client.post(notebook_path(name, "wait"), wanted, timeout=patience)


def told(name: str, outcome: dict[str, Any]) -> list[str]:
    """The outcome in words."""
    where, word = command_output.here(), outcome["outcome"]
    if word == "live":
        versions = [("", str(outcome[key])) for key in ("source", "data") if outcome.get(key)]
        return where.flow([("good", f"● {name} live"), *versions, ("dim", span(outcome["seconds"]))], 4)
    if word == "timeout":
        head = f"✗ {name} is not live after {span(outcome['seconds'])}, but {outcome['state']}"
    else:
        head = f"{'‖' if word == 'held' else '✗'} {name} {word}"
    lines = where.flow([("bad", head)], 4)
    lines += [
        line for text in (outcome.get("reason") or "").splitlines() for line in where.flow([("", f"    {text}")], 4)
    ]
    if word == "timeout" and outcome.get("progress"):
        lines += where.flow([("dim", f"    {working(outcome['progress'])}")], 4)
    return [*lines, where.paint("strong", f"    see: kaosctl status {name}")]


def redeploy(
    name: str, *, force: bool = False, now: bool = False, when_idle: bool = False, as_json: bool = False
) -> int:
    """Deploy what is on disk again."""
    body = {"when_idle": True} if when_idle else {"force": force, "now": now}
    return _tell(name, "redeploy", body, as_json=as_json)


def pause(name: str, *, as_json: bool = False) -> int:
    """Apply no more changes."""
    return _tell(name, "pause", {}, as_json=as_json)


def resume(name: str, *, as_json: bool = False) -> int:
    """Apply changes again."""
    return _tell(name, "resume", {}, as_json=as_json)


def cancel(name: str, *, as_json: bool = False) -> int:
    """Stop the build in progress."""
    return _tell(name, "cancel", {}, as_json=as_json)


def _tell(name: str, what: str, body: dict[str, Any], *, as_json: bool) -> int:
    notebook = Client().post(notebook_path(name, what), body)
    command_output.tell(notebook, draw_notebook(notebook, time.time(), command_output.here()), as_json=as_json)
    return 0
