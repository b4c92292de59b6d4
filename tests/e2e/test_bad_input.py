"""Bad input of every kind: one clear sentence, an exit code, and nothing changed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon, until


@pytest.fixture(scope="module")
def served(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is deployed as "good"."""
    path = make_bundle(tmp_path_factory.mktemp("served") / "example")
    daemon.deploy("good", path)
    return path


class Refused(NamedTuple):
    name: str
    arguments: tuple[str, ...]
    says: tuple[str, ...]
    code: int = 1


DEPLOYS = [
    Refused("missing source", ("-s", "/no/such/dir"), ("source", "/no/such/dir", "does not exist")),
    Refused("missing data", ("-d", "/no/such/dir"), ("data", "/no/such/dir", "does not exist")),
    Refused("source is a file", ("-s", "/etc/hostname"), ("source", "/etc/hostname", "not a directory")),
    Refused("the whole disk as source", ("-s", "/"), ("source", "the state directory", "lies in /")),
    Refused("memory with a byte suffix", ("--memory", "4GB"), ("memory", "4GB", "4Gi")),
    Refused("memory negative", ("--memory=-1",), ("memory", "-1", "4Gi")),
    Refused("memory in words", ("--memory", "lots"), ("memory", "lots", "4Gi")),
    Refused("memory beyond the machine", ("--memory", "9000Ti"), ("memory", "9000Ti")),
    Refused("cpu 0", ("--cpu", "0"), ("cpu", "0")),
    Refused("cpu negative", ("--cpu=-2",), ("cpu", "-2")),
    Refused("cpu beyond the machine", ("--cpu", "4096"), ("cpu", "4096", str(os.cpu_count()))),
    Refused("gpu beyond the machine", ("--gpu", "64"), ("gpu", "64")),
    Refused("name with a slash", ("--name", "a/b"), ("name", "a/b", "letters")),
    Refused("name too long", ("--name", "x" * 45), ("name", "44")),
    Refused("name leading out", ("--name", "../x"), ("name", "letters")),
    Refused("workspace bad", ("--workspace", "a b"), ("workspace", "a b", "letters")),
    Refused("unknown engine", ("--engine", "magic"), ("engine", "magic", "process")),
]


@pytest.mark.parametrize("case", DEPLOYS, ids=[case.name for case in DEPLOYS])
def test_a_deploy_that_is_refused_changes_nothing(daemon: Daemon, served: Path, case: Refused) -> None:
    before = [one["name"] for one in daemon.status()["notebooks"]]
    name = () if "--name" in case.arguments else ("--name", "refused")
    done = daemon.ctl("notebook", "deploy", *name, *case.arguments, check=False)
    assert done.returncode in (1, 2), done
    said = done.stderr
    for words in case.says:
        assert words in said, said
    assert "Traceback" not in said
    assert [one["name"] for one in daemon.status()["notebooks"]] == before
    assert daemon.notebook("good")["state"] == "live"


UNKNOWN = [
    ("status", "nobody"),
    ("history", "nobody"),
    ("recovered", "nobody"),
    ("wait", "nobody"),
    ("redeploy", "nobody"),
    ("pause", "nobody"),
    ("rollback", "nobody"),
    ("logs", "nobody"),
    ("open", "nobody", "--print"),
    ("notebook", "kill", "-n", "nobody", "-y"),
    ("notebook", "build-logs", "-j", "0" * 32),
    ("why", "/etc/hostname"),
]


@pytest.mark.parametrize("arguments", UNKNOWN, ids=[" ".join(each) for each in UNKNOWN])
def test_what_is_not_there_has_its_own_exit_code(daemon: Daemon, served: Path, arguments: tuple[str, ...]) -> None:
    done = daemon.ctl(*arguments, check=False)
    assert done.returncode == 4, done
    said = done.stderr.strip().splitlines()
    assert said[0].startswith("kaosctl: ")
    assert len(said) <= 2  # the second one is what to do next


CONFIGS = [
    ("broken TOML", "engine = \n", (":1:",)),
    ("unknown key", "engin = 'process'\n", (":1:", "engin", "engine")),
    ("wrong type", "[watch]\nrescan = true\n", (":2:", "rescan")),
    ("bad memory", "[[notebook]]\nworkspace = 'a'\nmemory = '4GB'\n", (":3:", "memory", "4Gi")),
    ("bad name", "[[notebook]]\nname = 'a b'\n", (":2:", "name", "letters")),
    ("duplicate name", "[[notebook]]\nname = 'a'\n[[notebook]]\nname = 'a'\n", (":4:", "name", "a")),
]


