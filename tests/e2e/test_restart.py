"""The daemon stops, dies and comes back; hosts go on meanwhile. Hosts die; the daemon brings them back."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.conftest import Stalled, make_bundle
from tests.e2e.daemon import Daemon, until
from tests.e2e.lab import Lab


@pytest.mark.parametrize("end", [Daemon.stop, Daemon.kill], ids=["stop", "kill -9"])
async def test_edits_made_while_the_daemon_was_away_reach_the_same_host(
    own_daemon: Daemon, bundle: Path, data: Path, end: object
) -> None:
    daemon = own_daemon.start()
    daemon.deploy("stay", bundle, data)
    pid = daemon.host_pid("stay")
    async with Lab(daemon.url("stay"), daemon.token("stay")) as lab:
        kernel = await lab.kernel()
        await kernel.run("x = 41")
        end(daemon)  # type: ignore[operator]
        assert os.path.exists(f"/proc/{pid}")
        (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
        daemon.start()
        shown = daemon.live("stay")
        assert daemon.host_pid("stay") == pid
        assert await kernel.run("print(x + 1, open('train.py').read())") == "42 ANSWER = 2\n\n"
    assert shown["host"]["restarts"] == 0
    assert shown["host"]["state"] == "PIPELINE_RUNNING"
    assert len([job for one in daemon.history("stay") for job in one["jobs"] if job["stage"] == "build"]) == 1


async def test_nothing_is_done_after_a_restart_without_changes(own_daemon: Daemon, bundle: Path) -> None:
    daemon = own_daemon.start()
    daemon.deploy("calm", bundle)
    before = daemon.history("calm")
    daemon.stop()
    daemon.start()
    daemon.live("calm")
    assert [one["number"] for one in daemon.history("calm")] == [one["number"] for one in before]


async def test_a_killed_host_is_started_again_and_status_says_so(own_daemon: Daemon, bundle: Path) -> None:
    daemon = own_daemon.start()
    daemon.deploy("phoenix", bundle)
    async with Lab(daemon.url("phoenix"), daemon.token("phoenix")) as lab:
        await lab.write("notes.txt", "only here\n")
        pid = daemon.host_pid("phoenix")
        os.kill(pid, signal.SIGKILL)
        shown = until(
            lambda: (one := daemon.notebook("phoenix"))["host"]["restarts"] == 1 and one["state"] == "live" and one,
            "the host to come back",
        )
        assert daemon.host_pid("phoenix") != pid
        assert await lab.read("notes.txt") == "only here\n"
        assert shown["host"]["state"] == "PIPELINE_RUNNING"
    assert daemon.history("phoenix")[0]["cause"] == ["[host ended]"]


async def test_a_host_that_dies_at_start_gives_its_last_lines(own_daemon: Daemon, tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "ancient")
    daemon = own_daemon.start()
    daemon.deploy("ancient", source)
    environment = Path(os.readlink(daemon.home("ancient") / "environment"))
    package = next(environment.glob("lib/python3*/site-packages/jupyter_server"))
    (package / "__init__.py").unlink()  # a hard link into the package cache: it must not be written through
    (package / "__init__.py").write_text("raise RuntimeError('broken on purpose')\n")
    os.kill(daemon.host_pid("ancient"), signal.SIGKILL)
    shown = until(lambda: (one := daemon.notebook("ancient"))["state"] == "failed" and one, "the failure")
    until(lambda: "broken on purpose" in (daemon.notebook("ancient")["reason"] or ""), "the reason")
    assert shown["host"]["state"] in ("PIPELINE_FAILURE", "PIPELINE_RESTARTING")


async def test_kill_9_during_a_build_leaves_a_daemon_that_converges(
    own_daemon: Daemon, bundle: Path, stalled: Stalled
) -> None:
    daemon = own_daemon.start()
    daemon.deploy("cut", bundle)
    (bundle / "model" / "requirements.txt").write_text(stalled.line)
    until(lambda: daemon.notebook("cut")["state"] == "building", "the build")
    daemon.kill()
    stalled.come.set()
    daemon.start()
    assert daemon.live("cut")["state"] == "live"
    killed = [job for one in daemon.history("cut") for job in one["jobs"] if job["state"] == "JOB_KILLED"]
    assert [job["stage"] for job in killed] == ["build"]
    async with Lab(daemon.url("cut"), daemon.token("cut")) as lab:
        assert await (await lab.kernel()).run("import late; print(1)") == "1\n"


async def test_kill_9_at_random_moments_of_a_first_start(own_daemon: Daemon, bundle: Path) -> None:
    """However far it got, the next daemon ends with one host that serves what is on disk."""
    daemon = own_daemon
    for delay in (0.05, 0.3, 0.8, 1.5, 2.2):
        daemon.start()
        deploying = asyncio.create_task(asyncio.to_thread(daemon.deploy_detached, "random", bundle))
        await asyncio.wait([deploying], timeout=delay)
        daemon.kill()
        await asyncio.wait([deploying])
    daemon.start()
    daemon.deploy("random", bundle)
    assert daemon.live("random")["state"] == "live"
    assert len(daemon.launchers()) == 1


async def test_pause_and_rollback_survive_a_restart(own_daemon: Daemon, bundle: Path) -> None:
    daemon = own_daemon.start()
    daemon.deploy("will", bundle)
    (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
    daemon.live("will")
    daemon.ctl("rollback", "will")
    work = daemon.home("will") / "work" / "train.py"
    until(lambda: work.read_text() == "ANSWER = 1\n", "the rollback")
    daemon.stop()
    daemon.start()
    assert until(lambda: daemon.notebook("will")["state"] == "held", "the pin")
    assert work.read_text() == "ANSWER = 1\n"
    daemon.ctl("pause", "will")
    daemon.stop()
    daemon.start()
    assert daemon.notebook("will")["paused"] is True


async def test_a_second_daemon_is_refused_and_the_first_goes_on(own_daemon: Daemon) -> None:
    daemon = own_daemon.start()
    second = Daemon(daemon.place)
    done = await asyncio.to_thread(second.run_to_end)
    assert done.returncode == 1
    assert f"pid {daemon.process.pid}" in done.stderr  # type: ignore[union-attr]
    assert len(done.stderr.strip().splitlines()) == 1
    assert daemon.ctl("status").returncode == 0


async def test_stop_ends_the_daemon_and_leaves_hosts_running(own_daemon: Daemon, bundle: Path) -> None:
    daemon = own_daemon.start()
    daemon.deploy("on", bundle)
    pid = daemon.host_pid("on")
    daemon.ctl("stop")
    assert daemon.process is not None
    assert daemon.process.wait(60) == 0
    assert os.path.exists(f"/proc/{pid}")
    assert daemon.ctl("status", check=False).returncode == 3
    assert daemon.ctl("logs", "on", "--stage", "build").stdout
    daemon.start()


async def test_stop_hosts_on_exit(own_daemon: Daemon, bundle: Path) -> None:
    own_daemon.config.write_text("stop_hosts_on_exit = true\n")
    daemon = own_daemon.start()
    daemon.deploy("off", bundle)
    daemon.stop()
    assert until(lambda: not daemon.hosts(), "the hosts to end")
    daemon.start()
    assert daemon.live("off")["state"] == "live"


async def test_a_notebook_removed_while_the_daemon_was_away_loses_its_host_and_comes_back_with_its_work(
    own_daemon: Daemon, bundle: Path
) -> None:
    configured = f"[[notebook]]\nname = 'away'\nsource = '{bundle}'\n"
    own_daemon.config.write_text(configured)
    daemon = own_daemon.start()
    daemon.live("away")
    async with Lab(daemon.url("away"), daemon.token("away")) as lab:
        await lab.write("notes.txt", "only here\n")
    daemon.stop()
    assert daemon.hosts()
    daemon.config.write_text("")
    daemon.start()
    assert until(lambda: not daemon.hosts(), "the host to end")
    assert daemon.status()["notebooks"] == []
    daemon.config.write_text(configured)
    assert until(lambda: daemon.status()["notebooks"], "the configuration to be read")
    assert daemon.live("away")["state"] == "live"
    assert (daemon.home("away") / "work" / "notes.txt").read_text() == "only here\n"


def _files(directory: Path) -> dict[str, tuple[int, bytes]]:
    """All regular files below, but the lock with its holder's pid and what the daemon logs."""
    return {
        str(path.relative_to(directory)): (path.stat().st_mode, path.read_bytes())
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name != "lock" and path.parts[-2] != "logs"
    }


def _newer_layout(state: Path) -> None:
    (state / "schema").write_text("99\n")


def _newer_journal(state: Path) -> None:
    with closing(sqlite3.connect(state / "journal.sqlite")) as db:
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("make_newer", [_newer_layout, _newer_journal])
async def test_state_of_a_newer_kaosd_is_refused_with_a_sentence_and_left_as_it_is(
    own_daemon: Daemon, bundle: Path, make_newer: Callable[[Path], None]
) -> None:
    daemon = own_daemon.start()
    daemon.deploy("ahead", bundle)
    daemon.ctl("notebook", "kill", "-n", "ahead", "-y")
    daemon.stop()
    make_newer(daemon.state)
    before = _files(daemon.state)
    assert "journal.sqlite" in before
    refused = daemon.run_to_end()
    assert refused.returncode == 78  # with which systemd does not start it again
    [sentence] = refused.stderr.splitlines()
    assert re.fullmatch(
        r"kaosd: .* newer kaosd \(\w+ 99, this one knows \d\) \(start that newer kaosd, or .*\)", sentence
    )
    assert _files(daemon.state) == before
