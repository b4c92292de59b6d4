"""All about one notebook, as `kaosctl status NAME` shows it below what is wrong: pure, as `picture`."""

from __future__ import annotations

from kaosd.ctl.screen import count, quantity, since, some, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kaosd.ctl.screen import Piece, Screen

BUILDS = {
    "JOB_STARTING": "starting",
    "JOB_RUNNING": "building for",
    "JOB_SUCCESS": "built in",
    "JOB_FAILURE": "failed after",
    "JOB_KILLED": "cancelled after",
}
HOSTS = {
    "PIPELINE_STARTING": "starting",
    "PIPELINE_RUNNING": "running",
    "PIPELINE_RESTARTING": "restarting",
    "PIPELINE_FAILURE": "failed",
    "PIPELINE_STANDBY": "not running",
    "PIPELINE_PAUSED": "paused",
}
LABEL = 9  # columns of the widest label


def details(notebook: dict[str, Any], now: float, screen: Screen, *, verbose: bool) -> list[str]:
    """Lines of a label and what is to be said. verbose: with the states and ids of the API."""
    rows = [
        ("source", _directory(notebook.get("source") or {})),
        ("data", _directory(notebook.get("data") or {})),
        ("needs", [("", str((notebook.get("environment") or {}).get("file") or ""))]),
        ("engine", [("", str(notebook.get("engine") or ""))]),
        ("limits", _limits(notebook.get("resources") or {})),
        ("in use", _usage(notebook.get("usage") or {})),
        ("kernels", _kernels(notebook.get("host") or {})),
        *_yours(notebook),
        ("deployed", _deployed(notebook.get("deployment") or {}, now)),
        *(("check", _check(one)) for one in notebook.get("checks") or ()),
        ("build", _build(notebook.get("build") or {}, verbose=verbose)),
        ("host", _host(notebook.get("host") or {}, now, verbose=verbose)),
        *(("note", [("", str(one["text"]))]) for one in notebook.get("notices") or () if _is_news(one["id"])),
    ]
    filled = [(label, [piece for piece in pieces if piece[1]]) for label, pieces in rows]
    return [
        line
        for label, pieces in filled
        if pieces
        for line in screen.flow([("dim", f"{label:<{LABEL}}"), *pieces], LABEL + 3)
    ]


def _is_news(notice: str) -> bool:
    """Whether a notice, by its id, is of something that is not shown in another way."""
    return notice == "merged" or notice.startswith("environment ")


def _directory(bundle: dict[str, Any]) -> list[Piece]:
    live, disk = bundle.get("live"), bundle.get("disk")
    version = f"{live} = on disk" if live and live == disk else ""
    return [("", str(bundle.get("path") or "none")), ("", version or (f"on disk {disk}" if disk else ""))]


def _limits(resources: dict[str, Any]) -> list[Piece]:
    limits = [f"{key} {_plain(resources[key])}" for key in ("cpu", "memory", "gpu") if resources.get(key)]
    enforced = (
        "" if not (resources.get("cpu") or resources.get("memory")) or resources.get("enforced") else "not enforced"
    )
    return [("", ", ".join(limits) or "none"), ("busy", enforced)]


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _usage(usage: dict[str, Any]) -> list[Piece]:
    memory, cores, gpu = (usage.get(key) for key in ("memory", "cpu", "gpu_memory"))
    return [
        ("", f"memory {quantity(memory)}" if memory is not None else ""),
        ("", f"cpu {cores:.1f}" if cores is not None else ""),
        ("", f"GPU memory {quantity(gpu)}" if gpu is not None else ""),
    ]


def _kernels(host: dict[str, Any]) -> list[Piece]:
    if host.get("state") != "PIPELINE_RUNNING":
        return []
    outdated = host.get("outdated")
    pieces = [("", f"{host.get('kernels', 0)}, {host.get('busy', 0)} busy")]
    return [*pieces, ("busy", f"{outdated} on an older environment" if outdated else "")]


def _yours(notebook: dict[str, Any]) -> list[tuple[str, list[Piece]]]:
    """What the person did in the notebook, each with the command that shows more."""
    name, environment = notebook["name"], notebook.get("environment") or {}
    rows: list[tuple[str, list[Piece]]] = []
    if any((notebook.get("edits") or {}).values()):
        told = ", ".join(f"{number} {what}" for what, number in notebook["edits"].items() if number)
        rows.append(("edits", [("busy", f"{told} here"), ("strong", f"kaosctl diff {name}")]))
    if kept := notebook.get("recovered"):
        rows.append(("kept", [("busy", count(kept, "edited file")), ("strong", f"kaosctl recovered {name}")]))
    if by_hand := environment.get("by_hand"):
        asked = [f"{one['name']} {one['version']}" for one in by_hand if one["requested"]]
        packages = some(asked or [one["name"] for one in by_hand])
        text = f"{packages}, not in {environment.get('file') or 'model/requirements.txt'}"
        rows.append(("by hand", [("busy", text), ("strong", f"kaosctl env {name}")]))
    return rows


def _deployed(deployment: dict[str, Any], now: float) -> list[Piece]:
    if not deployment:
        return []
    at = deployment.get("finished_at")
    took = f"{deployment['action']} in {span(deployment['seconds'])}, {since(at, now)} ago" if at else "in progress"
    return [("", f"{deployment['number']}"), ("", took), ("", some(deployment["cause"]))]


def _check(check: dict[str, Any]) -> list[Piece]:
    """A notebook file that is run after each deployment."""
    at = f"{check['outcome']} in cell {check['cell']}" if check["cell"] is not None else check["outcome"]
    role = {"passed": "good", "failed": "bad"}.get(check["outcome"], "dim")
    took = span(check["seconds"]) if check["seconds"] else ""
    return [("", check["notebook"]), (role, at), ("dim", took), ("", check["error"] or "")]


def _build(build: dict[str, Any], *, verbose: bool) -> list[Piece]:
    if not build:
        return []
    word = build["state"] if verbose else BUILDS.get(build["state"], build["state"])
    return [("", f"{word} {span(build['seconds'])}"), ("dim", build["job"] if verbose else "")]


def _host(host: dict[str, Any], now: float, *, verbose: bool) -> list[Piece]:
    if not host:
        return []
    word = host["state"] if verbose else HOSTS.get(host["state"], host["state"])
    age = f" {since(host['since'], now)}" if host.get("since") else ""
    return [("", word + age), ("", count(host["restarts"], "restart") if host.get("restarts") else "")]
