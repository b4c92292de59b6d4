"""`kaosctl history, rollback, recovered`: what was, and the way back."""

from __future__ import annotations

import sys
import time
from typing import Any

from kaosd.ctl import command_output, failure
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.command_output import agreed, moment
from kaosd.ctl.failure import Failure
from kaosd.ctl.picture import draw_notebook
from kaosd.ctl.screen import Screen
from kaosd.ctl.timeline import timeline


def history(name: str, *, as_json: bool = False) -> int:
    """Print the deployments of a notebook, newest first."""
    answer = Client().get(notebook_path(name, "history"))
    command_output.tell(answer, timeline(answer, name, time.time(), command_output.here()), as_json=as_json)
    return 0


def rollback(name: str, to: str | None = None, *, as_json: bool = False) -> int:
    """Serve an older version until the files change again."""
    notebook = Client().post(notebook_path(name, "rollback"), {"to": to})
    command_output.tell(notebook, draw_notebook(notebook, time.time(), command_output.here()), as_json=as_json)
    return 0


def recovered(
    name: str,
    *,
    restore: str | None = None,
    everything: bool = False,
    clear: bool = False,
    yes: bool = False,
    as_json: bool = False,
) -> int:
    """Print the edits that were kept, and where; bring one or all of them back; or delete them.

    restore: "" for no path of its own.
    """
    if (restore is None and everything) or (clear and restore is not None) or (restore and everything):
        raise _usage("--all goes with --restore alone, and --clear with neither")
    if restore == "" and not everything:
        raise _usage("--restore needs a PATH, or --all")
    if clear:
        return _clear(name, yes=yes, as_json=as_json)
    if restore is not None:
        return _restore_all(name, as_json=as_json) if everything else _restore(name, restore, as_json=as_json)
    answer = Client().get(notebook_path(name, "recovered"))
    rows = [
        (one["path"], moment(one["saved_at"]), one["reason"], f"{one['size']:,} B", one["file"])
        for one in answer["recovered"]
    ]
    where = command_output.here()
    table = where.table(("path", "saved at", "reason", "size", "file"), rows)
    if rows:
        table += where.flow([("dim", "bring the newest copy back:"), ("strong", _command(name, rows[-1][0]))], 4)
        table += where.flow([("dim", "all of them:"), ("strong", f"kaosctl recovered {name} --restore --all")], 4)
    command_output.tell(answer, table if rows else ["nothing had to be recovered"], as_json=as_json)
    return 0


def _usage(text: str) -> Failure:
    return Failure(text, hint="kaosctl help recovered", exit_code=failure.USAGE, code="usage")


def _command(name: str, path: str) -> str:
    from shlex import quote

    return f"kaosctl recovered {name} --restore {quote(path)}"


def _clear(name: str, *, yes: bool, as_json: bool) -> int:
    client, path = Client(), notebook_path(name, "recovered")
    count = len(client.get(path)["recovered"])
    if not yes and sys.stdin.isatty() and not agreed(f"Delete {count} kept file{'' if count == 1 else 's'} of {name}?"):
        raise Failure("nothing was deleted")
    answer = client.delete(path)
    command_output.tell(answer, [f"{answer['cleared']} kept files of {name} are deleted"], as_json=as_json)
    return 0


def _restore(name: str, path: str, *, as_json: bool) -> int:
    answer = Client().post(notebook_path(name, "restore"), {"path": path})
    command_output.tell(answer, _restored(answer, command_output.here()), as_json=as_json)
    return 0


def _restore_all(name: str, *, as_json: bool) -> int:
    answer = Client().post(notebook_path(name, "restore"), {"path": None}, timeout=None)
    where = command_output.here()
    lines = [line for one in answer["restored"] for line in _restored(one, where)]
    for one in answer["failed"]:
        lines += where.flow([("bad", f"✗ {one['path']} not restored"), ("", one["reason"])], 4)
    command_output.tell(answer, lines or ["nothing had to be recovered"], as_json=as_json)
    return failure.FAILED if answer["failed"] else 0


def _restored(answer: dict[str, Any], where: Screen) -> list[str]:
    how = "in its tab" if answer["in_tab"] else "on disk"
    lines = where.flow([("good", f"● {answer['restored']} restored"), ("dim", how), ("", f"from {answer['file']}")], 4)
    for file in answer["kept"]:
        lines += where.flow([("", f"    what was there is kept as {file}")], 4)
    return lines
