"""`kaosctl notebook list` and `kill`."""

from __future__ import annotations

import sys
from typing import Any

from kaosd.ctl import command_output, failure
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.command_output import agreed, moment
from kaosd.ctl.details import HOSTS
from kaosd.ctl.failure import Failure
from kaosd.ctl.screen import Screen

DELETING = 600.0  # seconds that a cluster may take to delete repos, or a container engine to remove its images
KEPT = "Its kernels are stopped; its directories and your edits are kept. "
TITLES = ("created_at", "name", "state", "url", "user")
DIGITS = 8  # of a job's id; the first few are enough for `build-logs`
WORDS = {
    **HOSTS,
    "JOB_STARTING": "starting",
    "JOB_RUNNING": "building",
    "JOB_FAILURE": "failed",
    "JOB_KILLED": "cancelled",
}


def show_list(*, verbose: bool = False, as_json: bool = False) -> int:
    """Print two tables, as kaos: builds in progress or failed, and hosts. verbose: states and ids as kaos has them."""
    tables = listed(Client().get("/v1/status"))
    command_output.tell(tables, table_lines(tables, command_output.here(), verbose=verbose), as_json=as_json)
    return 0


def table_lines(tables: dict[str, list[dict[str, Any]]], where: Screen, *, verbose: bool) -> list[str]:
    """Both tables."""
    lines: list[str] = []
    for name, titles in (("building", (*TITLES, "job")), ("running", TITLES)):
        rows = [[_cell(row, title, verbose=verbose) for title in titles] for row in tables[name]]
        lines += ["", where.paint("strong", name.upper())] if lines else [where.paint("strong", name.upper())]
        lines += where.table(titles, rows) if rows else [where.paint("dim", "none")]
    return lines


def _cell(row: dict[str, Any], title: str, *, verbose: bool) -> str:
    value = row[title]
    if title == "created_at":
        return moment(value)
    if title == "state" and not verbose:
        return WORDS.get(value, str(value))
    if title == "job" and not verbose:
        return str(value)[:DIGITS]
    return str(value or "-")


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


def kill(
    name: str | None = None,
    *,
    named: str | None = None,
    yes: bool = False,
    keep_data: bool = False,
    everything: bool = False,
    as_json: bool = False,
) -> int:
    """Stop a notebook and forget it, and delete its repos, once the person agreed to both."""
    notebook = _which(name, named)
    unwanted = "all" if everything else "source" if keep_data else "none"
    if not yes:
        unwanted = _agreed(notebook, unwanted)
    query = f"?repos={unwanted}" if unwanted != "none" else ""
    answer = Client().delete(notebook_path(notebook) + query, timeout=DELETING)
    command_output.tell(answer, _told(answer, unwanted), as_json=as_json)
    return 0


def _which(name: str | None, named: str | None) -> str:
    if name is None and named is None:
        hint = "kaosctl notebook list shows them all"
        raise Failure("name the notebook that is to be killed", hint=hint, exit_code=failure.USAGE)
    if name is not None and named is not None and name != named:
        raise Failure(f"one at a time: {name}, or {named}", exit_code=failure.USAGE)
    return str(name if name is not None else named)


def _told(answer: dict[str, Any], unwanted: str) -> list[str]:
    where = command_output.here()
    repos = answer.get("repos") or {"deleted": (), "kept": ()}
    lines = [where.paint("", f"{answer['killed']} is stopped and forgotten")]
    if count := answer.get("recovered"):
        kept = f"    kept: {count} edited file{'' if count == 1 else 's'}"
        lines += where.flow([("dim", kept), ("strong", f"kaosctl recovered {answer['killed']}")], 4)
    lines += [where.paint("dim", f"    kept: the repo {repo} (pachctl delete repo {repo})") for repo in repos["kept"]]
    lines += [where.paint("dim", f"    deleted: the repo {repo}") for repo in repos["deleted"]]
    if unwanted != "none" and not repos["deleted"]:
        why = "there was no repo to delete" if answer.get("repos") else f"the engine {answer['engine']} has no repos"
        lines.append(where.paint("dim", f"    {why}"))
    return lines


def _agreed(name: str, unwanted: str) -> str:
    """Which repos are to be deleted; Failure unless a person at the terminal agrees to the rest."""
    if not sys.stdin.isatty():
        raise Failure(f"{name} is not killed without being asked", hint="add -y to agree", exit_code=failure.USAGE)
    repos = Client().get(notebook_path(name)).get("repos") or []
    chosen = {"none": [], "source": repos[:1], "all": repos}[unwanted]
    also = f" and delete {_repos(chosen)}" if chosen else ""
    if not agreed(f"Stop {name!r}, forget it{also}?" if also else f"Stop {name!r} and forget it?", KEPT):
        raise Failure(f"{name} was not touched")
    if repos and unwanted == "none" and agreed(f"Delete {_repos(repos)} too?"):
        return "all"
    return unwanted


def _repos(names: list[str]) -> str:
    return f"the repo{'s' if len(names) > 1 else ''} {' and '.join(names)}, with all that was ever deployed"
