"""`kaosctl history`: the deployments of a notebook as a table. Pure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kaosd.ctl.screen import Screen, columns, cut, some, span
from kaosd.display import epoch

if TYPE_CHECKING:
    from kaosd.ctl.screen import Piece

ROLES = {"live": "good", "failed": "bad", "running": "busy"}
CURRENT, REACHABLE = "●", "○"
TITLES = ("  N", "started", "result", "cost", "source", "data", "cause")
ROOM = 18  # columns that the cause needs beside the others; with fewer it stands below
INDENT = 6
TODAY = 20 * 3600  # seconds; of a deployment that started earlier the date is shown


def timeline(answer: dict[str, Any], name: str, now: float, screen: Screen) -> list[str]:
    """A line for each deployment, newest first, and the error below those that failed; then what the signs mean."""
    deployments = answer["deployments"]
    if not deployments:
        return ["no deployment yet"]
    rows = [[("dim", title) for title in TITLES], *_rows(deployments, now)]
    others = Screen(plain=screen.plain).aligned([row[:-1] for row in rows]) or []
    room = screen.width - max(map(columns, others)) - 2
    beside = room >= ROOM
    cells = [[*row[:-1], (row[-1][0], cut(screen.safe(row[-1][1]), room))] if beside else row[:-1] for row in rows]
    aligned = screen.aligned(cells)
    heads = [[line] for line in aligned] if aligned else [screen.flow(row, INDENT) for row in cells]
    lines = screen.flow([("busy", f"pinned: {answer['pinned']}")], INDENT) if answer.get("pinned") else []
    lines += heads[0]
    for one, head, row in zip(deployments, heads[1:], rows[1:], strict=True):
        below = [] if beside else [row[-1]]
        below += [("bad", text) for text in (one.get("error") or "").splitlines()]
        below += [("busy", text) for text in _failed_checks(one)]
        lines += [*head, *(line for role, text in below for line in screen.flow([(role, f"{'':{INDENT}}{text}")], 6))]
    return [*lines, *_legend(deployments, name, screen)]


def _rows(deployments: list[dict[str, Any]], now: float) -> list[list[Piece]]:
    """The cells of each deployment; a version where it is another one than that of the deployment before."""
    rows: list[list[Piece]] = []
    digits = max(len(str(one["number"])) for one in deployments)
    for one, earlier in zip(deployments, [*deployments[1:], {}], strict=True):
        sign = CURRENT if one.get("current") else REACHABLE if one.get("can_roll_back") else " "
        took = f"{one['action']} {span(one['seconds'])}" if one.get("seconds") is not None else one["action"]
        rows.append(
            [
                ("strong", f"{sign} {one['number']:>{digits}}"),
                ("", started(epoch(one["started_at"]), now)),
                (ROLES.get(one["outcome"], "dim"), one["outcome"]),
                ("", took),
                *(("", _changed(one.get(key), earlier.get(key))) for key in ("source", "data")),
                ("dim", some(one["cause"])),
            ]
        )
    return rows


def _failed_checks(deployment: dict[str, Any]) -> list[str]:
    """The notebook files that failed after a deployment (run_on_deploy), each with where and why."""
    failed = [one for one in deployment.get("checks") or () if one["outcome"] == "failed"]
    cells = ["" if one["cell"] is None else f" in cell {one['cell']}" for one in failed]
    return [f"{one['notebook']} failed{cell}: {one['error']}" for one, cell in zip(failed, cells, strict=True)]


def _changed(version: str | None, before: str | None) -> str:
    """The digits of a version, "" where it is still the one *before*."""
    return "" if not version or version == before else version.rpartition(":")[2]


def started(at: float | None, now: float) -> str:
    """A time as short as it is clear: 10:26:02, of an earlier day 11-17 10:26."""
    if at is None:
        return "-"
    return time.strftime("%H:%M:%S" if now - at < TODAY else "%m-%d %H:%M", time.localtime(at))


def _legend(deployments: list[dict[str, Any]], name: str, screen: Screen) -> list[str]:
    """What the signs mean, of those that are there."""
    pieces: list[Piece] = [("dim", f"{CURRENT} current")] if any(one.get("current") for one in deployments) else []
    if any(one.get("can_roll_back") for one in deployments):
        pieces += [("dim", f"{REACHABLE} can be rolled back to:"), ("strong", f"kaosctl rollback {name} N")]
    return screen.flow(pieces, INDENT)
