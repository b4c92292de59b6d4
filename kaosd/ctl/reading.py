"""`kaosctl logs` and `kaosctl notebook build-logs`: both read the files, so the daemon may be down."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from kaosd import stage_logs
from kaosd.ctl import command_output, failure, files
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure
from kaosd.ctl.printing import Printer
from kaosd.ctl.progress import going_on
from kaosd.ctl.searching import Hit, Search
from kaosd.ctl.wanted_lines import WantedLines, last, selected
from kaosd.stage_logs import Excerpt, StageLog

SPARE = 64  # lines that are read beyond those asked for, since JupyterLab's start-up noise is left out


def show(
    name: str | None = None,
    *,
    stage: str | None = None,
    deploy: int | str | None = None,
    job: str | None = None,
    follow: bool = False,
    lines: int | None = None,
    since: float | None = None,
    grep: re.Pattern[str] | None = None,
    verbose: bool = False,
    as_json: bool = False,
) -> int:
    """Print log lines in the order of their times; with *follow* keep printing until interrupted."""
    client = Client()
    told = files.status_of(client)
    state = files.state_dir_in(told)
    wanted = WantedLines(stage, deploy, job, since, grep, every=verbose or as_json)
    names = [] if stage == "daemon" else files.chosen_names(state, name)
    printer = Printer(command_output.here(), as_json=as_json, names=len(names) > 1, searched=grep)
    if follow:
        from kaosd.ctl.following import follow_logs

        return follow_logs(client, state, name, wanted, printer, lines)
    excerpts = selected(state, names, wanted)
    if not excerpts:
        raise nothing_found(state, name, wanted)
    if grep is not None:
        printer.show_found(_found(excerpts, wanted, lines))
    elif lines is not None and wanted.since is None:
        newest = stage_logs.newest(excerpts, lines + SPARE)
        printer.show(last(filter(wanted.passes, newest), lines))
    else:
        printer.show(last(filter(wanted.passes, stage_logs.merged(excerpts)), lines))
    if grep is None and not as_json:
        _show_progress(told, names, stage)
    return 0


def _found(excerpts: list[Excerpt], wanted: WantedLines, number: int | None) -> Iterable[Hit]:
    """The last *number* matches, all when it is None, with the lines around them."""
    skipped = 0
    if number is not None:
        skipped = max(0, sum(map(wanted.matches, filter(wanted.passes, stage_logs.merged(excerpts)))) - number)
    return Search(wanted.matches, skipped).take(filter(wanted.passes, stage_logs.merged(excerpts)))


def _show_progress(told: dict[str, Any] | None, names: list[str], stage: str | None) -> None:
    """Print how far a build in progress is, below its lines."""
    if told is None or stage not in (None, "build"):
        return
    where = command_output.here()
    for notebook in told["notebooks"]:
        if notebook["name"] in names and notebook.get("progress"):
            print(where.paint("busy", f"◐ {notebook['name']} {going_on(notebook)}"))


def nothing_found(state: str, name: str | None, wanted: WantedLines) -> Failure:
    """The failure when no file holds what is wanted."""
    if wanted.stage == "daemon":
        text = f"there is no log of the daemon in {state}/logs"
        return Failure(text, hint="under systemd: journalctl --user -u kaosd", exit_code=failure.NOT_FOUND)
    what = f"job {wanted.job}" if wanted.job else f"stage {wanted.stage}" if wanted.stage else ""
    if wanted.deploy not in (None, "last"):
        failed = wanted.deploy == "failed"
        what += (" of " if what else "") + ("a deployment that failed" if failed else f"deployment {wanted.deploy}")
    text = f"there is no log of {what or 'a deployment'}" + (f" of {name}" if name else "")
    hint = f"`kaosctl history {name or 'NAME'}` shows the deployments; logs of old ones are removed"
    return Failure(text, hint=hint, exit_code=failure.NOT_FOUND, code="not_found")


def build_logs(job: str, *, directory: str | None = None, as_json: bool = False) -> int:
    """Print the whole log of one job, or write it into the directory *output*."""
    state = files.state_dir_in(files.status_of(Client()))
    found = stage_logs.of_job(files.logs_of(state, files.notebook_names(state)), job)
    if not found:
        raise nothing_found(state, None, WantedLines(job=job))
    if len(found) > 1:
        ids = ", ".join(excerpt.log.job for excerpt in found[:3])
        raise Failure(f"{len(found)} jobs start with {job}: {ids}", hint="give more digits", exit_code=failure.USAGE)
    if directory is not None:
        return _copy(found[0].log, directory, as_json=as_json)
    Printer(command_output.here(), as_json=as_json).show(stage_logs.entries(found[0]))
    return 0


def _copy(log: StageLog, directory: str, *, as_json: bool) -> int:
    target = os.path.join(os.path.expanduser(directory), f"{log.job}.log")
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(log.path, "rb") as old, open(target, "wb") as new:
            while block := old.read(1 << 20):
                new.write(block)
    except OSError as error:
        raise Failure(f"the log cannot be written to {target}: {error.strerror}") from None
    command_output.tell({"path": target}, [target], as_json=as_json)
    return 0
