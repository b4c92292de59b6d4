"""Damage of the state directory, a moved one, an older one: the daemon starts, serves what is on disk, and says so."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kaosd import proc
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon, until

NAME = "damaged"


@pytest.fixture(scope="module")
def damaged() -> Iterator[Daemon]:
    """A daemon with a notebook that `kaosctl` registered, with data."""
    place = Path(tempfile.mkdtemp(prefix="kd"))
    source, data = make_bundle(place / "src" / "example"), place / "src" / "data"
    data.mkdir()
    (data / "one.csv").write_text("1\n")
    found = Daemon(place).start()
    found.deploy(NAME, source, data)
    yield found
    found.close()


def save(daemon: Daemon, text: str) -> None:
    """Save a file of the source and one of the data; return when both are served, and the host answers."""
    (daemon.place / "src" / "example" / "model" / "train.py").write_text(text)
    (daemon.place / "src" / "data" / "one.csv").write_text(text)
    home = daemon.home(NAME)

    def served() -> bool:
        files = (home / "work" / "train.py", home / "data" / "one.csv")
        return daemon.notebook(NAME)["state"] == "live" and all(file.read_text() == text for file in files)

    until(served, f"{text!r} to be served")
    assert daemon.json("wait", NAME)["outcome"] == "live"
    assert len(daemon.launchers()) == 1


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size + 10))


def gone(path: Path) -> None:
    path.unlink()


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def files_of(state: Path) -> list[Path]:
    """What kaosd writes for itself; environments have tests of their own, and refusals of `schema` too."""
    apart = ("environments", "work", "recovered", "data-versions", "checkpoints", "ipython", "config", "runtime")
    return [
        Path(above, name)
        for above, names, files in os.walk(state)
        for name in files
        if not set(Path(above).relative_to(state).parts) & set(apart) and name != "schema" and names is not None
    ]


@pytest.mark.parametrize("damage", [cut, empty, zeros, garbage, gone, directory, fifo])
def test_all_files_of_the_state_can_be_damaged_at_once(damaged: Daemon, damage) -> None:
    """Even then the notebook is found again, all that is on disk is served, and an edit in the host is not lost."""
    home = damaged.home(NAME)
    save(damaged, f"before {damage.__name__}\n")
    (home / "work" / "mine.txt").write_text(f"mine {damage.__name__}\n")
    (home / "work" / "train.py").write_text(f"edited {damage.__name__}\n")
    damaged.stop()
    length = (damaged.place / "output").stat().st_size
    files = [path for path in files_of(damaged.state) if path.is_file() and not path.is_symlink()]
    assert {"token", "lock", "journal.sqlite", "index.db", "1.pack", "deployed", "host.json"} <= {p.name for p in files}
    for path in files:  # a directory as the lock is refused in a sentence; what lies in data is Jupyter's own
        if damage not in (directory, fifo) or (path.name != "lock" and path.parent != home / "jupyter" / "data"):
            damage(path)
    damaged.start()
    if NAME not in [one["name"] for one in damaged.status()["notebooks"]]:  # its registration was in the journal alone
        damaged.deploy(NAME, damaged.place / "src" / "example", damaged.place / "src" / "data")
    save(damaged, f"after {damage.__name__}\n")
    assert (home / "work" / "mine.txt").read_text() == f"mine {damage.__name__}\n"
    kept = [path.read_text() for path in home.glob("recovered/**/train.py")]
    assert f"edited {damage.__name__}\n" in kept
    assert b"Traceback" not in (damaged.place / "output").read_bytes()[length:]
    if damage not in (gone,):
        problems = {problem["code"] for problem in damaged.status()["daemon"]["problems"]}
        assert {"journal", "store"} <= problems
    damaged.stop()
    damaged.start()
    save(damaged, f"again {damage.__name__}\n")
    assert not {problem["code"] for problem in damaged.status()["daemon"]["problems"]} & {"journal", "store"}


def test_files_that_disk_lost_leave_the_host_although_the_journal_is_lost(damaged: Daemon) -> None:
    model, home = damaged.place / "src" / "example" / "model", damaged.home(NAME)
    for number in range(6):
        (model / f"old{number}.py").write_text(f"{number}\n")
    save(damaged, "with old files\n")
    damaged.stop()
    (damaged.state / "journal.sqlite").write_bytes(b"")
    for number in range(6):
        (model / f"old{number}.py").unlink()
    damaged.start()
    damaged.deploy(NAME, damaged.place / "src" / "example", damaged.place / "src" / "data")
    save(damaged, "without them\n")
    assert list((home / "work").glob("old*.py")) == []
    assert list(home.glob("recovered/**/old*.py")) == []  # they are known to be ours


@pytest.mark.parametrize("harm", ["gone", "another one"])
def test_a_host_without_its_socket_is_started_again(damaged: Daemon, harm: str) -> None:
    before = damaged.launchers()
    for socket in (damaged.state / "run").glob("*.sock"):
        socket.unlink()
        if harm == "another one":
            shutil.copy2(damaged.state / "token", socket)
    until(lambda: damaged.launchers() not in ([], before), "another host")
    save(damaged, f"socket {harm}\n")


@pytest.mark.parametrize("harm", [gone, empty, garbage])
def test_a_token_that_is_damaged_while_the_daemon_runs_is_put_right(damaged: Daemon, harm) -> None:
    token, path = damaged.token(NAME), damaged.home(NAME) / "token"
    before = damaged.launchers()
    harm(path)
    save(damaged, f"token {harm.__name__}\n")
    assert path.read_text() == token
    assert damaged.launchers() == before


def test_an_older_state_that_was_put_back_serves_what_is_on_disk(damaged: Daemon) -> None:
    save(damaged, "old\n")
    damaged.stop()
    backup = damaged.place / "backup"
    subprocess.run(["cp", "-a", damaged.state, backup], check=True)  # with the FIFOs that are in the place of old logs
    damaged.start()
    save(damaged, "new\n")
    (damaged.home(NAME) / "work" / "mine.txt").write_text("mine\n")
    damaged.kill()
    damaged.state.rename(damaged.place / "replaced")  # its host still runs, and may write bytecode into it
    backup.rename(damaged.state)
    damaged.start()
    save(damaged, "newest\n")


def test_an_older_journal_beside_a_newer_work_directory_makes_nobodys_edit(damaged: Daemon) -> None:
    save(damaged, "first\n")
    damaged.stop()
    journal = damaged.state / "journal.sqlite"
    old = journal.read_bytes()
    damaged.start()
    save(damaged, "second\n")
    damaged.stop()
    journal.write_bytes(old)
    (damaged.place / "src" / "example" / "model" / "train.py").write_text("first\n")  # as the old journal says
    damaged.start()
    save(damaged, "first\n")
    assert (damaged.home(NAME) / "work" / "train.py").read_text() == "first\n"


def test_a_rollback_to_what_was_lost_is_refused_and_what_is_served_stays(damaged: Daemon) -> None:
    save(damaged, "to come back to\n")
    version = damaged.notebook(NAME)["source"]["live"]
    save(damaged, "served\n")
    damaged.stop()
    with closing(sqlite3.connect(damaged.state / "store" / "index.db")) as db:
        db.execute("delete from contents")
        db.execute("delete from packs")
        db.commit()
    for pack in (damaged.state / "store" / "packs").iterdir():
        pack.write_bytes(pack.read_bytes().replace(b"to come back to", b"to come bakc to"))
    damaged.start()
    save(damaged, "served\n")
    done = damaged.ctl("rollback", NAME, version, check=False)
    assert done.returncode == 4, done
    assert "damaged" in done.stderr or "kept" in done.stderr
    assert damaged.notebook(NAME)["state"] == "live"


def test_a_state_directory_that_was_moved_while_its_host_ran(damaged: Daemon) -> None:
    save(damaged, "before the move\n")
    hosts = damaged.launchers()
    damaged.stop()
    old, new = damaged.state, damaged.place / "t"
    old.rename(new)
    damaged.state = new
    damaged.environ["KAOSD_STATE_DIR"] = str(new)
    damaged.start()
    save(damaged, "after the move\n")
    assert not [pid for pid in hosts if proc.identify(pid)]
    assert not old.exists()
