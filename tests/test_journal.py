"""The journal against real sqlite: what it gives back, and what a kill, a full disk, damage and locks leave of it."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kaosd.errors import ConfigError, NotFoundError, StoreError
from kaosd.journal import SCHEMA, Event, Intent, Journal, Live, Recovered, Registration, history
from kaosd.journal.events import KEEP_EVENTS, TRIM_EVERY
from kaosd.model import Environment, Host, JobState, Resources, Stage, Version

NOT_UTF8 = os.fsdecode(b"caf\xe9")
SOURCE = Version("example", "a" * 64)
DATA = Version(NOT_UTF8, "b" * 64)
SPEC = Registration("mnist", {"workspace": "vision", "source": "/home/ada/example", "gpu": 1})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path):
    with Journal(path, 1.0) as opened:
        yield opened


def begin(journal, at=10.0, name="mnist"):
    return journal.begin_deployment(name, ("model/train.py",), SOURCE, DATA, "sync", at)


def sqlite(path):
    return closing(sqlite3.connect(path, isolation_level=None))


def names(path):
    return sorted(entry.name for entry in path.parent.iterdir())


# -- notebooks -------------------------------------------------------------------------------------------------


def test_registered_notebooks_come_back_by_name_after_a_restart(journal, path):
    other = Registration("a", {"workspace": "w", "source": f"/src/{NOT_UTF8}", "cpu": 2.0, "memory": "4Gi", "gpu": 1})
    journal.register(SPEC)
    journal.register(other)
    journal.close()
    with Journal(path, 2.0) as again:
        assert again.registered() == (other, SPEC)


def test_registering_again_replaces_and_unregistering_twice_is_no_error(journal):
    journal.register(Registration("mnist", {"workspace": "old"}))
    journal.register(SPEC)
    assert journal.registered() == (SPEC,)
    journal.unregister("mnist")
    journal.unregister("mnist")
    assert journal.registered() == ()


def test_live_state_and_intent_come_back_whole(journal, path):
    host = Host("unix:/run/h.sock", "e" * 64, "s" * 64, 12.5, {"pid": 3, "unit": NOT_UTF8, "args": ["a", None]})
    environment = Environment("e" * 64, "/state/environments/e", "s" * 64)
    live = Live(SOURCE, "1" * 64, "2" * 64, DATA, environment, Resources(0.5, "1Gi", 0), host, "3" * 64, 4)
    intent = Intent(True, SOURCE, DATA, DATA, None)
    journal.save_live("mnist", live)
    journal.save_intent("mnist", intent)
    journal.close()
    with Journal(path, 2.0) as again:
        assert again.live("mnist") == live
        assert again.intent("mnist") == intent


def test_an_unknown_notebook_has_empty_state(journal):
    assert journal.live("nobody") == Live()
    assert journal.intent("nobody") == Intent()
    assert journal.deployments("nobody", 5) == ()
    assert journal.recovered("nobody") == ()


def test_forgetting_keeps_versions_deployments_and_recovered_files(journal):
    journal.register(SPEC)
    journal.save_live("mnist", Live(SOURCE))
    journal.save_intent("mnist", Intent(paused=True))
    journal.note_version("mnist", "source", SOURCE, 3, 100, 1.0)
    journal.note_recovered([Recovered("mnist", 1, "train.py", f"/state/recovered/{NOT_UTF8}", 5, 2.0)])
    first = begin(journal)
    journal.forget("mnist")
    assert (journal.registered(), journal.live("mnist"), journal.intent("mnist")) == ((SPEC,), Live(), Intent())
    assert [one.version for one in journal.versions("mnist", "source")] == [SOURCE]
    assert journal.deployments("mnist", 5) == (first,)
    assert begin(journal).number == 2
    (kept,) = journal.recovered("mnist")
    assert (kept.path, kept.file, kept.deployment, kept.size, kept.at) == (
        "train.py", f"/state/recovered/{NOT_UTF8}", 1, 5, 2.0,
    )  # fmt: skip


# -- deployments and jobs --------------------------------------------------------------------------------------


def test_a_deployment_is_numbered_per_notebook_and_tells_how_it_went(journal):
    one, two = begin(journal, 10.0), begin(journal, 20.0)
    assert (one.number, two.number, begin(journal, name="other").number) == (1, 2, 1)
    assert journal.update_deployment("mnist", 2, action="build").action == "build"
    ended = journal.finish_deployment("mnist", 2, "failed", "no such package", 25.0)
    assert (ended.action, ended.outcome, ended.error, ended.finished_at) == ("build", "failed", "no such package", 25.0)
    assert journal.deployments("mnist", 5) == (ended, one)
    assert journal.deployments("mnist", 1) == (ended,)


def test_a_job_goes_through_its_states(journal):
    begin(journal)
    job = journal.begin_job("mnist", 1, Stage.BUILD, 11.0)
    assert re.fullmatch("[0-9a-f]{32}", job.id)
    assert job.state is JobState.STARTING
    assert journal.job_log(job.id, "/logs/000001.build.log").log == "/logs/000001.build.log"
    running = journal.job_state(job.id, JobState.RUNNING)
    assert (running.state, running.finished_at) == (JobState.RUNNING, None)
    ended = journal.job_state(job.id, JobState.FAILURE, "line 3", 12.0)
    host = journal.begin_job("mnist", 1, Stage.HOST, 13.0)
    assert (ended.error, ended.finished_at, ended.log) == ("line 3", 12.0, "/logs/000001.build.log")
    assert journal.job(job.id) == ended
    assert journal.jobs("mnist", 1) == (ended, host)
    assert journal.job("0" * 32) is None


def test_what_builds_took_is_known_of_the_notebook_or_else_of_all(journal):
    assert journal.stage_seconds("mnist", Stage.BUILD) == ()
    for name, state, seconds in (
        ("other_", JobState.SUCCESS, 9.0),
        ("mnist", JobState.FAILURE, 1.0),
        ("other_", JobState.SUCCESS, 7.0),
        ("otherx", JobState.KILLED, 2.0),
    ):
        job = journal.begin_job(name, 1, Stage.BUILD, 10.0)
        journal.job_state(job.id, state, None, 10.0 + seconds)
    host = journal.begin_job("mnist", 1, Stage.HOST, 10.0)
    journal.job_state(host.id, JobState.FAILURE, "it did not answer", 99.0)
    assert journal.stage_seconds("mnist", Stage.HOST) == ()
    host = journal.begin_job("mnist", 1, Stage.HOST, 10.0)
    journal.job_ready(host.id, 14.0)
    journal.job_state(host.id, JobState.KILLED, "replaced by the next host", 99.0)
    assert journal.stage_seconds("mnist", Stage.HOST) == (4.0,)
    assert journal.stage_seconds("mnist", Stage.BUILD) == (7.0, 9.0)
    mine = journal.begin_job("mnist", 2, Stage.BUILD, 20.0)
    journal.job_state(mine.id, JobState.SUCCESS, None, 23.0)
    assert journal.stage_seconds("mnist", Stage.BUILD) == (3.0,)


def test_a_missing_deployment_or_job_is_named(journal):
    with pytest.raises(NotFoundError, match="notebook 'mnist' has no deployment 9"):
        journal.finish_deployment("mnist", 9, "live", None, 1.0)
    with pytest.raises(NotFoundError, match="no job abc"):
        journal.job_state("abc", JobState.SUCCESS, None, 1.0)


def test_the_oldest_deployments_go_with_their_jobs_whatever_gaps_the_numbers_have(journal, monkeypatch):
    monkeypatch.setattr(history, "KEEP_DEPLOYMENTS", 2)
    first, second = begin(journal), begin(journal)
    for one in (first, second):
        journal.begin_job("mnist", one.number, Stage.BUILD, 11.0)
    assert journal.drop_deployment(begin(journal))
    with journal._transaction() as db:
        db.execute("UPDATE deployments SET number = 9 WHERE number = 2")
        db.execute("UPDATE jobs SET deployment = 9 WHERE deployment = 2")
    assert begin(journal).number == 10
    assert len(journal.deployments("mnist", 9)) == 2
    assert (journal.jobs("mnist", 1), len(journal.jobs("mnist", 9))) == ((), 1)


def test_what_an_earlier_daemon_left_unfinished_is_ended_once(journal, path):
    finished = journal.finish_deployment("mnist", begin(journal).number, "live", None, 11.0)
    begin(journal, 20.0)
    done = journal.job_state(journal.begin_job("mnist", 2, Stage.BUILD, 21.0).id, JobState.SUCCESS, None, 22.0)
    starting = journal.begin_job("mnist", 2, Stage.HOST, 23.0)
    running = journal.job_state(journal.begin_job("mnist", 2, Stage.BUILD, 24.0).id, JobState.RUNNING)
    journal.close()
    with Journal(path, 30.0) as again:
        (deployment,), jobs = again.interrupted(31.0)
        assert (deployment.number, deployment.outcome, deployment.finished_at) == (2, "superseded", 31.0)
        assert {job.id for job in jobs} == {starting.id, running.id}
        assert {(job.state, job.error, job.finished_at) for job in jobs} == {
            (JobState.KILLED, "the daemon ended", 31.0)
        }
        assert again.deployments("mnist", 5) == (deployment, finished)
        assert [job.id for job in again.jobs("mnist", 2)] == [done.id, starting.id, running.id]
        assert again.job(done.id) == done
        assert again.interrupted(32.0) == ((), ())


# -- versions --------------------------------------------------------------------------------------------------


def version(digit):
    return Version("example", digit * 64)


def test_versions_are_newest_first_and_a_count_once_known_stays(journal):
    journal.note_version("mnist", "source", version("1"), 5, 50, 1.0)
    journal.note_version("mnist", "source", version("2"), 6, 60, 2.0)
    journal.note_version("mnist", "source", version("1"), 0, 0, 3.0)
    known = journal.versions("mnist", "source")
    assert [(one.version, one.files, one.bytes, one.at) for one in known] == [
        (version("1"), 5, 50, 3.0),
        (version("2"), 6, 60, 2.0),
    ]
    assert journal.files("mnist", "source", version("1")) == 5
    assert journal.files("mnist", "data", version("1")) == 0


def test_pruning_forgets_all_versions_of_one_kind_but_those_that_are_to_stay(journal):
    for at, digit in enumerate("12345"):
        journal.note_version("mnist", "source", version(digit), 1, 1, float(at))
    journal.note_version("mnist", "data", DATA, 1, 1, 0.0)
    journal.note_version("other", "source", version("9"), 1, 1, 0.0)
    gone = journal.prune("mnist", "source", {digit * 64 for digit in "154"})
    assert [one.version for one in gone] == [version("3"), version("2")]
    assert [one.version for one in journal.versions("mnist", "source")] == [version(d) for d in "541"]
    assert [one.version for one in journal.versions("mnist", "data")] == [DATA]
    assert [one.version for one in journal.versions("other", "source")] == [version("9")]


def test_a_deployment_that_is_dropped_takes_the_versions_that_nobody_else_brought(journal):
    made = [journal.begin_deployment("mnist", ("a",), version(d), DATA, "sync", float(d)) for d in "12134"]
    for one in made:
        journal.note_version("mnist", "source", one.source, 1, 1, one.started_at)
    journal.note_version("mnist", "data", DATA, 1, 1, 1.0)
    assert journal.drop_deployment(made[0])
    assert journal.drop_deployment(made[1])
    assert [one.version for one in journal.versions("mnist", "source")] == [version(d) for d in "431"]
    assert [one.version for one in journal.versions("mnist", "data")] == [DATA]
    assert [one.number for one in journal.deployments("mnist", 9)] == [5, 4, 3]
    journal.begin_job("mnist", 4, Stage.BUILD, 1.0)
    journal.note_recovered([Recovered("mnist", 5, "a", "/f", 1, 1.0)])
    assert not journal.drop_deployment(made[3])
    assert not journal.drop_deployment(made[4])
    assert [one.number for one in journal.deployments("mnist", 9)] == [5, 4, 3]
    assert begin(journal).number == 6


def test_roots_are_all_trees_that_anything_refers_to(journal):
    journal.note_version("mnist", "source", version("1"), 1, 1, 0.0)
    journal.save_live("mnist", Live(version("2"), "3" * 64, "4" * 64, version("5"), syncing="6" * 64))
    journal.save_intent("mnist", Intent(pinned_source=version("7"), pinned_data=version("8")))
    assert journal.roots() == {digit * 64 for digit in "12345678"}


# -- events ----------------------------------------------------------------------------------------------------


def test_events_are_numbered_and_can_be_read_from_any_number(journal):
    first = journal.append("state", "mnist", {"path": NOT_UTF8, "n": [1, None]}, 5.0)
    second = journal.append("reloaded", None, {}, 6.0)
    assert first == Event(first.seq, 5.0, "mnist", "state", {"path": NOT_UTF8, "n": [1, None]})
    assert second.seq == journal.last_seq > first.seq
    assert journal.events(0, 10) == ((first, second), False)
    assert journal.events(first.seq, 10) == ((second,), False)
    assert journal.events(0, 1) == ((first,), False)
    assert journal.events(second.seq, 10) == ((), False)


def test_numbers_go_on_after_a_restart_and_old_events_stay(journal, path):
    old = journal.append("a", None, {}, 1.0)
    journal.close()
    with Journal(path, 2.0) as again:
        new = again.append("b", None, {}, 3.0)
        assert new.seq > old.seq
        assert again.events(old.seq - 1, 10) == ((old, new), False)


def test_no_number_is_used_twice_when_a_power_cut_took_the_last_events(path):
    with Journal(path, 1.0) as journal:
        journal.append("a", None, {}, 1.0)
        journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = path.read_bytes()
        seen = [journal.append("lost", None, {}, 2.0).seq for _ in range(5)]
    path.write_bytes(before)
    with Journal(path, 3.0) as again:
        assert again.append("b", None, {}, 4.0).seq > max(seen)


def test_a_reader_of_trimmed_events_is_told_of_the_gap(journal):
    first = journal.append("a", None, {}, 1.0).seq
    with journal._transaction() as db:  # as if as many had been appended
        rows = [(1.0, "a", "{}")] * (KEEP_EVENTS + TRIM_EVERY)
        db.executemany("INSERT INTO events (time, kind, data) VALUES (?, ?, ?)", rows)
    for _ in range(TRIM_EVERY):
        last = journal.append("b", None, {}, 2.0).seq
    kept, gap = journal.events(first, 2 * KEEP_EVENTS)
    assert gap
    assert KEEP_EVENTS <= len(kept) < KEEP_EVENTS + TRIM_EVERY
    assert kept[-1].seq == last
    assert journal.events(kept[0].seq - 1, 1) == (kept[:1], False)


def test_a_number_from_another_journal_is_a_gap_and_reads_from_the_beginning(journal):
    event = journal.append("a", None, {}, 1.0)
    assert journal.events(event.seq + 1, 10) == ((event,), True)


# -- the file --------------------------------------------------------------------------------------------------


def test_the_file_is_private_whatever_the_umask_is(path):
    before = os.umask(0)
    try:
        with Journal(path, 1.0) as journal:
            journal.append("a", None, {}, 1.0)
            modes = {name: stat.S_IMODE((path.parent / name).stat().st_mode) for name in names(path)}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("journal.sqlite", "journal.sqlite-shm", "journal.sqlite-wal"), 0o600)


def test_closing_leaves_one_file_and_can_be_repeated(path):
    journal = Journal(path, 1.0)
    journal.close()
    journal.close()
    assert names(path) == ["journal.sqlite"]
    with pytest.raises(StoreError, match=r"journal\.sqlite cannot be used"):
        journal.live("mnist")


def test_what_a_killed_creation_left_does_not_matter(path):
    (path.parent / "journal.sqlite.new").write_bytes(b"half")
    (path.parent / "journal.sqlite-wal").write_bytes(b"stale")
    with Journal(path, 1.0) as journal:
        assert journal.repaired is None
    assert names(path) == ["journal.sqlite"]


def test_a_journal_of_a_newer_kaosd_is_refused_and_untouched(journal, path):
    journal.close()
    with sqlite(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    before = path.read_bytes()
    with pytest.raises(
        ConfigError, match=f"made by a newer kaosd .schema {SCHEMA + 1}, this one knows {SCHEMA}"
    ) as error:
        Journal(path, 2.0)
    assert not error.value.retryable
    assert path.read_bytes() == before
    assert names(path) == ["journal.sqlite"]


def overwrite_middle(path):
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)


def replaced(path, make):
    path.unlink()
    make(path)


def damaged_journal(path, damage):
    with Journal(path, 1.0) as journal:
        for number in range(300):
            journal.register(replace(SPEC, name=f"n{number}"))
            journal.begin_deployment(f"n{number}", ("a",), SOURCE, None, "build", 1.0)
    damage(path)


def zero_pages(path, which):
    with path.open("r+b") as file:
        for page in which(path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(bytes(4096))


PARTS = {
    "the last page": lambda path: zero_pages(path, lambda count: [count - 1]),
    "a page in the middle": lambda path: zero_pages(path, lambda count: [count // 2]),
    "the last quarter": lambda path: os.truncate(path, path.stat().st_size // 4 * 3 // 4096 * 4096),
}


@pytest.mark.parametrize("damage", PARTS.values(), ids=PARTS)
def test_what_can_still_be_read_of_a_damaged_journal_is_brought_over(path, damage):
    damaged_journal(path, damage)
    with Journal(path, 2.0) as again:
        assert again.repaired is not None
        kept = [spec.name for spec in again.registered()]
        assert len(kept) > 100
        assert all(spec == replace(SPEC, name=spec.name) for spec in again.registered())
        again.register(SPEC)
        assert again.begin_deployment("new", ("a",), SOURCE, None, "build", 2.0).number == 1
    with Journal(path, 3.0) as healthy:
        assert healthy.repaired is None


@pytest.mark.parametrize("beside", ["-wal", "-shm"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.write_bytes(os.urandom(40_000))])
def test_what_stands_beside_the_journal_does_not_matter(path, beside, make):
    with Journal(path, 1.0) as journal:
        journal.register(SPEC)
    make(path.with_name(path.name + beside))
    with Journal(path, 2.0) as again:
        assert again.registered() == (SPEC,)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")],
                         ids=["a directory", "a FIFO", "a dangling link"])  # fmt: skip
def test_what_is_not_a_file_is_set_aside(path, make):
    make(path)
    with Journal(path, 2.0) as journal:
        assert "it is not a file" in journal.repaired
        journal.register(SPEC)
    assert len(list(path.parent.glob("journal.sqlite.damaged-*"))) == 1


DAMAGES = {
    "no database at all": lambda path: path.write_bytes(b"hello, world\n" * 1000),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: os.truncate(path, 5000),
    "overwritten": overwrite_middle,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path, damage):
    with Journal(path, 1.0) as journal:
        journal.register(SPEC)
        seen = journal.append("a", None, {}, 1.0).seq
    damage(path)
    content = path.read_bytes()
    at = 1_700_000_000.0
    with Journal(path, at) as again:
        assert again.repaired is not None
        assert "journal.sqlite was damaged (" in again.repaired
        assert "it is now journal.sqlite.damaged-20231114T221320Z, and a new one was started" in again.repaired
        assert "\n" not in again.repaired
        assert again.registered() == ()
        assert again.append("b", None, {}, at).seq > seen
    assert (path.parent / "journal.sqlite.damaged-20231114T221320Z").read_bytes() == content
    with Journal(path, at + 1) as healthy:
        assert healthy.repaired is None


def test_a_row_that_was_edited_by_hand_is_named(journal):
    with journal._transaction() as db:
        db.execute("""INSERT INTO live VALUES ('mnist', '{"restarts": "many"}')""")
    with pytest.raises(StoreError, match="holds a Live that cannot be read"):
        journal.live("mnist")


def test_fields_that_an_older_kaosd_did_not_write_take_their_defaults(journal):
    with journal._transaction() as db:
        db.execute("""INSERT INTO live VALUES ('mnist', '{"restarts": 2, "unheard_of": 1}')""")
    assert journal.live("mnist") == Live(restarts=2)


def test_a_lock_of_another_program_is_named_and_passes(path):
    with Journal(path, 1.0, busy=0.01) as journal, sqlite(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"journal\.sqlite is locked by another program") as error:
            begin(journal)
        assert error.value.retryable
        assert journal.deployments("mnist", 5) == ()
        other.execute("ROLLBACK")
        assert begin(journal).number == 1


def test_a_locked_file_cannot_be_opened_but_is_not_taken_for_damaged(path):
    Journal(path, 1.0).close()
    with sqlite(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another program"):
            Journal(path, 2.0, busy=0.01)
    assert names(path) == ["journal.sqlite"]


def test_a_missing_directory_is_named(path):
    with pytest.raises(StoreError, match=r"missing/journal\.sqlite\.new: No such file or directory"):
        Journal(path.parent / "missing" / "journal.sqlite", 1.0)


def test_a_failed_block_leaves_nothing_behind(journal):
    class Stop(Exception):
        pass

    def fail():
        with journal._transaction() as db:
            db.execute("INSERT INTO intents VALUES ('mnist', '{}')")
            raise Stop

    with pytest.raises(Stop):
        fail()
    assert journal._rows("SELECT * FROM intents") == []


def test_threads_share_one_journal(journal):
    def work():
        for _ in range(25):
            number = begin(journal).number
            journal.append("begun", "mnist", {"number": number}, 1.0)
            journal.finish_deployment("mnist", number, "live", None, 2.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deployments = journal.deployments("mnist", 1000)
    assert [one.number for one in deployments] == list(range(100, 0, -1))
    assert {one.outcome for one in deployments} == {"live"}
    assert sorted(event.data["number"] for event in journal.events(0, 1000)[0]) == list(range(1, 101))


# -- against the kernel ----------------------------------------------------------------------------------------


def child(script, *arguments, prefix=()):
    command = [*prefix, sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_kill_9_loses_nothing_that_was_told(path):
    script = """
        import sys
        from pathlib import Path
        from kaosd.journal import Journal
        journal = Journal(Path(sys.argv[1]), 1.0)
        while True:
            number = journal.begin_deployment("mnist", (), None, None, "sync", 1.0).number
            seq = journal.append("begun", "mnist", {}, 1.0).seq
            print(number, seq, flush=True)
    """
    number = seq = 0
    for _ in range(2):
        with child(script, path) as process:
            lines = [process.stdout.readline() for _ in range(50)]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.read().splitlines(keepends=True)
        told = [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]
        assert told[0][0] == number + 1
        assert told[0][1] > seq
        number, seq = told[-1]
        with Journal(path, 2.0) as journal:
            assert journal.repaired is None
            begun = journal.deployments("mnist", 1)[0].number
            assert begun in (number, number + 1)  # it may have been killed before it could tell
            assert journal.last_seq > seq
            assert len(journal.interrupted(3.0)[0]) == begun - told[0][0] + 1
            number = begun


def test_kill_9_during_creation_leaves_a_whole_journal_or_none(tmp_path):
    script = """
        import sys
        from pathlib import Path
        from kaosd.journal import Journal
        for number in range(10**6):
            directory = Path(sys.argv[1]) / str(number)
            directory.mkdir()
            print(number, flush=True)
            Journal(directory / "journal.sqlite", 1.0).close()
    """
    for round_number in range(3):
        place = tmp_path / f"round{round_number}"
        place.mkdir()
        with child(script, place) as process:
            for _ in range(2 + round_number):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        for directory in place.iterdir():
            with Journal(directory / "journal.sqlite", 2.0) as journal:
                assert journal.repaired is None
                assert begin(journal).number == 1


@pytest.mark.not_quick
def test_a_full_disk_is_told_and_the_journal_goes_on_when_there_is_room(tmp_path):
    script = """
        import json, os, subprocess, sys
        from pathlib import Path
        from kaosd.errors import StoreError
        from kaosd.journal import Journal
        place = Path(sys.argv[1])
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", place], check=True)
        journal = Journal(place / "journal.sqlite", 1.0)
        (place / "ballast").write_bytes(bytes(100_000))
        count, error = 0, None
        while error is None:
            try:
                journal.append("filler", None, {"text": "x" * 2000}, 1.0)
                count += 1
            except StoreError as caught:
                error = caught
        kept = len(journal.events(0, 10_000)[0])
        (place / "ballast").unlink()
        after = journal.append("room", None, {}, 2.0).kind
        journal.close()
        (place / "filler").write_bytes(b"")
        with Journal(place / "journal.sqlite", 3.0) as again:
            repaired, found = again.repaired, len(again.events(0, 10_000)[0])
        try:
            with open(place / "filler", "wb", buffering=0) as filler:
                while filler.write(bytes(4096)):
                    pass
        except OSError:
            pass
        (place / "new").mkdir()
        try:
            Journal(place / "new" / "journal.sqlite", 4.0)
        except StoreError as caught:
            creation = caught.text
        print(json.dumps([count, kept, str(error), error.retryable, after, repaired, found, creation]))
    """
    prefix = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")
    with child(script, tmp_path, prefix=prefix) as process:
        answer = process.stdout.read()
    assert process.returncode == 0
    count, kept, error, retryable, after, repaired, found, creation = json.loads(answer)
    assert count == kept > 0
    assert f"the disk that holds {tmp_path}/journal.sqlite is full" in error
    assert retryable
    assert (after, repaired, found) == ("room", None, count + 1)
    assert creation == f"the disk that holds {tmp_path}/new/journal.sqlite is full"


@pytest.mark.parametrize("damage", ["replace(body, '{', '[')", "CAST(x'7bff7d' AS TEXT)", "'{}'"])
@pytest.mark.parametrize("table", ["registrations", "live", "intents", "deployments", "jobs", "versions", "recovered"])
def test_one_row_that_cannot_be_read_does_not_take_the_others_with_it(path, table, damage):
    if damage == "'{}'" and table in ("live", "intents"):
        damage = "'[]'"  # nothing at all is something in these
    with Journal(path, 1.0) as journal:
        for name in ("good", "bad"):
            journal.register(Registration(name, {}))
            journal.save_live(name, Live(version("1")))
            journal.save_intent(name, Intent(paused=True))
            deployment = journal.begin_deployment(name, ("a",), None, None, "sync", 1.0)
            journal.begin_job(name, deployment.number, Stage.BUILD, 1.0)
            journal.note_version(name, "source", version("1"), 1, 1, 1.0)
            journal.note_recovered([Recovered(name, 1, "p", "/f", 1, 1.0)])
        with journal._transaction() as db:
            db.execute(f"UPDATE {table} SET body = {damage} WHERE notebook = 'bad'")
            db.execute("INSERT INTO events (time, kind, data) VALUES (1.0, 'x', '{')")
            db.execute("INSERT INTO events (time, kind, data) VALUES (1.0, CAST(x'ff' AS TEXT), '{}')")
    with Journal(path, 2.0) as again:
        assert again.repaired is not None
        assert f"1 x {table} of bad" in again.repaired
        assert "2 x events" in again.repaired
        again.interrupted(3.0)
        rows = {name: _rows_of(again, name) for name in ("good", "bad")}
    assert rows["good"] == dict.fromkeys(rows["good"], 1)
    assert [each for each, count in rows["bad"].items() if count == 0] == [table]
    with Journal(path, 4.0) as third:
        assert third.repaired is None


def _rows_of(journal, name):
    tables = ["registrations", "live", "intents", "deployments", "jobs", "versions", "recovered"]
    query = "SELECT count(*) FROM {} WHERE notebook = ?"
    return {table: journal._rows(query.format(table), name)[0][0] for table in tables}
