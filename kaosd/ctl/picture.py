"""The status as a person sees it: a pure function of the status object, the time and the screen.

Healthy is short; a problem is cause, evidence, next command. Age beside every state, versions beside every
deployment, never a waiting state without its cause.
"""

from __future__ import annotations

from kaosd.ctl.screen import Screen, age, span
from kaosd.text import epoch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from kaosd.ctl.screen import Piece

# state -> symbol, role
SYMBOLS = {
    "live": ("●", "good"),
    "stale": ("◐", "busy"),
    "building": ("◐", "busy"),
    "swapping": ("◐", "busy"),
    "held": ("‖", "busy"),
    "failed": ("✗", "bad"),
    "stopped": ("○", "dim"),
}
INDENT = 4


def draw(status: dict[str, Any], now: float, screen: Screen, *, detail: bool = False) -> list[str]:
    """The lines of the whole status at time *now*. detail: paths, resources, jobs as well."""
    lines = _daemon(status["daemon"], now, screen)
    for notebook in status["notebooks"]:
        lines += draw_notebook(notebook, now, screen, detail=detail)
    if not status["notebooks"]:
        pieces = [("", "  no notebook yet"), ("strong", "kaosctl notebook deploy --source DIR")]
        lines += screen.flow(pieces, INDENT)
    for problem in status["daemon"].get("problems") or ():
        lines += _problem(problem, now, screen)
    return lines


def draw_notebook(notebook: dict[str, Any], now: float, screen: Screen, *, detail: bool = False) -> list[str]:
    """The lines of one notebook."""
    symbol, role = SYMBOLS.get(notebook["state"], ("?", "bad"))
    head = [("", f"{symbol} {notebook['name']}"), (role, _state(notebook, now)), ("", notebook["engine"])]
    if notebook.get("url"):
        head.append(("link", notebook["url"]))
    lines = screen.flow(head, INDENT)
    if screen.colour and lines:
        lines[0] = lines[0].replace(screen.paint("", symbol), screen.paint(role, symbol), 1)
    rows = [_content(notebook), *_cause(notebook, now), *_asides(notebook), _advice(notebook)]
    if detail:
        rows += _details(notebook, now)
    for row in rows:
        lines += _indented(row, screen)
    return lines


def _daemon(daemon: dict[str, Any], now: float, screen: Screen) -> list[str]:
    watch = daemon.get("watch") or {}
    mode = "polling" if watch.get("mode") == "poll" else watch.get("mode", "?")
    watching = f"watching {_count(watch.get('files', 0), 'file')} in " + (
        f"{_count(watch.get('directories', 0), 'directory', 'directories')} ({mode})"
    )
    pieces = [("strong", f"kaosd {daemon['version']}"), ("", f"up {_age(daemon.get('started_at'), now)}")]
    return screen.flow([*pieces, ("", watching)], INDENT)


def _state(notebook: dict[str, Any], now: float) -> str:
    """The state with its age: live 12 min."""
    word = "paused by you" if _paused(notebook) else notebook["state"]
    since = _since(notebook)
    aged = f" {_age(since, now)}" if since is not None else ""
    if notebook["state"] == "live" and notebook.get("paused"):
        return f"live{aged}, paused by you"
    return f"{word}{aged}" + (" ago" if aged and word == "failed" else "")


def _paused(notebook: dict[str, Any]) -> bool:
    return notebook["state"] == "held" and bool(notebook.get("paused"))


def _since(notebook: dict[str, Any]) -> str | None:
    """When the notebook got into its state, as far as the object tells."""
    if notebook.get("since"):
        return str(notebook["since"])
    if notebook["state"] == "building":
        return (notebook.get("build") or {}).get("started_at")
    deployment = notebook.get("deployment") or {}
    if notebook["state"] == "live" and not _brought(deployment):
        return None
    return deployment.get("finished_at") or deployment.get("started_at")


def _brought(deployment: dict[str, Any]) -> bool:
    """Whether what is live came by this deployment, and not by an earlier one that the files went back to."""
    return bool(deployment.get("finished_at")) and deployment.get("outcome", "live") == "live"


def _content(notebook: dict[str, Any]) -> list[Piece]:
    """What is served, against what is on disk."""
    host = notebook.get("host") or {}
    serving = host.get("state") == "PIPELINE_RUNNING"
    pieces: list[Piece] = [] if serving else [("busy", "nothing is served")]
    for key in ("source", "data"):
        bundle = notebook.get(key) or {}
        live, disk = bundle.get("live") if serving else None, bundle.get("disk")
        if live is not None and live == disk:
            pieces.append(("", f"{live} = on disk"))
        elif live is not None:
            pieces += [("", f"still serving {live}"), ("busy", f"on disk {disk}" if disk else f"{key} not read")]
        elif disk is not None:
            pieces.append(("", f"on disk {disk}"))
    deployment = notebook.get("deployment") or {}
    if notebook["state"] == "live" and _brought(deployment):
        pieces.append(("dim", f"{deployment['action']} {span(deployment['seconds'])}"))
    if serving:
        pieces.append(("dim", f"{_count(host.get('kernels', 0), 'kernel')}, {host.get('busy', 0)} busy"))
    return pieces


