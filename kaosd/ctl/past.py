"""`kaosctl history, rollback, recovered`: what was, and the way back."""

from __future__ import annotations

import time
from typing import Any

from kaosd.ctl import output
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.output import moment
from kaosd.ctl.picture import draw_notebook, some
from kaosd.ctl.screen import Screen, span

ROLES = {"live": "good", "failed": "bad", "running": "busy"}


def history(name: str, *, as_json: bool = False) -> int:
    """Print the deployments of a notebook, newest first."""
    answer = Client().get(notebook_path(name, "history"))
    output.tell(answer, history_lines(answer, output.here()), as_json=as_json)
    return 0


def history_lines(answer: dict[str, Any], where: Screen) -> list[str]:
    """A line for each deployment, and the error below those that failed."""
    lines = [where.paint("busy", f"pinned: {answer['pinned']}")] if answer.get("pinned") else []
    for one in answer["deployments"]:
        took = f"{one['action']} {span(one['seconds'])}" if one.get("seconds") is not None else one["action"]
        pieces = [
            ("strong", f"{one['number']:>4}  {moment(one['started_at'])}"),
            (ROLES.get(one["outcome"], "dim"), one["outcome"]),
            ("", took),
            ("", "  ".join(str(one[key]) for key in ("source", "data") if one.get(key))),
            ("dim", some(one["cause"])),
        ]
        lines += where.flow([piece for piece in pieces if piece[1]], 6)
        for text in (one.get("error") or "").splitlines():
            lines += where.flow([("bad", f"      {text}")], 6)
    return lines or ["no deployment yet"]


def rollback(name: str, to: str | None = None, *, as_json: bool = False) -> int:
    """Serve an older version until the files change again."""
    notebook = Client().post(notebook_path(name, "rollback"), {"to": to})
    output.tell(notebook, draw_notebook(notebook, time.time(), output.here()), as_json=as_json)
    return 0


def recovered(name: str, *, restore: str | None = None, as_json: bool = False) -> int:
    """Print the files of the host that a deployment replaced, and where they were saved; or bring one back."""
    if restore is not None:
        return _restore(name, restore, as_json=as_json)
    answer = Client().get(notebook_path(name, "recovered"))
    rows = [
        (one["path"], moment(one["saved_at"]), str(one["deployment"]), f"{one['size']:,} B", one["file"])
        for one in answer["recovered"]
    ]
    where = output.here()
    table = where.table(("path", "saved at", "deployment", "size", "file"), rows)
    if rows:
        table += where.flow([("dim", "bring the newest copy back:"), ("strong", _command(name, rows[-1][0]))], 4)
    output.tell(answer, table if rows else ["nothing had to be recovered"], as_json=as_json)
    return 0


def _command(name: str, path: str) -> str:
    from shlex import quote

    return f"kaosctl recovered {name} --restore {quote(path)}"


def _restore(name: str, path: str, *, as_json: bool) -> int:
    answer = Client().post(notebook_path(name, "restore"), {"path": path})
    where = output.here()
    how = "in its tab" if answer["in_tab"] else "on disk"
    lines = where.flow([("good", f"● {answer['restored']} restored"), ("dim", how), ("", f"from {answer['file']}")], 4)
    for file in answer["kept"]:
        lines += where.flow([("", f"    what was there is kept as {file}")], 4)
    output.tell(answer, lines, as_json=as_json)
    return 0