@pytest.mark.parametrize(("name", "text", "says"), CONFIGS, ids=[case[0] for case in CONFIGS])
def test_a_broken_configuration_is_refused_and_the_old_one_stays(
    daemon: Daemon, served: Path, name: str, text: str, says: tuple[str, ...]
) -> None:
    daemon.config.write_text(text)
    try:
        done = daemon.ctl("reload", check=False)
        assert done.returncode == 1
        for words in (str(daemon.config), *says):
            assert words in done.stderr, done.stderr
        assert daemon.notebook("good")["state"] == "live"
        problems = {one["code"]: one for one in daemon.status()["daemon"]["problems"]}
        assert str(daemon.config) in problems["config"]["text"]
        checked = subprocess.run(
            [sys.executable, "-m", "kaosd", "check", "--config", str(daemon.config)],
            env=daemon.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert checked.returncode == 78
        assert says[0] in checked.stderr
    finally:
        daemon.config.write_text("")
        daemon.ctl("reload")
    assert daemon.status()["daemon"]["problems"] == []


def test_a_save_of_the_configuration_is_taken_up(daemon: Daemon, served: Path, tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "configured")
    try:
        daemon.config.write_text(f"[[notebook]]\nname = 'configured'\nsource = '{source}'\n")
        assert until(
            lambda: any(one["name"] == "configured" and one["state"] == "live" for one in daemon.status()["notebooks"]),
            "the configured notebook",
        )
        done = daemon.ctl("notebook", "kill", "-n", "configured", "-y", check=False)
        assert done.returncode == 1
        assert "configuration" in done.stderr
    finally:
        daemon.config.write_text("")
    assert until(
        lambda: not any(one["name"] == "configured" for one in daemon.status()["notebooks"]), "the notebook to go"
    )
    assert (daemon.home("configured") / "work" / "train.py").exists()


def refused(daemon: Daemon) -> str:
    """The one sentence with which a daemon does not start."""
    done = daemon.run_to_end()
    assert done.returncode in (1, 78), (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.strip().splitlines() if line.startswith("kaosd:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def taken(own_daemon: Daemon) -> Iterator[Daemon]:
    """A daemon whose front's port is somebody else's."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        own_daemon.environ["KAOSD_FRONT_PORT"] = str(other.getsockname()[1])
        yield own_daemon


def test_front_port_taken(taken: Daemon) -> None:
    said = refused(taken)
    assert taken.environ["KAOSD_FRONT_PORT"] in said
    assert "port" in said


def test_socket_path_too_long(own_daemon: Daemon) -> None:
    own_daemon.environ["KAOSD_SOCKET"] = f"{own_daemon.place}/{'x' * 100}/kaosd.sock"
    said = refused(own_daemon)
    assert "107" in said


def test_state_directory_inside_a_watched_one(own_daemon: Daemon, tmp_path: Path) -> None:
    source = make_bundle(own_daemon.place / "example")
    own_daemon.config.write_text(f"[[notebook]]\nname = 'x'\nsource = '{source}'\n")
    own_daemon.environ["KAOSD_STATE_DIR"] = str(source / "state")
    assert "state" in refused(own_daemon)


def test_state_directory_that_is_a_file(own_daemon: Daemon) -> None:
    own_daemon.state.write_text("")
    assert str(own_daemon.state) in refused(own_daemon)


def test_unreadable_and_odd_files_in_the_tree_are_named_and_the_rest_goes_on(daemon: Daemon, tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "odd")
    os.mkfifo(source / "model" / "pipe")
    (source / "model" / "out").symlink_to("/etc/passwd")
    odd = os.fsencode(source / "model") + b"/caf\xe9.txt"
    with open(odd, "wb") as file:
        file.write(b"latin")
    daemon.deploy("odd", source)
    work = os.fsencode(daemon.home("odd") / "work")
    assert os.path.exists(work + b"/caf\xe9.txt")
    assert not os.path.lexists(work + b"/out")
    assert not os.path.lexists(work + b"/pipe")
    shown = " ".join(daemon.notebook("odd")["refused"])
    assert "pipe" in shown
    assert "out" in shown
    assert daemon.notebook("odd")["state"] == "live"


def test_a_full_disk_says_so_and_heals(own_daemon: Daemon, tmp_path: Path) -> None:
    """The state directory on a small file system that a data directory fills."""
    own_daemon.state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m,mode=700", "kaosd-test", own_daemon.state], check=True)
    try:
        source, data = make_bundle(tmp_path / "full"), tmp_path / "data"
        data.mkdir()
        (data / "small.bin").write_bytes(b"1")
        daemon = own_daemon.start()
        daemon.deploy("full", source, data)
        free = os.statvfs(daemon.state)
        room = free.f_bavail * free.f_frsize
        with open(data / "large.bin", "wb") as large:
            for _ in range(room // 2**20 + 1):  # written, since a hole takes no room
                large.write(b"\1" * 2**20)
        shown = until(lambda: (one := daemon.notebook("full"))["state"] in ("held", "failed") and one, "the failure")
        assert "full" in (shown["reason"] or "") or "space" in (shown["reason"] or "")
        assert (daemon.home("full") / "data" / "small.bin").read_bytes() == b"1"
        (data / "large.bin").unlink()
        (data / "small.bin").write_bytes(b"2")
        assert daemon.live("full")["state"] == "live"
        assert (daemon.home("full") / "data" / "small.bin").read_bytes() == b"2"
        daemon.ctl("notebook", "kill", "-n", "full", "-y")
        daemon.stop()
    finally:
        subprocess.run(["umount", "-l", own_daemon.state], check=True)


def test_a_notebook_caught_half_written_waits(daemon: Daemon, tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "half")
    whole = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    (source / "model" / "n.ipynb").write_text(whole)
    daemon.deploy("half", source)
    work = daemon.home("half") / "work" / "n.ipynb"
    with open(source / "model" / "n.ipynb", "w") as file:
        file.write('{"cells": [')
        file.flush()
        daemon.ctl("redeploy", "half")
        assert work.read_text() == whole
        file.seek(0)
        file.write(whole.replace("{}", '{"a": 1}'))
    daemon.live("half")
    assert '"a": 1' in work.read_text()


def test_the_client_without_a_daemon(own_daemon: Daemon) -> None:
    for arguments in (("status",), ("wait", "x"), ("notebook", "list"), ("doctor",)):
        done = own_daemon.ctl(*arguments, check=False)
        assert done.returncode == 3, (arguments, done)
        assert "kaosctl start" in done.stderr
    assert own_daemon.ctl("frobnicate", check=False).returncode == 2
