"""A journal of an older schema is brought up to date in one go, whatever ends that, and a copy of it stays."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from kaosd.journal import Journal, Registration, migration
from kaosd.journal.migration import SCHEMA, migrate
from kaosd.settings import inherited, load

SPEC = Registration("mnist", {"workspace": "vision"})
NEXT = {
    SCHEMA: ("ALTER TABLE live ADD COLUMN seen REAL", "UPDATE live SET seen = 1"),
    SCHEMA + 1: ("CREATE TABLE further (name TEXT)", "INSERT INTO further SELECT notebook FROM registrations"),
}
MIGRATE = """
import sqlite3, sys
from pathlib import Path
from kaosd.journal.migration import migrate
from tests.test_migration import NEXT, SCHEMA
path, die = Path(sys.argv[1]), sys.argv[2]
db = sqlite3.connect(path, isolation_level=None)
db.set_trace_callback(lambda said: die in said and __import__("os").kill(__import__("os").getpid(), 9))
migrate(db, path, steps=NEXT, schema=SCHEMA + 2)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of this schema, which is the older one here."""
    found = tmp_path / "journal.sqlite"
    with Journal(found, 1.0) as journal:
        journal.register(SPEC)
    return found


def dump(path: Path) -> list[str]:
    """All that a database holds, and its schema's number."""
    with closing(sqlite3.connect(path)) as db:
        return [str(db.execute("PRAGMA user_version").fetchone()[0]), *db.iterdump()]


def upgraded(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db, path, steps=NEXT, schema=SCHEMA + 2)


def test_there_is_a_step_from_every_schema_that_there_has_been() -> None:
    assert set(migration.STEPS) == set(range(1, SCHEMA))


def test_an_older_one_takes_every_step_and_a_copy_stays(path: Path) -> None:
    before = dump(path)
    upgraded(path)
    after = dump(path)
    assert after[0] == str(SCHEMA + 2)
    assert f"""INSERT INTO "further" VALUES('{SPEC.name}');""" in after
    copy = path.with_name(f"journal.sqlite.schema-{SCHEMA}")
    assert dump(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o600
    upgraded(path)  # nothing is left to do
    assert dump(path) == after


FIRST = """{"name": "mnist", "workspace": "default", "user": "%s", "engine": "process", "source": "/src/\\udcff",
 "data": null, "data_mode": "snapshot", "resources": {"cpu": 0.5, "memory": "2Gi", "gpu": 0},
 "environment_inputs": [], "swap_when_idle": 600.0, "registered": true}"""


def test_a_registration_of_the_first_schema_keeps_what_a_person_can_have_given(path: Path) -> None:
    """What it holds beside that was filled in when it was registered, and is inherited from now on."""
    settings = load(environ={"HOME": "/home/ada", "KAOSD_SWAP_WHEN_IDLE": "30"})
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE registrations SET body = ?", (FIRST % settings.login,))
        db.execute("INSERT INTO registrations VALUES ('broken', '{')")
        db.execute("PRAGMA user_version = 1")
    with Journal(path, 2.0) as journal:
        (one,) = journal.registered()
        assert journal.repaired is not None
        assert "1 x registrations of broken" in journal.repaired
    assert (one.name, one.complete) == ("mnist", True)
    assert inherited(one.given, settings) == {"source": "/src/\udcff", "cpu": 0.5, "memory": "2Gi"}
    other = load(environ={"HOME": "/home/ada", "KAOSD_ENGINE": "docker"})  # it was process, and stays that
    assert inherited(one.given, other)["engine"] == "process"
    assert inherited(one.given | {"swap_when_idle": 7.0, "gpu": 1}, other)["swap_when_idle"] == 7.0


def test_a_step_that_fails_leaves_the_journal_as_it_was(path: Path) -> None:
    before = dump(path)
    broken = {SCHEMA: (*NEXT[SCHEMA], "INSERT INTO nowhere VALUES (1)")}
    with closing(sqlite3.connect(path, isolation_level=None)) as db, pytest.raises(sqlite3.Error, match="nowhere"):
        migrate(db, path, steps=broken, schema=SCHEMA + 1)
    assert dump(path) == before
    with Journal(path, 2.0) as journal:
        assert journal.registered() == (SPEC,)


@pytest.mark.parametrize("die", ["ALTER TABLE", "INSERT INTO further", "PRAGMA user_version =", "COMMIT"])
def test_a_kill_in_between_leaves_the_old_one_whole_and_the_next_start_goes_on(path: Path, die: str) -> None:
    before = dump(path)
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run([sys.executable, "-c", MIGRATE, str(path), die], env=environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert dump(path) == before
    upgraded(path)
    assert dump(path)[0] == str(SCHEMA + 2)
