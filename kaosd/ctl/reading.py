"""`kaosctl logs` and `kaosctl notebook build-logs`: both read the files, so the daemon may be down."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kaosd import logs
from kaosd.ctl import failure, files, output
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure
from kaosd.ctl.levels import is_start_up_noise
from kaosd.ctl.printing import Printer
from kaosd.ctl.progress import going_on
from kaosd.ctl.searching import Hit, Search
from kaosd.logs import Entry, Excerpt, StageLog

SPARE = 64  # lines that are read beyond those asked for, since JupyterLab's start-up noise is left out


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines a person asked for. deploy: number, "last", "failed", or None when nothing was said.

    every: also what JupyterLab says at every start.
    """

    stage: str | None = None
    deploy: int | str | None = None
    job: str | None = None
    since: float | None = None
    grep: re.Pattern[str] | None = None
    every: bool = False

    def passes(self, entry: Entry) -> bool:
        """Whether a line is asked for, its file being so; what it says does not count where a text is searched for."""
        if self.since is not None and entry.time < self.since:
            return False
        return self.every or self.grep is not None or not is_start_up_noise(entry.log.stage, entry.text)

    def matches(self, entry: Entry) -> bool:
        """Whether a line holds what is searched for."""
        return self.grep is not None and self.grep.search(entry.text) is not None

    def follows(self, log: StageLog) -> bool:
        """Whether lines that a file gains later are asked for."""
        return (
            self.stage in (None, log.stage)
            and (self.job is None or log.job.startswith(self.job))
            and (not isinstance(self.deploy, int) or log.number == self.deploy)
        )


def choose(found: list[StageLog], wanted: Wanted) -> list[Excerpt]:
    """The parts of one notebook's files that hold what is wanted; none when there are none."""
    if wanted.job is not None:
        return logs.of_job(found, wanted.job)
    if wanted.deploy is None and wanted.since is not None:
        return [Excerpt(log) for log in found if wanted.stage in (None, log.stage)]
    if wanted.deploy is None and wanted.stage is not None:
        return logs.of_stage(found, wanted.stage)
    numbers = sorted({log.number for log in found}, reverse=True)
    if wanted.deploy == "failed":
        numbers = [number for number in numbers if logs.has_failed(found, number)][:1]
    elif isinstance(wanted.deploy, int):
        numbers = [wanted.deploy]
    if not numbers:
        return []
    return logs.of_deployment(found, numbers[0], wanted.stage, failed=logs.has_failed(found, numbers[0]))


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
    wanted = Wanted(stage, deploy, job, since, grep, every=verbose or as_json)
    names = [] if stage == "daemon" else files.chosen_names(state, name)
    printer = Printer(output.here(), as_json=as_json, names=len(names) > 1, searched=grep)
    if follow:
        from kaosd.ctl.following import follow_logs

        return follow_logs(client, state, name, wanted, printer, lines)
    excerpts = selected(state, names, wanted)
    if not excerpts:
        raise nothing_found(state, name, wanted)
    if grep is not None:
        printer.show_found(_found(excerpts, wanted, lines))
    elif lines is not None and wanted.since is None:
        newest = logs.newest(excerpts, lines + SPARE)
        printer.show(last(filter(wanted.passes, newest), lines))
    else:
        printer.show(last(filter(wanted.passes, logs.merged(excerpts)), lines))
    if grep is None and not as_json:
        _show_progress(told, names, stage)
    return 0


def _found(excerpts: list[Excerpt], wanted: Wanted, number: int | None) -> Iterable[Hit]:
    """The last *number* matches, all when it is None, with the lines around them."""
    skipped = 0
    if number is not None:
        skipped = max(0, sum(map(wanted.matches, filter(wanted.passes, logs.merged(excerpts)))) - number)
    return Search(wanted.matches, skipped).take(filter(wanted.passes, logs.merged(excerpts)))


def _show_progress(told: dict[str, Any] | None, names: list[str], stage: str | None) -> None:
    """Print how far a build in progress is, below its lines."""
    if told is None or stage not in (None, "build"):
        return
    where = output.here()
    for notebook in told["notebooks"]:
        if notebook["name"] in names and notebook.get("progress"):
            print(where.paint("busy", f"◐ {notebook['name']} {going_on(notebook)}"))


def selected(state: str, names: list[str], wanted: Wanted) -> list[Excerpt]:
    """The excerpts wanted of each notebook in *names*, or of the daemon's own log."""
    if wanted.stage == "daemon":
        return [Excerpt(log) for log in [files.daemon_log(state)] if os.path.exists(log.path)]
    return [excerpt for name in names for excerpt in choose(files.logs_of(state, [name]), wanted)]


def last(entries: Iterable[Entry], number: int | None) -> Iterable[Entry]:
    """The last *number* entries, all when it is None."""
    return entries if number is None else deque(entries, maxlen=number)


def nothing_found(state: str, name: str | None, wanted: Wanted) -> Failure:
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
    found = logs.of_job(files.logs_of(state, files.notebook_names(state)), job)
    if not found:
        raise nothing_found(state, None, Wanted(job=job))
    if len(found) > 1:
        ids = ", ".join(excerpt.log.job for excerpt in found[:3])
        raise Failure(f"{len(found)} jobs begin with {job}: {ids}", hint="give more digits", exit_code=failure.USAGE)
    if directory is not None:
        return _copy(found[0].log, directory, as_json=as_json)
    Printer(output.here(), as_json=as_json).show(logs.entries(found[0]))
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
    output.tell({"path": target}, [target], as_json=as_json)
    return 0
