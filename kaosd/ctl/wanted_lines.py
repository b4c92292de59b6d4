"""Which lines of the logs a person asked for, and the files that hold them."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from kaosd import stage_logs
from kaosd.ctl import files
from kaosd.ctl.levels import is_start_up_noise
from kaosd.stage_logs import Excerpt, LogLine, StageLog


@dataclass(frozen=True, slots=True)
class WantedLines:
    """Which lines a person asked for. deploy: number, "last", "failed", or None when nothing was said.

    every: also what JupyterLab says at every start.
    """

    stage: str | None = None
    deploy: int | str | None = None
    job: str | None = None
    since: float | None = None
    grep: re.Pattern[str] | None = None
    every: bool = False

    def passes(self, entry: LogLine) -> bool:
        """Whether a line is asked for, its file being so; what it says does not count where a text is searched for."""
        if self.since is not None and entry.time < self.since:
            return False
        return self.every or self.grep is not None or not is_start_up_noise(entry.log.stage, entry.text)

    def matches(self, entry: LogLine) -> bool:
        """Whether a line holds what is searched for."""
        return self.grep is not None and self.grep.search(entry.text) is not None

    def follows(self, log: StageLog) -> bool:
        """Whether lines that a file gains later are asked for."""
        return (
            self.stage in (None, log.stage)
            and (self.job is None or log.job.startswith(self.job))
            and (not isinstance(self.deploy, int) or log.number == self.deploy)
        )


def choose(found: list[StageLog], wanted: WantedLines) -> list[Excerpt]:
    """The parts of one notebook's files that hold what is wanted; none when there are none."""
    if wanted.job is not None:
        return stage_logs.of_job(found, wanted.job)
    if wanted.deploy is None and wanted.since is not None:
        return [Excerpt(log) for log in found if wanted.stage in (None, log.stage)]
    if wanted.deploy is None and wanted.stage is not None:
        return stage_logs.of_stage(found, wanted.stage)
    numbers = sorted({log.number for log in found}, reverse=True)
    if wanted.deploy == "failed":
        numbers = [number for number in numbers if stage_logs.has_failed(found, number)][:1]
    elif isinstance(wanted.deploy, int):
        numbers = [wanted.deploy]
    if not numbers:
        return []
    return stage_logs.of_deployment(found, numbers[0], wanted.stage, failed=stage_logs.has_failed(found, numbers[0]))


def selected(state: str, names: list[str], wanted: WantedLines) -> list[Excerpt]:
    """The excerpts wanted of each notebook in *names*, or of the daemon's own log."""
    if wanted.stage == "daemon":
        return [Excerpt(log) for log in [files.daemon_log(state)] if os.path.exists(log.path)]
    return [excerpt for name in names for excerpt in choose(files.logs_of(state, [name]), wanted)]


def last(entries: Iterable[LogLine], number: int | None) -> Iterable[LogLine]:
    """The last *number* entries, all when it is None."""
    return entries if number is None else deque(entries, maxlen=number)
