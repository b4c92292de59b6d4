"""`kaosctl notebook deploy`: registers a notebook and shows its way through Build and Host.

Three things happen at once: a thread waits for the outcome, the log files are followed, and twice a second the
daemon is asked how far it is. ^C stops this alone.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from kaosd.ctl import browse, command_output, failure, files, places, status
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.failure import Failure
from kaosd.ctl.following import PAUSE, Tails
from kaosd.ctl.picture import next_commands
from kaosd.ctl.progress import ProgressLine
from kaosd.ctl.screen import Screen, some, span
from kaosd.ctl.steering import OUTCOMES, wait_for

ASK = 0.5  # seconds between two questions for the progress
TRIES = 3  # failed attempts in a row after which the user hears of it, while the daemon tries again


def deploy(*, detach: bool = False, as_json: bool = False, **wanted: object) -> int:
    """Register the notebook that *wanted* describes, and return when it is live or will not be.

    wanted: fields of the request; unset: names of those that are to have no value of their own any more.
    """
    client = Client()
    if not detach:
        return deploy_and_follow(client, wanted, as_json=as_json)[0]
    notebook = _register(client, wanted)
    where = command_output.here()
    line = where.paint("", f"{notebook['name']} is registered; kaosctl wait {notebook['name']}")
    command_output.tell({"notebook": notebook}, [line, *kept_from_before(notebook, where)], as_json=as_json)
    return 0


def deploy_and_follow(client: Client, wanted: dict[str, object], *, as_json: bool) -> tuple[int, str]:
    """Register a notebook and show its way until it is live or will not be; the exit code and its name."""
    state = client.get("/v1/status")["daemon"]["state_dir"]
    tails = Tails(lambda: files.logs_of(state, files.notebook_names(state)))
    name = _register(client, wanted)["name"]
    progress = ProgressLine(command_output.here(), silent=as_json)
    try:
        outcome = _accompany(client, name, tails, progress)
    except KeyboardInterrupt:
        progress.clear()
        text = f"the deployment continues: `kaosctl status {name}` shows it, `kaosctl cancel {name}` stops its build"
        print(text, file=sys.stderr)
        return failure.INTERRUPTED, name
    notebook = client.get(notebook_path(name))
    url = files.address(state, notebook)
    lines = _closing(notebook, outcome, url, command_output.here())
    command_output.tell({"notebook": notebook, **outcome, "url": url}, lines, as_json=as_json)
    return OUTCOMES.get(outcome["outcome"], failure.FAILED), name


def _register(client: Client, wanted: Mapping[str, Any]) -> dict[str, Any]:
    body = {key: value for key, value in wanted.items() if value is not None and value is not False}
    unset = body.pop("unset", ())
    if both := body.keys() & set(unset):
        raise Failure(f"--{min(both)} is given and unset at once", exit_code=failure.USAGE, code="usage")
    body |= {key: places.absolute(str(body[key])) for key in ("source", "data") if key in body}
    body |= dict.fromkeys(unset)
    try:
        return client.post("/v1/notebooks", body)
    except Failure as error:
        if error.code == "config":  # an argument that only the daemon can judge
            error.exit_code = failure.USAGE
        raise


def _accompany(client: Client, name: str, tails: Tails, progress: ProgressLine) -> dict[str, Any]:
    """Show what happens until the outcome is there; the outcome."""
    outcomes: queue.Queue[dict[str, Any] | Failure] = queue.Queue()

    def wait() -> None:
        try:
            outcomes.put(wait_for(Client(client.path), name, None, TRIES))
        except Failure as error:
            outcomes.put(error)

    threading.Thread(target=wait, daemon=True).start()
    asked = 0.0
    while True:
        try:
            outcome = outcomes.get(timeout=PAUSE)
        except queue.Empty:
            outcome = None
        progress.lines([entry for entry in tails.poll() if entry.log.notebook == name])
        if isinstance(outcome, Failure):
            progress.clear()
            raise outcome
        if outcome is not None:
            progress.clear()
            return outcome
        if time.monotonic() - asked > ASK:
            progress.now(status.notebook_of(client.get("/v1/status"), name))
            asked = time.monotonic()


def kept_from_before(notebook: dict[str, Any], where: Screen) -> list[str]:
    """That edits of earlier times are kept, and where they are listed."""
    count = notebook.get("recovered") or 0
    if not count:
        return []
    text = f"    {count} edited file{'' if count == 1 else 's'} kept from before"
    return where.flow([("busy", text), ("strong", f"kaosctl recovered {notebook['name']}")], 4)


def _closing(notebook: dict[str, Any], outcome: dict[str, Any], url: str, where: Screen) -> list[str]:
    """The last lines: the address, or what went wrong and what to do; what the person is warned of in any case."""
    name, live = notebook["name"], outcome["outcome"] == "live"
    symbol, role = ("●", "good") if live else ("‖", "busy") if outcome["outcome"] == "held" else ("✗", "bad")
    lines = where.flow([(role, f"{symbol} {name} {outcome['outcome']}"), ("dim", span(outcome["seconds"]))], 4)
    if not live:
        error = outcome.get("reason") or (notebook.get("deployment") or {}).get("error") or "no reason given"
        lines += [line for text in error.splitlines() for line in where.flow([("", f"    {text}")], 4)]
    left_out = [f"left out: {some(notebook['refused'])}"] if notebook.get("refused") else []
    for text in (*left_out, *(notebook.get("warnings") or ())):
        lines += where.flow([("busy", f"    ! {text}")], 4)
    if live:
        kept = kept_from_before(notebook, where)
        return [*lines, *kept, where.paint("link", url), *browse.tunnel(url, where)]
    if outcome.get("hold") == "backing off":
        lines += where.flow([("", "    kaosd keeps trying; to wait for it:"), ("strong", f"kaosctl wait {name}")], 4)
    return lines + [where.paint("strong", f"    {command}") for command in next_commands(notebook)]
