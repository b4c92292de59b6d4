"""`kaosctl up`: from a directory to an address, with or without a daemon."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, until


@pytest.fixture
def nothing_runs(own_daemon: Daemon) -> Iterator[Daemon]:
    """A person's places without a daemon; the one that `up` starts is stopped at the end."""
    yield own_daemon
    if (pid := running(own_daemon)) is not None:
        for notebook in own_daemon.status()["notebooks"]:
            own_daemon.ctl("notebook", "kill", "-n", notebook["name"], "-y")
        own_daemon.ctl("stop")
        until(lambda: not Path(f"/proc/{pid}").exists(), "the daemon to end")


def running(daemon: Daemon) -> int | None:
    """The pid of the daemon that answers, if one does."""
    done = daemon.ctl("status", "--json", check=False)
    return None if done.returncode == 3 else int(daemon.status()["daemon"]["pid"])


def test_a_directory_becomes_a_notebook_and_stays_the_same_one(nothing_runs: Daemon, bundle: Path) -> None:
    assert running(nothing_runs) is None
    first = nothing_runs.ctl("up", cwd=bundle).stdout.splitlines()
    pid = running(nothing_runs)
    assert pid is not None
    assert os.getsid(pid) == pid  # it outlives the terminal
    (name,) = [notebook["name"] for notebook in nothing_runs.status()["notebooks"]]
    assert first[-1] == f"{nothing_runs.url(name)}/lab?token={nothing_runs.token(name)}"
    (bundle / "model" / "train.py").write_text("ANSWER = 3\n")
    second = nothing_runs.json("up", str(bundle))
    assert (second["outcome"], second["notebook"]["name"]) == ("live", name)
    assert (nothing_runs.home(name) / "work" / "train.py").read_text() == "ANSWER = 3\n"
    assert running(nothing_runs) == pid
    assert "daemon_ready" in nothing_runs.ctl("logs", "--stage", "daemon").stdout


def test_under_ssh_the_way_to_the_address_is_printed(nothing_runs: Daemon, bundle: Path) -> None:
    nothing_runs.environ["SSH_CONNECTION"] = "192.0.2.7 50022 192.0.2.1 2222"
    *_, command = nothing_runs.ctl("up", str(bundle)).stdout.splitlines()
    port = nothing_runs.port
    assert command.startswith(f"    ssh -p 2222 -N -L {port}:127.0.0.1:{port} ")
    assert command.endswith("@192.0.2.1")


def test_a_daemon_that_does_not_start_is_explained_in_its_own_words(nothing_runs: Daemon, bundle: Path) -> None:
    nothing_runs.config.write_text('engine = "proces"\n')
    done = nothing_runs.ctl("up", str(bundle), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("kaosctl: the daemon did not start: ")
    assert f"{nothing_runs.config}" in done.stderr
    assert "engine" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", ["missing", "file"])
def test_what_is_no_directory_starts_nothing(nothing_runs: Daemon, tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    done = nothing_runs.ctl("up", str(tmp_path / path), check=False)
    assert done.returncode == 2
    assert str(tmp_path / path) in done.stderr
    assert running(nothing_runs) is None


def test_up_after_the_daemon_was_stopped_finds_the_notebook_again(nothing_runs: Daemon, bundle: Path) -> None:
    nothing_runs.ctl("up", str(bundle))
    (notebook,) = nothing_runs.status()["notebooks"]
    pid, host = running(nothing_runs), nothing_runs.host_pid(notebook["name"])
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    until(lambda: not Path(f"/proc/{pid}").exists(), "the daemon to end")  # it answers no more before it is gone
    assert running(nothing_runs) is None
    assert nothing_runs.json("up", str(bundle))["outcome"] == "live"
    assert nothing_runs.host_pid(notebook["name"]) == host


@pytest.mark.parametrize(("left_behind", "sentence"), [
    (False, "there is no container engine at {} (install docker.io or podman"),
    (True, "the container engine at {} does not run (start it"),
])  # fmt: skip
def test_without_a_container_engine_the_client_ends_and_the_daemon_keeps_trying(
    nothing_runs: Daemon, bundle: Path, left_behind: bool, sentence: str
) -> None:
    path = nothing_runs.place / "d.sock"
    nothing_runs.environ["KAOSD_DOCKER_SOCKET"] = str(path)
    if left_behind:
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(path))
    for argv in (("up", str(bundle)), ("notebook", "deploy", "-s", str(bundle))):
        done = nothing_runs.ctl(*argv, "--engine", "docker", check=False)
        said = " ".join(done.stdout.split())
        assert done.returncode == 1, said
        assert sentence.format(path) in said
        (name,) = [notebook["name"] for notebook in nothing_runs.status()["notebooks"]]
        assert f"kaosd keeps trying; to wait for it: kaosctl wait {name}" in said
    assert nothing_runs.json("wait", name, "--timeout", "1")["outcome"] == "timeout"
    assert nothing_runs.json("up", str(bundle), "--engine", "process")["outcome"] == "live"
