"""Deployments, jobs and log files of one notebook, on a real journal and real files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kaosd.errors import StoreError
from kaosd.hosted import logfile
from kaosd.journal import Journal, Live
from kaosd.model import Host, JobState, Resources, Stage, Version
from kaosd.notebook import record as records
from kaosd.notebook.record import Record
from kaosd.planner import Target
from kaosd.stage_logs import log_name

ONE = Target(Version("example", "1" * 64), "e1", None, Resources())
TWO = Target(Version("example", "2" * 64), "e1", None, Resources())


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite", 1.0) as journal:
        yield journal


@pytest.fixture
def record(journal: Journal, tmp_path: Path) -> Record:
    (tmp_path / "logs").mkdir()
    return Record("n", journal, tmp_path / "logs")


def test_a_deployment_goes_on_while_its_target_stays_and_is_called_after_the_costliest_step(record: Record) -> None:
    assert not record.going_on(ONE, "sync")
    record.begin(ONE, ("a.py",), "sync")
    assert record.going_on(ONE, "build")
    assert record.going_on(ONE, "swap")
    assert record.deployment is not None
    assert (record.deployment.number, record.deployment.action) == (1, "build")
    assert not record.going_on(TWO, "sync")
    record.begin(TWO, ("b.py",), "sync")
    outcomes = [one.outcome for one in record.journal.deployments("n", 9)]
    assert outcomes == ["running", "superseded"]


def test_a_job_has_its_own_log_and_goes_through_its_states(record: Record) -> None:
    record.begin(ONE, ("a.py",), "build")
    job, log = record.job(Stage.BUILD)
    log.step(1, 2, "read\nforged \x1b[31m line")
    log.close()
    record.job_state(job, JobState.RUNNING)
    assert record.jobs[Stage.BUILD].state is JobState.RUNNING
    record.job_ended(job, JobState.FAILURE, "no such package")
    kept = record.journal.job(job.id)
    assert kept is not None
    assert (kept.state, kept.error, kept.log) == (JobState.FAILURE, "no such package", str(log.path))
    text = log.path.read_text()
    assert "step 1/2 read" in text
    assert "\x1b" not in text
    assert log.path.stat().st_mode & 0o077 == 0
    kinds = [event.kind for event in record.journal.events(0, 100)[0]]
    assert kinds == ["deployment_started", "job_started", "job_progress", "job_finished"]


def test_progress_is_the_step_and_how_far_it_is_and_starts_again_with_the_next_build(record: Record) -> None:
    def now(stage: Stage = Stage.BUILD) -> tuple[int | None, int | None, str]:
        at = record.progress[stage]
        return at.step, at.steps, at.text

    record.begin(ONE, (), "build")
    _, log = record.job(Stage.BUILD)
    log.progress("1 of 2 built")
    assert now() == (None, None, "prepare the build: 1 of 2 built")
    log.step(3, 4, "create")
    log.progress("a")
    log.line("step 4/4 is only a line")
    log.progress("b: c")
    assert now() == (3, 4, "create: b: c")
    log.step(4, 4, "install")
    assert now() == (4, 4, "install")
    text = log.path.read_text()
    log.progress("9 packages")
    assert now() == (4, 4, "install: 9 packages")
    assert log.path.read_text() == text
    log.close()
    kinds = [event.kind for event in record.journal.events(0, 100)[0]]
    assert kinds.count("job_progress") == 2
    _, host = record.job(Stage.HOST)
    assert now() == (4, 4, "install: 9 packages")
    assert now(Stage.HOST) == (None, None, "start JupyterLab")
    host.close()
    record.begin(TWO, (), "build")
    _, again = record.job(Stage.BUILD)
    assert now() == (None, None, "prepare the build")
    again.close()


@pytest.mark.parametrize(
    ("took", "seconds"),
    [((), None), ((0.1, 0.2), None), ((9.0,), 9.0), ((4.0, 0.1, 8.0), 6.0), ((3.0, 1.0, 2.0, 5.0, 4.0, 99.0), 3.0)],
)
def test_a_job_is_expected_to_take_what_the_last_ones_took(took: tuple[float, ...], seconds: float | None) -> None:
    assert records.expected(took) == seconds


def test_how_long_a_host_takes_to_answer_is_expected_of_the_next_one(record: Record) -> None:
    record.begin(ONE, (), "start")
    job, log = record.job(Stage.HOST)
    log.close()
    assert record.progress[Stage.HOST].expected is None
    record.journal.job_ready(job.id, job.started_at + 4)
    record.job_ended(job, JobState.KILLED, "replaced by the next host")
    record.job(Stage.HOST)[1].close()
    assert record.progress[Stage.HOST].expected == 4


def test_a_restarted_record_knows_the_newest_job_of_each_stage(record: Record, journal: Journal) -> None:
    record.begin(ONE, (), "build")
    record.job(Stage.BUILD)[1].close()
    record.finish("live")
    record.begin(TWO, (), "build")
    newest, log = record.job(Stage.BUILD)
    log.close()
    again = Record("n", journal, record.logs)
    again.restore()
    assert again.jobs[Stage.BUILD].id == newest.id
    assert again.deployment is not None
    assert again.deployment.number == 2


def test_old_logs_go_but_never_that_of_the_present_host(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "KEEP_LOGS", 2)
    host = record.logs / log_name(1, "host", "a" * 32)
    host.write_text("")
    for number in range(4):
        record.begin(ONE if number % 2 else TWO, (), "sync")
    record.trim()
    left = sorted(path.name for path in record.logs.iterdir())
    assert left == [host.name, log_name(3, "watch"), log_name(4, "watch")]


def test_a_log_that_grew_too_long_keeps_beginning_and_end_and_can_be_appended_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "HEAD", 100)
    monkeypatch.setattr(logfile, "TAIL", 100)
    path = tmp_path / "log"
    with open(path, "ab", buffering=0) as writer:
        for number in range(1000):
            writer.write(b"line %d\n" % number)
        logfile.cut(str(path))
        writer.write(b"line 1000\n")
    lines = path.read_text().splitlines()
    assert lines[0] == "line 0"
    assert lines[-2:] == ["line 999", "line 1000"]
    assert len(lines) < 40
    assert sum("bytes were cut here" in line for line in lines) == 1


HOST = Host("unix:/s", "e1", "s", 1.0, {})
SERVED = Live(source=ONE.source, resources=Resources(1.0), host=HOST)
DATA = Version("data", "3" * 64)


@pytest.mark.parametrize(
    ("live", "action", "expected"),
    [
        (SERVED, "sync", True),
        (SERVED, "start", True),
        (Live(), "start", False),
        (replace(SERVED, source=TWO.source), "sync", False),
        (replace(SERVED, data=DATA), "attach", False),
        (replace(SERVED, syncing="4" * 64), "sync", False),
        (replace(SERVED, attaching=True), "attach", False),
        (replace(SERVED, applying=True), "apply", False),
        (replace(SERVED, host=None), "start", False),
        (SERVED, "apply", True),
        (replace(SERVED, resources=Resources(2.0)), "apply", False),
        (replace(SERVED, resources=Resources(2.0)), "sync", True),
    ],
)
def test_a_deployment_that_the_daemon_did_not_outlive_went_live_if_all_of_it_is_served(
    record: Record, journal: Journal, live: Live, action: str, expected: bool
) -> None:
    record.begin(ONE, ("a.py",), action)
    journal.interrupted(2.0)
    record.restore()
    record.complete(live, Resources(1.0))
    (told,) = journal.deployments("n", 1)
    assert (told.outcome, told.error, told.finished_at) == (
        ("live", None, 2.0) if expected else ("superseded", "the daemon ended", 2.0)
    )


def test_only_what_a_deployment_was_to_bring_makes_it_go_live(record: Record, journal: Journal) -> None:
    record.begin(ONE, ("a.py",), "sync")
    record.arrived(ONE)
    record.begin(TWO, ("a.py",), "build")
    record.arrived(ONE)
    assert [one.outcome for one in journal.deployments("n", 2)] == ["superseded", "live"]


def test_a_deployment_that_is_written_down_late_began_when_its_step_did(record: Record) -> None:
    record.begin(ONE, ("a.py",), "sync", 1234.5)
    assert record.journal.deployments(record.name, 1)[0].started_at == 1234.5


def test_copies_are_written_down_once_when_the_journal_takes_them_again(
    record: Record, journal: Journal, tmp_path: Path
) -> None:
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text("mine")
    journal._db.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError):
        record.keep((file.name, str(file)) for file in files)
    with pytest.raises(StoreError):
        record.keep_again()
    files[1].unlink()  # by the person, who has seen it
    journal._db.execute("PRAGMA query_only = 0")
    record.keep_again()
    record.keep_again()
    assert [one.path for one in journal.recovered("n")] == ["a", "c"]
    assert record.recovered == 2


def test_deployments_and_builds_are_counted(record: Record) -> None:
    record.begin(ONE, ("a.py",), "build")
    job, log = record.job(Stage.BUILD)
    log.close()
    record.job_ended(job, JobState.SUCCESS)
    record.finish("live")
    record.begin(TWO, ("b.py",), "sync")
    record.finish("failed", "no such package")
    assert record.counters.deployments == {("n", "live"): 1, ("n", "failed"): 1}
    assert record.counters.counts == {("build", "n"): 1}
