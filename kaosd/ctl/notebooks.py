"""`kaosctl notebook list` and `kill`."""

from __future__ import annotations

import sys
from typing import Any

from kaosd.ctl import failure, output
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.failure import Failure
from kaosd.ctl.output import moment

TITLES = ("created_at", "name", "state", "url", "user")


def show_list(*, as_json: bool = False) -> int:
    """Print two tables, as kaos: builds in progress or failed, and hosts."""
    tables = listed(Client().get("/v1/status"))
    where = output.here()
    lines: list[str] = []
    for name, titles in (("building", (*TITLES, "job")), ("running", TITLES)):
        rows = [
            [moment(row[title]) if title == "created_at" else row[title] or "-" for title in titles]
            for row in tables[name]
        ]
        lines += ["", where.paint("strong", name.upper())] if lines else [where.paint("strong", name.upper())]
        lines += where.table(titles, rows) if rows else [where.paint("dim", "none")]
    output.tell(tables, lines, as_json=as_json)
    return 0


def listed(status: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of both tables out of the status object."""
    building: list[dict[str, Any]] = []
    running: list[dict[str, Any]] = []
    for notebook in status["notebooks"]:
        row = {"created_at": None, **{key: notebook[key] for key in ("name", "state", "url", "user")}}
        build, host = notebook.get("build") or {}, notebook.get("host") or {}
        if build.get("state", "JOB_SUCCESS") != "JOB_SUCCESS" and notebook["state"] != "live":
            building.append(row | {"created_at": build["started_at"], "state": build["state"], "job": build["job"]})
        if host.get("state") != "PIPELINE_STANDBY" or row["name"] not in [other["name"] for other in building]:
            running.append(row | {"created_at": host.get("since"), "state": host.get("state") or notebook["state"]})
    return {"building": building, "running": running}


def kill(name: str, *, yes: bool = False, as_json: bool = False) -> int:
    """Stop a notebook and forget it, once the person agreed."""
    if not yes:
        _ask(name)
    answer = Client().delete(notebook_path(name))
    where = output.here()
    lines = [where.paint("", f"{answer['killed']} is stopped and forgotten")]
    lines += [where.paint("dim", f"    kept: {path}") for path in answer.get("kept") or ()]
    output.tell(answer, lines, as_json=as_json)
    return 0


def _ask(name: str) -> None:
    if not sys.stdin.isatty():
        raise Failure(f"{name} is not killed without being asked", hint="add -y to agree", exit_code=failure.USAGE)
    sys.stderr.write(f"Stop {name!r} and forget it? Its kernels end; bundles and recovered files are kept. [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure(f"{name} was not touched")
