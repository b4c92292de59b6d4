"""`kaosctl start, stop, restart`: whether a notebook's JupyterLab runs; without a name, whether the daemon does."""

from __future__ import annotations

import os
import select
import sys

from kaosd.ctl import browse, command_output, failure, files, starting, status, steering
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.failure import Failure

TRIES = 3  # failed attempts in a row after which the user hears of it, while the daemon tries again
PATIENCE = 90.0  # seconds that the daemon may take to stop; its steps have stop_grace for that


def start(name: str | None = None, *, as_json: bool = False) -> int:
    """Start a stopped notebook and return when it is live; without a name start the daemon."""
    client = Client()
    began = starting.ensure(client)
    if name is None:
        found = client.get("/v1/status")
        count = len(found["notebooks"])
        shown = f"{'started' if began else 'runs already'}, {count} notebook{'' if count == 1 else 's'}"
        command_output.tell({"started": began, "daemon": found["daemon"]}, [f"kaosd {shown}"], as_json=as_json)
        return 0
    client.post(notebook_path(name, "start"))
    return _until_live(client, name, as_json=as_json)


def restart(name: str, *, kernels: bool = False, yes: bool = False, as_json: bool = False) -> int:
    """Replace a notebook's JupyterLab by a new one of the same address, or restart its kernels only."""
    client = Client()
    _agree(client, name, "Restart the kernels of" if kernels else "Restart", yes=yes)
    answer = client.post(notebook_path(name, "restart"), {"kernels": kernels}, timeout=PATIENCE)
    if not kernels:
        return _until_live(client, name, as_json=as_json)
    count = answer["restarted"]
    line = f"● {name}: {count} kernel{' was' if count == 1 else 's were'} restarted"
    command_output.tell(answer, [command_output.here().paint("good", line)], as_json=as_json)
    return 0


def stop(name: str | None = None, *, yes: bool = False, as_json: bool = False) -> int:
    """Stop a notebook's JupyterLab, which stays registered; without a name stop the daemon."""
    client = Client()
    if name is None:
        return _stop_daemon(client, as_json=as_json)
    _agree(client, name, "Stop", yes=yes)
    answer = client.post(notebook_path(name, "stop"))
    where = command_output.here()
    again = where.flow(
        [("dim", "    its directories are still followed; to start it:"), ("strong", f"kaosctl start {name}")], 4
    )
    if answer["state"] == "stopped":
        command_output.tell(answer, [where.paint("", f"○ {name} is stopped"), *again], as_json=as_json)
        return 0
    text = answer.get("reason") or answer["state"]
    command_output.tell(
        answer, [*where.flow([("busy", f"◐ {name} is not stopped yet:"), ("", text)], 4)], as_json=as_json
    )
    return failure.FAILED


def _until_live(client: Client, name: str, *, as_json: bool) -> int:
    """Wait for a notebook that was started, and print its address."""
    outcome = steering.wait_for(client, name, None, TRIES)
    found = status.fetch(client, name)
    url = files.address(found["daemon"]["state_dir"], found["notebooks"][0])
    where, lines = command_output.here(), steering.told(name, outcome)
    if outcome["outcome"] == "live":
        lines += [where.paint("link", url), *browse.tunnel(url, where)]
    command_output.tell({**outcome, "notebook": found["notebooks"][0], "url": url}, lines, as_json=as_json)
    return steering.OUTCOMES.get(outcome["outcome"], failure.FAILED)


def _agree(client: Client, name: str, what: str, *, yes: bool) -> None:
    """Return when no kernel is busy, or the user agrees that busy ones stop; else Failure."""
    host = status.fetch(client, name)["notebooks"][0].get("host") or {}
    busy, kernels = host.get("busy") or 0, host.get("kernels") or 0
    if not busy or yes:
        return
    lost = f"{busy} busy kernel{' stops' if busy == 1 else 's stop'} in the middle of a cell"
    lost += f", and the variables of {'its kernel' if kernels == 1 else f'all {kernels} kernels'} are lost"
    if not sys.stdin.isatty():
        raise Failure(f"{name} has work in progress: {lost}", hint="add -y to agree", exit_code=failure.USAGE)
    if not command_output.agreed(f"{what} {name!r}?", f"{lost[0].upper()}{lost[1:]}. "):
        raise Failure(f"{name} was not touched")


def _stop_daemon(client: Client, *, as_json: bool) -> int:
    """Stop the daemon, return when it is down, and say which notebooks keep running."""
    pid = int(client.get("/v1/status")["daemon"]["pid"])
    ended = _watched(pid)
    answer = client.post("/v1/stop")
    if ended is not None and not _ends(ended):
        raise Failure(
            f"kaosd (pid {pid}) is still stopping after {PATIENCE:g} s",
            hint="`kaosctl logs --stage daemon` says what it waits for",
            exit_code=failure.TIMED_OUT,
        )
    names, where = answer.get("running") or [], command_output.here()
    lines = [where.paint("", "kaosd is stopped")]
    if names:
        count = "1 notebook keeps running and is" if len(names) == 1 else f"{len(names)} notebooks keep running and are"
        lines += where.flow([("busy", f"    {count} not reachable until `kaosctl start`:"), ("", ", ".join(names))], 4)
    command_output.tell({**answer, "stopped": True}, lines, as_json=as_json)
    return 0


def _watched(pid: int) -> int | None:
    """A descriptor that tells of the end of process *pid*; None where there is none, as from another container."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _ends(descriptor: int) -> bool:
    """Whether the process ends in time."""
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(PATIENCE * 1000))
    finally:
        os.close(descriptor)
