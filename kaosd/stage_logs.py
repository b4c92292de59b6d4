"""Log files on disk: their names, their lines, which of them belong to a deployment, and how they are read.

One file per notebook, deployment, stage and job: `logs/<number>.<stage>.<job or "-">.log`; the daemon's own is
`<state>/logs/daemon.log`. Each line is an RFC 3339 time in UTC, a space and text; a line without a time belongs
to the one before. A host's file continues through later deployments until another host starts. Standard library
only: the client reads these files while the daemon is down. The files are the truth; nothing here asks it.
"""

from __future__ import annotations

import heapq
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from kaosd.display import epoch, printable, rfc3339
from kaosd.hosted.logfile import LINE, LONGEST

STAGES = ("watch", "build", "host")
_STEP = 64 * 1024  # bytes of a file that are read first for its last lines
_NAME = re.compile(r"([0-9]{6,})\.(watch|build|host)\.([0-9a-f]{32}|-)\.log")
_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z) ?(.*)", re.DOTALL)
_JUPYTER = re.compile(r"\[([CEWID]) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) (.*)", re.DOTALL)
_NOTE = re.compile(r"deployment ([0-9]+): ((live|failed|superseded|cancelled)(?:: .*)?|.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StageLog:
    """One log file. notebook, job: "" when it belongs to none; number: of the deployment that started it."""

    path: str
    notebook: str
    number: int
    stage: str
    job: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log file. time: seconds since the epoch, 0 when the file has not told any yet."""

    time: float
    log: StageLog
    text: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A log file, and from when to when it is of interest (seconds since the epoch, end excluded)."""

    log: StageLog
    start: float = 0.0
    end: float = float("inf")


@dataclass(frozen=True, slots=True)
class Note:
    """A line of the watch stage that tells how a deployment started (outcome "") or ended (live, failed, ...)."""

    number: int
    text: str
    outcome: str


def log_name(number: int, stage: str, job: str = "-") -> str:
    """The name of the log file of one *stage* (watch, build, host) of deployment *number*."""
    return f"{number:06d}.{stage}.{job or '-'}.log"


def stamp(text: str, at: float | None = None) -> str:
    """The line, or lines, for *text* at time *at* (None: now), without a final line break."""
    time_text = rfc3339(time.time() if at is None else at)
    return "\n".join(f"{time_text} {printable(line.rstrip())}" for line in text.rstrip("\n").split("\n"))


def split_line(line: str) -> tuple[float | None, str]:
    """Time and text of a line; the time is None when it has none. JupyterLab's own times (local) count too."""
    if found := _STAMPED.match(line):
        return epoch(found[1]), found[2]
    if found := _JUPYTER.match(line):
        return datetime.fromisoformat(found[2]).timestamp(), f"[{found[1]} {found[3]}"
    return None, line


def note(entry: LogLine) -> Note | None:
    """What *entry* says of its deployment, when it is such a line."""
    found = _NOTE.fullmatch(entry.text) if entry.log.stage == "watch" else None
    return Note(int(found[1]), found[2], found[3] or "") if found else None


def stage_logs(directory: str, notebook: str) -> list[StageLog]:
    """The log files in *directory*, by deployment and stage; none when it is not there. OSError when unreadable."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    found = [(match, name) for name in names if (match := _NAME.fullmatch(name))]
    logs = [
        StageLog(os.path.join(directory, name), notebook, int(match[1]), match[2], match[3].strip("-"))
        for match, name in found
    ]
    return sorted(logs, key=lambda log: (log.number, STAGES.index(log.stage), log.job))


def entries(excerpt: Excerpt, newest: int | None = None) -> Iterator[LogLine]:
    """The lines of one file within the excerpt's time; nothing when the file was removed meanwhile.

    newest: bytes at the end of the file that are read, None for all of it.
    """
    try:
        with open(excerpt.log.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            at = 0.0 if newest is None or newest >= size else None  # None: of a time that an earlier line tells
            if at is None and newest is not None:
                file.seek(size - newest)
                file.readline(LINE)  # a part of one
            while line := file.readline(LINE):
                told, text = _read_line(line)
                at = at if told is None else told
                if at is not None and excerpt.start <= at < excerpt.end:
                    yield LogLine(at, excerpt.log, text)
    except FileNotFoundError:
        return


def newest(excerpts: Iterable[Excerpt], count: int) -> list[LogLine]:
    """The last *count* lines of several files, in their order; not more is read of a file than that takes."""
    return list(heapq.merge(*(_newest(excerpt, count) for excerpt in excerpts), key=order))[-count:]


def _newest(excerpt: Excerpt, count: int) -> list[LogLine]:
    try:
        size = os.stat(excerpt.log.path).st_size
    except FileNotFoundError:
        return []
    step = max(_STEP, 256 * count)
    while True:
        found = list(deque(entries(excerpt, step), maxlen=count))
        if len(found) == count or step >= min(size, LONGEST):
            return found
        step *= 4


def _read_line(line: bytes) -> tuple[float | None, str]:
    return split_line(line.decode("utf-8", "backslashreplace").rstrip("\r\n"))


def merged(excerpts: Iterable[Excerpt]) -> Iterator[LogLine]:
    """The lines of several files in their order."""
    return heapq.merge(*map(entries, excerpts), key=order)


def order(entry: LogLine) -> tuple[float, bool]:
    """What lines are sorted by: their time, and of one time the end of the deployment last."""
    told = note(entry)
    return entry.time, told is not None and told.outcome != ""


def of_job(logs: Iterable[StageLog], job: str) -> list[Excerpt]:
    """The files of the job whose id starts with *job*."""
    return [Excerpt(log) for log in logs if log.job and log.job.startswith(job)]


def of_stage(logs: Iterable[StageLog], stage: str) -> list[Excerpt]:
    """The files that *stage* wrote when it last did anything, whole: the last build, the present host."""
    of_it = [log for log in logs if log.stage == stage]
    return [Excerpt(log) for log in of_it if log.number == of_it[-1].number]


def of_deployment(
    logs: list[StageLog],
    number: int,
    stage: str | None = None,
    *,
    start_of: Callable[[list[StageLog]], float] | None = None,
    failed: bool = False,
) -> list[Excerpt]:
    """The files of deployment *number*, with the part of the host's file that fell into its time.

    start_of: tells when a deployment started out of its files (default: reads them). failed: the deployment
    failed; the host that it was to replace is then left out, so that what it says later does not bury the cause.
    """
    start_of = start_of or began
    own = [log for log in logs if log.number == number]
    later = [log for log in logs if log.number > number]
    end = start_of([log for log in later if log.number == later[0].number]) if later else float("inf")
    excerpts = [Excerpt(log, end=end if log.stage == "host" else float("inf")) for log in own]
    if own and not any(log.stage == "host" for log in own) and not (failed and stage is None):
        earlier = [log for log in logs if log.number < number and log.stage == "host"]
        excerpts += [Excerpt(log, start_of(own), end) for log in earlier if log.number == earlier[-1].number]
    return [excerpt for excerpt in excerpts if stage in (None, excerpt.log.stage)]


def began(logs: Iterable[StageLog]) -> float:
    """When the first line in *logs* was written; 0 when none tells."""
    first = (next((entry.time for entry in entries(Excerpt(log)) if entry.time), 0.0) for log in logs)
    return min((at for at in first if at), default=0.0)


def has_failed(logs: Iterable[StageLog], number: int) -> bool:
    """Whether the watch stage noted that deployment *number* failed."""
    of_it = (Excerpt(log) for log in logs if log.number == number and log.stage == "watch")
    notes = (note(entry) for excerpt in of_it for entry in entries(excerpt))
    return any(told is not None and (told.number, told.outcome) == (number, "failed") for told in notes)


class Tail:
    """Reads what a growing file gains. Survives truncation and replacement of the file.

    Lines are handed out once they are complete. from_end: what is there already is of no interest.
    """

    def __init__(self, log: StageLog, *, from_end: bool = False) -> None:
        self.log = log
        self._at = 0.0
        self._place = (0, 0)  # inode, and bytes read
        self._rest = b""
        if from_end:
            try:
                found = os.stat(log.path)
            except FileNotFoundError:
                return
            self._place, self._at = (found.st_ino, found.st_size), time.time()

    def read(self) -> list[LogLine]:
        """The lines since the last call; none when the file is gone."""
        try:
            found = os.stat(self.log.path)
            if (found.st_ino, found.st_size) == self._place:
                return []
            if found.st_ino != self._place[0] or found.st_size < self._place[1]:
                self._place, self._rest = (found.st_ino, 0), b""
            with open(self.log.path, "rb") as file:
                file.seek(self._place[1])
                new = file.read(found.st_size - self._place[1])
        except FileNotFoundError:
            return []
        self._place = (self._place[0], self._place[1] + len(new))
        *lines, self._rest = (self._rest + new).split(b"\n")
        if len(self._rest) > LINE:
            lines, self._rest = [*lines, self._rest], b""
        return [self._entry(line) for line in lines]

    def _entry(self, line: bytes) -> LogLine:
        told, text = _read_line(line)
        self._at = self._at if told is None else told
        return LogLine(self._at, self.log, text)