def _cause(notebook: dict[str, Any], now: float) -> list[list[Piece]]:
    """Why it is not live: the changed files, what is being done, the sentence of the failure; and what befell it."""
    befell = [[("busy", str(notice))] for notice in [(notebook.get("host") or {}).get("notice")] if notice]
    if notebook["state"] == "live":
        return befell
    deployment, build = notebook.get("deployment") or {}, notebook.get("build") or {}
    doing: list[Piece] = []
    if not deployment.get("finished_at") and deployment.get("cause"):
        doing.append(("", f"change: {some(deployment['cause'])}"))
    building = build.get("state") in ("JOB_STARTING", "JOB_RUNNING")
    if building:
        doing.append(("", f"build {_age(build['started_at'], now)}"))
    if notebook.get("progress"):
        doing.append(("dim", working(notebook["progress"])))
    told = _paused(notebook) or (notebook["state"] == "building" and building)
    role = "bad" if notebook["state"] == "failed" else ""
    rows = [doing] + ([] if told else [[(role, line)] for line in _reason(notebook).splitlines()])
    host = notebook.get("host") or {}
    if notebook["state"] == "failed" and host.get("state") not in ("PIPELINE_RUNNING", None):
        rows.append([("", f"host {host['state']} {_age(host.get('since'), now)}"), ("", _restarts(host))])
    return rows + befell


def _reason(notebook: dict[str, Any]) -> str:
    """The sentence, or lines, that say why the notebook is in its state."""
    return str(notebook.get("reason") or "no reason is known")


def working(progress: dict[str, Any]) -> str:
    """How far the work in hand is: step 2 of 4: resolve the requirements."""
    step = f"step {progress['step']} of {progress['steps']}: " if progress["step"] is not None else ""
    return f"{step}{progress['text']}"


def next_commands(notebook: dict[str, Any]) -> list[str]:
    """What the person can do next, each with its label; none when all is well."""
    return [f"{one['label']}: {one['command']}" for one in notebook.get("next") or ()]


def _advice(notebook: dict[str, Any]) -> list[Piece]:
    return [("strong", command) for command in next_commands(notebook)]


def _asides(notebook: dict[str, Any]) -> list[list[Piece]]:
    """What is worth a line although the notebook is fine."""
    refused = notebook.get("refused") or ()
    rows: list[list[Piece]] = [[("busy", f"left out: {some(refused)}")]] if refused else []
    rows += [[("busy", f"! {text}")] for text in notebook.get("warnings") or ()]
    environment = notebook.get("environment") or {}
    if by_hand := environment.get("by_hand"):
        asked = [f"{one['name']} {one['version']}" for one in by_hand if one["requested"]]
        text = f"installed by hand, not in {environment.get('file') or 'model/requirements.txt'}: "
        rows.append([("busy", text + some(asked or [one["name"] for one in by_hand]))])
    holds = [(notebook.get(key) or {}).get("hold") for key in ("source", "data")]
    rows += [[("busy", hold)] for hold in holds if hold and hold != notebook.get("reason")]
    if notebook.get("recovered"):
        rows.append([("busy", f"{_count(notebook['recovered'], 'edited file')} kept")])
    return rows


def _details(notebook: dict[str, Any], now: float) -> list[list[Piece]]:
    resources, build, host = (notebook.get(key) or {} for key in ("resources", "build", "host"))
    limits = [f"cpu {resources.get('cpu') or 'any'}", f"memory {resources.get('memory') or 'any'}"]
    limits.append(f"gpu {resources.get('gpu', 0)}")
    if (resources.get("cpu") or resources.get("memory")) and not resources.get("enforced"):
        limits.append("not enforced")
    rows: list[list[Piece]] = [
        [("dim", f"{key:<7}"), ("", str((notebook.get(key) or {}).get("path") or "none"))] for key in ("source", "data")
    ]
    if (used := (notebook.get("environment") or {}).get("file")) is not None:
        rows.append([("dim", "needs  "), ("", str(used))])
    rows.append([("dim", "limits "), ("", "   ".join(limits))])
    deployment = notebook.get("deployment")
    if deployment:
        rows.append([("dim", "deploy "), ("", f"{deployment['number']}"), ("", some(deployment["cause"]))])
    if build:
        rows.append([("dim", "build  "), ("", f"{build['state']} {span(build['seconds'])}"), ("dim", build["job"])])
    if host:
        state = f"{host['state']} {_age(host.get('since'), now)}"
        rows.append([("dim", "host   "), ("", state), ("", _restarts(host))])
    return rows


def _problem(problem: dict[str, Any], now: float, screen: Screen) -> list[str]:
    role = "bad" if problem.get("severity") == "error" else "busy"
    pieces = [(role, f"! {problem['severity']}"), ("", problem["text"]), ("dim", f"for {_age(problem['since'], now)}")]
    if problem.get("mend"):
        pieces.append(("strong", problem["mend"]))
    return screen.flow(pieces, INDENT)


def _indented(row: list[Piece], screen: Screen) -> list[str]:
    """The lines of a row of pieces below a notebook's head."""
    narrower = Screen(max(20, screen.width - INDENT), colour=screen.colour, plain=screen.plain)
    return [" " * INDENT + line for line in narrower.flow(row, INDENT)]


def _restarts(host: dict[str, Any]) -> str:
    return _count(host.get("restarts", 0), "restart")


def _age(since: str | None, now: float) -> str:
    at = epoch(since)
    return age(now - at) if at is not None else "?"


def some(paths: Sequence[str]) -> str:
    """The first names of many: a.py, b.py (+3)."""
    names = ", ".join(str(path) for path in paths[:2])
    return names + (f" (+{len(paths) - 2})" if len(paths) > 2 else "")


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
