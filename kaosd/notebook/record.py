"""What a notebook's actor writes down: deployments, jobs and their log files."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from kaosd.aside import is_file, set_aside
from kaosd.bundle.caches import CACHES
from kaosd.bundle.store_errors import store_errors
from kaosd.display import printable
from kaosd.errors import NotFoundError
from kaosd.hosted import logfile
from kaosd.journal import Journal, Live, Recovered
from kaosd.journal.history import DAEMON_ENDED
from kaosd.metrics import Counters
from kaosd.model import DeployCheck, Deployment, Job, JobState, Progress, Resources, Stage
from kaosd.notebook.past import SHORT, one_line
from kaosd.planner import Target
from kaosd.stage_logs import log_name, stage_logs, stamp

# What a deployment is called after: the costliest step that it took.
COST = ("none", "apply", "sync", "attach", "swap", "build", "start")


KEEP_LOGS = 200  # deployments whose logs are kept
AT_ONCE = 0.5  # seconds that finding an environment in place may take
COUNTED = 5  # jobs by which the time of the next one is expected
DOING = {Stage.BUILD: "prepare the build", Stage.HOST: "start JupyterLab"}  # before the first step is reported


class LogFile:
    """An engine's Log: lines with a time stamp, appended to one file (mode 0600) that is cut when it gets too long.

    StoreError when the disk is full.
    """

    def __init__(
        self,
        path: Path,
        stepped: Callable[[int, int, str], None] | None = None,
        advanced: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self._stepped = stepped
        self._advanced = advanced
        with store_errors("write to", path):
            if os.path.lexists(path) and not is_file(path):
                set_aside(path, time.time())
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def line(self, text: str) -> None:
        """Append one line."""
        with store_errors("write to", self.path):
            os.write(self._fd, (stamp(text) + "\n").encode("utf-8", "backslashreplace"))
            logfile.bound(str(self.path))

    def step(self, number: int, steps: int, text: str) -> None:
        """Append a line that names a step, and report that the step has started."""
        self.line(f"step {number}/{steps} {text}")
        if self._stepped is not None:
            self._stepped(number, steps, text)

    def progress(self, text: str) -> None:
        """Report how far the current step is."""
        if self._advanced is not None:
            self._advanced(text)

    def close(self) -> None:
        """Close the file; further lines are an error."""
        os.close(self._fd)


class Record:
    """The deployment in progress of one notebook, and its jobs. Owned by the actor."""

    def __init__(
        self, name: str, journal: Journal, logs: Path, settle: float = 0.4, counters: Counters | None = None
    ) -> None:
        self.name = name
        self.settle = settle  # seconds of quiet after a save; see past.one_line
        self.grown = False  # the deployment in progress brings one file that has become larger
        self.journal = journal
        self.logs = logs
        self.counters = counters if counters is not None else Counters()
        self.deployment: Deployment | None = None
        self.target: Target | None = None
        self.jobs: dict[Stage, Job] = {}
        self.progress: dict[Stage, Progress] = {}  # of the last job of each stage
        self._steps: dict[Stage, str] = {}  # the text of each one's step, without how far that is
        self.sending: Progress | None = None  # how far data has got on its way to where the host is
        self.recovered = 0  # copies of a person's work that were kept
        self.kept: tuple[Recovered, ...] = ()  # the latest of them: those of one deployment
        self._unlisted: list[tuple[str, str]] = []  # of these, see `keep`

    def restore(self, copies: Iterable[tuple[str, str]] = ()) -> None:
        """Take up what the journal knows, after a start of the daemon.

        copies: of edits, as they lie on disk; the daemon may have been killed before it wrote one down.
        """
        copies_before = self.journal.recovered(self.name)
        listed = {one.file for one in copies_before}
        self.recovered = len(listed)
        for one in copies_before:
            self._latest(one)
        known = self.journal.deployments(self.name, 200)
        self.deployment = known[0] if known else None
        for deployment in reversed(known):
            for job in self.journal.jobs(self.name, deployment.number):
                before = self.jobs.get(job.stage)
                beside = before is not None and before.error == DAEMON_ENDED and job.state is JobState.FAILURE
                if not (job.stage is Stage.HOST and beside):  # the one before it went on serving
                    self.jobs[job.stage] = job
        self._forget_undone()
        self._unlisted = [(path, file) for path, file in copies if file not in listed]
        self.keep_again()

    @property
    def open(self) -> bool:
        """Whether a deployment is in progress."""
        return self.deployment is not None and self.deployment.finished_at is None

    def going_on(self, target: Target, action: str) -> bool:
        """Whether the deployment in progress brings *target*; its action then is the costliest so far."""
        if not self.open or self.target != target or self.deployment is None:
            return False
        if COST.index(action) > COST.index(self.deployment.action):
            self.deployment = self.journal.update_deployment(self.name, self.deployment.number, action=action)
        return True

    def begin(
        self, target: Target, cause: tuple[str, ...], action: str, at: float | None = None, *, grown: bool = False
    ) -> None:
        """A new deployment that brings *target*, started *at* (None: now); one in progress is superseded.

        grown: all that it brings is one file that has become larger.
        """
        self.finish("superseded")
        self.target, self.grown = target, grown
        self.deployment = self.journal.begin_deployment(
            self.name, cause, target.source, target.data, action, at if at is not None else time.time()
        )
        self.event("deployment_started", number=self.deployment.number, cause=list(self.deployment.cause))
        self.note(f"deployment {self.deployment.number}: {', '.join(self.deployment.cause[:5])} -> {action}")

    def finish(self, outcome: str, error: str | None = None) -> None:
        """End the deployment in progress, if there is one."""
        if not self.open or self.deployment is None:
            return
        number = self.deployment.number
        now = time.time()
        self.counters.deployment(self.name, outcome, self.deployment.action, now - self.deployment.started_at)
        self.deployment = self.journal.finish_deployment(self.name, number, outcome, error, now)
        self._forget_undone()
        self._join()
        self.event("deployment_finished", number=number, outcome=outcome, error=error)
        self.note(f"deployment {number}: {outcome}" + (f": {error}" if error else ""))

    def _join(self) -> None:
        """Drop the deployment before the last one where both are one line of the history."""
        last = self.deployment
        if last is None or last.outcome != "live" or last.action not in SHORT:
            return
        for before in self.journal.deployments(self.name, 2)[1:]:
            if one_line(before, last, grown=self.grown, settle=self.settle) and self.journal.drop_deployment(before):
                (self.logs / log_name(before.number, Stage.WATCH.value, "-")).unlink(missing_ok=True)

    def _forget_undone(self) -> None:
        """Once a deployment went live, the last build is the last one that succeeded: nothing waits for another."""
        if self.deployment is None or self.deployment.outcome != "live" or Stage.BUILD not in self.jobs:
            return
        if self.jobs[Stage.BUILD].state in (JobState.FAILURE, JobState.KILLED):
            built = self.journal.last_job(self.name, Stage.BUILD, JobState.SUCCESS)
            if built is None:
                del self.jobs[Stage.BUILD]
            else:
                self.jobs[Stage.BUILD] = built

    @property
    def undone(self) -> Deployment | None:
        """The last deployment if it came to nothing, so that another one must say when its change was taken back."""
        last = self.deployment
        return last if last is not None and last.outcome in ("failed", "cancelled", "superseded") else None

    def reverted(self, target: Target, cause: tuple[str, ...]) -> None:
        """Write down that *target* is served and wanted again, after a deployment that came to nothing."""
        self.begin(target, cause, "none")
        self.finish("live")

    def checked(self, number: int, checks: tuple[DeployCheck, ...]) -> None:
        """Write down how far the notebook files that are run after deployment *number* have got."""
        with contextlib.suppress(NotFoundError):  # it is one line of the history with a newer one
            found = self.journal.note_checks(self.name, number, checks)
            if self.deployment is not None and self.deployment.number == number:
                self.deployment = found
        for one in checks:
            if one.outcome == "failed":
                self.event("check_failed", number=number, notebook=one.notebook, cell=one.cell, error=one.error)

    def arrived(self, target: Target) -> None:
        """*target* is served: the deployment in progress went live if that is what it was to bring."""
        self.finish("live" if self.target == target else "superseded")

    def complete(self, live: Live, wanted: Resources) -> None:
        """Say of the last deployment that it went live, if the daemon was killed before it could write that down."""
        last = self.deployment
        if last is not None and last.error == DAEMON_ENDED and went_live(last, live, wanted):
            number, at = last.number, last.finished_at or time.time()
            self.deployment = self.journal.finish_deployment(self.name, number, "live", None, at)
            self.event("deployment_finished", number=number, outcome="live", error=None)

    def job(self, stage: Stage) -> tuple[Job, LogFile]:
        """Start a job of the deployment in progress, with its log file."""
        number = self.deployment.number if self.deployment is not None else 0
        job = self.journal.begin_job(self.name, number, stage, time.time())
        path, usual = self.logs / log_name(number, stage.value, job.id), self.journal.stage_seconds(self.name, stage)
        log = LogFile(path, partial(self._stepped, job), partial(self._advanced, stage))
        doing = self._steps[stage] = DOING.get(stage, "")
        self.progress[stage] = Progress(stage, doing, job.started_at, expected=expected(usual))
        self.jobs[stage] = self.journal.job_log(job.id, str(log.path))
        self.event("job_started", job=job.id, stage=stage.value, number=number)
        return self.jobs[stage], log

    def job_state(self, job: Job, state: JobState) -> Job:
        """Record that a job has got so far."""
        self.jobs[job.stage] = self.journal.job_state(job.id, state, None, None)
        return self.jobs[job.stage]

    def job_ready(self, job: Job) -> None:
        """Record that the host of a job answers."""
        self.jobs[job.stage] = self.journal.job_ready(job.id, time.time())

    def job_ended(self, job: Job, state: JobState, error: str | None = None) -> None:
        """Record how a job went."""
        now = time.time()
        ended = self.journal.job_state(job.id, state, error, now)
        if (job.stage, state) == (Stage.BUILD, JobState.SUCCESS):
            self.counters.build(self.name, now - job.started_at)
        if self.jobs.get(job.stage, job).id == job.id:
            self.jobs[job.stage] = ended
        self.event("job_finished", job=job.id, stage=job.stage.value, state=state.value, error=error)

    def goes_on(self, job: Job | None) -> None:
        """A job that was to be replaced continues after all, as the last one of its stage."""
        if job is not None:
            self.jobs[job.stage] = job

    def newest_log(self) -> Path | None:
        """The log of the job that started last."""
        begun = sorted(self.jobs.values(), key=lambda job: job.started_at)
        return Path(begun[-1].log) if begun and begun[-1].log else None

    def trim(self) -> None:
        """Remove the logs of deployments long past, and cut what a talkative host has written; blocking."""
        found = stage_logs(str(self.logs), self.name)
        known = self.journal.deployments(self.name, KEEP_LOGS)  # numbers have gaps
        oldest = known[-1].number if len(known) == KEEP_LOGS else 0
        hosts = [log.number for log in found if log.stage == "host"]
        for log in found:
            if log.number < oldest and not (log.stage == "host" and log.number == max(hosts)):
                os.unlink(log.path)
            else:
                logfile.bound(log.path)

    def keep(self, copies: Iterable[tuple[str, str]]) -> None:
        """Write down copies of edits, made before a newer version replaced it: the path and the file of each.

        StoreError when the disk is full or the journal locked; then `keep_again` writes down what is left.
        """
        self._unlisted += copies
        self.keep_again()

    def _latest(self, copy: Recovered) -> None:
        """Note the latest copy, with the others of its deployment; of a path only the last."""
        others = [one for one in self.kept if one.deployment == copy.deployment and one.path != copy.path]
        self.kept = (*others, copy)

    def keep_again(self) -> None:
        """Write down the copies that could not be written down before."""
        while self._unlisted:
            path, file = self._unlisted[0]
            there = os.path.lexists(file)  # nobody has deleted it since
            if there:
                number = self.deployment.number if self.deployment is not None else 0
                copy = Recovered(self.name, number, path, file, os.lstat(file).st_size, time.time())
                self.journal.note_recovered([copy])
                self.recovered += 1
                self._latest(copy)
            del self._unlisted[0]
            if there:
                self.note(f"your edit of {path} in the notebook was kept as {file}")

    def note(self, text: str) -> None:
        """One line in the watch log of the deployment in progress."""
        number = self.deployment.number if self.deployment is not None else 0
        log = LogFile(self.logs / log_name(number, Stage.WATCH.value, "-"))
        try:
            log.line(text)
        finally:
            log.close()

    def sent(self, text: str | None) -> None:
        """What is reported of data on its way: a line in the watch log, and the progress; None when it is over."""
        since = self.deployment.started_at if self.deployment is not None else time.time()
        self.sending = Progress(Stage.WATCH, f"data: {text}", since) if text is not None else None
        if text is not None:
            self.note(text)
            self.event("data_progress", text=text)

    def event(self, kind: str, **data: object) -> None:
        """Append to the numbered stream of events."""
        self.journal.append(kind, self.name, data, time.time())

    def _stepped(self, job: Job, number: int, steps: int, text: str) -> None:
        self._steps[job.stage] = text
        self.progress[job.stage] = replace(self.progress[job.stage], step=number, steps=steps, text=text)
        self.event("job_progress", job=job.id, stage=job.stage.value, step=number, steps=steps, text=text)

    def _advanced(self, stage: Stage, text: str) -> None:
        self.progress[stage] = replace(self.progress[stage], text=f"{self._steps[stage]}: {text}")


def expected(took: Sequence[float]) -> float | None:
    """The seconds that a job usually takes by those that earlier ones *took*, newest first; None without any.

    A build that found its environment in place does not count.
    """
    counted = [seconds for seconds in took if seconds > AT_ONCE][:COUNTED]
    return round(statistics.median(counted), 1) if counted else None


def went_live(deployment: Deployment, live: Live, wanted: Resources) -> bool:
    """Whether all that an interrupted *deployment* was to bring is served, by what was written down last.

    wanted: the limits of the notebook, which are all that a deployment of nothing else has brought.
    """
    whole = live.host is not None and live.syncing is None and not live.attaching and not live.applying
    brought = (deployment.source, deployment.data) == (live.source, live.data)
    return whole and brought and (deployment.action != "apply" or live.resources == wanted)


DEEPER = ("work", "reset", "pull")  # kinds of copies that lie in a directory more


def saved_copies(recovered: Path) -> list[tuple[str, str]]:
    """The copies of edits below *recovered*: what each was called, and the file; blocking.

    Each lies below tabs in a directory named by a time, or one level deeper in its work, reset or pull, or in a work
    directory that was set aside; no others are ours.
    """
    found = []
    places = _directories(str(recovered))
    aside = [place for place in places if os.path.basename(place).startswith("work-")]
    kinds = [os.path.join(each, kind) for each in places if each not in aside for kind in ("tabs", *DEEPER)]
    for place in sorted(aside + kinds):
        tops = _directories(place) if os.path.basename(place) in DEEPER else [place]
        for top in tops:
            for directory, names, files in os.walk(top):
                empty = not names and not files
                names[:] = [name for name in names if os.fsencode(name) not in CACHES]
                links = [name for name in names if os.path.islink(os.path.join(directory, name))]
                leaves = [os.path.join(directory, name) for name in (*files, *links)]
                if empty and directory != top:
                    leaves = [directory]
                found += [(printable(os.path.relpath(leaf, top)), leaf) for leaf in leaves]
    return found


def _directories(path: str) -> list[str]:
    if not os.path.isdir(path):
        return []
    with os.scandir(path) as entries:
        return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))


def bare(paths: Iterable[bytes]) -> tuple[str, ...]:
    """Paths of a bundle as shown to people."""
    return tuple(printable(os.fsdecode(path)) for path in paths)
