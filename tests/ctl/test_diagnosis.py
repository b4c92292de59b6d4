"""`doctor --bundle`: what it holds, and that no secret is in it however it got there."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from kaosd.ctl import diagnosis
from tests.ctl.standin import NOW, Daemon, notebook

NAME = "notebook-mnist-ada"
CHECKS = {"checks": [{"code": "space", "severity": "ok", "text": "82 GB free", "mend": ""}]}
NOTEBOOK_TOKEN = "0f" * 24
DAEMON_TOKEN = "1e" * 24
FORMER_TOKEN = "2d" * 24  # of a notebook that was killed: its file is gone
ENVIRONMENT = "env+ironment/secret"
TYPED = "typed-by-hand"
CLOUD = "AKIA" + "Q7" * 8
HISTORY = f"could not clone https://ada:{TYPED}@git.example/x.git"
SECRETS = [NOTEBOOK_TOKEN, DAEMON_TOKEN, FORMER_TOKEN, ENVIRONMENT, quote(ENVIRONMENT, safe=""), TYPED, CLOUD]
LINES = [
    f"GET /{NAME}/lab?token={NOTEBOOK_TOKEN} 200",
    f"GET /gone/lab?token={FORMER_TOKEN} 404",
    f"Authorization: token {TYPED}",
    f"{{'password': '{TYPED}'}}",
    f"the value is {ENVIRONMENT} or {quote(ENVIRONMENT, safe='')}",
    f"aws {CLOUD}",
    "-----BEGIN PRIVATE KEY-----",
    f"{TYPED}",
    "-----END PRIVATE KEY-----",
    "the last line is here",
]


@pytest.fixture
def planted(stopped: Daemon) -> Daemon:
    """A state directory with secrets in every corner."""
    stopped.token(NAME, NOTEBOOK_TOKEN)
    (stopped.state / "token").write_text(DAEMON_TOKEN)
    for stage in ("watch", "build", "host"):
        stopped.log(NAME, 7, stage, *LINES, job="-" if stage == "watch" else "ab" * 16)
    (stopped.state / "logs").mkdir()
    for name in ("daemon.log", "demo.log"):
        (stopped.state / "logs" / name).write_text("".join(f"{line}\n" for line in [*LINES, f"opened {DAEMON_TOKEN}"]))
    config = stopped.root / "kaosd.toml"
    config.write_text(f'# token = "{TYPED}"\n[front]\nport = 8890\n# see http://x/?token={DAEMON_TOKEN}\n')
    return stopped


def variables(daemon: Daemon) -> dict[str, str]:
    return {"MY_API_KEY": ENVIRONMENT, "KAOSD_CONFIG": str(daemon.root / "kaosd.toml"), "KAOSD_STRANGE": TYPED}


def members(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def check(found: dict[str, str]) -> None:
    """No secret anywhere, not even in a name; and what helps is there."""
    for name, text in found.items():
        assert [secret for secret in SECRETS if secret in name + text] == [], name
    for name, text in found.items():
        if name.endswith(".json"):
            json.loads(text)
    logs = [name for name in found if name.startswith("logs/")]
    assert sorted(logs) == [
        "logs/daemon.log", "logs/demo.log",
        f"logs/{NAME}/000007.build.{'ab' * 16}.log", f"logs/{NAME}/000007.host.{'ab' * 16}.log",
        f"logs/{NAME}/000007.watch.-.log",
    ]  # fmt: skip
    assert all("the last line is here" in found[name] for name in logs)
    assert "port = 8890" in found["kaosd.toml"]
    assert json.loads(found["versions.json"])["packages"]["aiohttp"]


def test_the_bundle_of_a_daemon_that_answers(planted: Daemon, daemon: Daemon) -> None:
    assert planted is daemon
    daemon.serves(notebook(state="failed", reason=f"token={TYPED}"))
    status = daemon.answers["GET /v1/status"]
    assert isinstance(status, dict)
    status["daemon"]["config"] = str(daemon.root / "kaosd.toml")
    daemon.answers["GET /v1/doctor"] = CHECKS
    daemon.answers["GET /v1/version"] = {"version": "0.1.0", "schema": 1}
    daemon.answers[f"GET /v1/notebooks/{NAME}/history"] = {"pinned": None, "deployments": [{"error": HISTORY}]}
    target = daemon.root / "bundle.zip"
    done = daemon.run("doctor", "--bundle", str(target), **variables(daemon))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "● ok      space         82 GB free",
        f"● {target} written   {len(members(target))} files   secrets are masked",
    ]
    assert os.stat(target).st_mode & 0o777 == 0o600
    found = members(target)
    check(found)
    assert json.loads(found["environment.json"])["kaosctl"]["KAOSD_STRANGE"] == "********"
    assert json.loads(found["doctor.json"]) == CHECKS
    assert json.loads(found["status.json"])["notebooks"][0]["reason"] == "token=********"
    assert "could not clone https://********@git.example/x.git" in found[f"history/{NAME}.json"]
    assert json.loads(found["versions.json"])["daemon"]["version"] == "0.1.0"


def test_the_bundle_of_a_daemon_that_is_down(planted: Daemon) -> None:
    target = planted.root / "bundle.zip"
    done = planted.run("doctor", "--bundle", str(target), **variables(planted))
    assert done.returncode == 3
    assert "written" in done.stdout
    assert "kaosd is not running" in done.stderr
    found = members(target)
    check(found)
    assert json.loads(found["status.json"])["error"]["code"] == "not_running"


def test_only_the_end_of_a_long_log_is_taken(planted: Daemon) -> None:
    planted.log(NAME, 8, "build", *(f"line {number}" for number in range(1000)), job="cd" * 16, at=NOW)
    target = planted.root / "bundle.zip"
    planted.run("doctor", "--bundle", str(target))
    lines = members(target)[f"logs/{NAME}/000008.build.{'cd' * 16}.log"].splitlines()
    assert (len(lines), lines[0].split(" ", 1)[1], lines[-1].split(" ", 1)[1]) == (400, "line 600", "line 999")


def test_no_file_is_ever_overwritten(planted: Daemon) -> None:
    target = planted.root / "mine"
    target.write_text("mine")
    done = planted.run("doctor", "--bundle", str(target))
    assert done.returncode == 1
    assert f"{target} is there already; nothing was written" in done.stderr
    assert target.read_text() == "mine"
    done = planted.run("doctor", "--bundle", str(planted.root / "absent" / "x"))
    assert (done.returncode, "cannot be written" in done.stderr) == (1, True)


def test_a_bundle_for_which_there_is_no_room_is_told_and_not_left_half(planted: Daemon) -> None:
    planted.log(NAME, 8, "build", *(os.urandom(100).hex() for _ in range(300)), job="cd" * 16)
    target = planted.root / "bundle.zip"
    command = ["prlimit", "--fsize=1024", sys.executable, "-B", "-m", "kaosd.ctl", "doctor", "--bundle", str(target)]
    done = subprocess.run(command, env=planted.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"the bundle cannot be written to {target}: File too large" in done.stderr
    assert not target.exists()


def test_an_installation_with_broken_parts_has_a_bundle(planted: Daemon) -> None:
    for name in ("broken-1.dist-info", "~pip-2.dist-info"):
        (planted.root / "packages" / name).mkdir(parents=True)
    target = planted.root / "bundle.zip"
    done = planted.run("doctor", "--bundle", str(target), PYTHONPATH=str(planted.root / "packages"))
    assert "written" in done.stdout, done.stderr
    packages = json.loads(members(target)["versions.json"])["packages"]
    assert (packages["None"], packages["kaosd"]) == ("None", json.loads(members(target)["versions.json"])["kaosctl"])


def test_a_daemon_that_does_not_answer_is_asked_once(planted: Daemon, daemon: Daemon, monkeypatch) -> None:
    async def silence(_request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    daemon.answers["GET /v1/status"] = silence
    for name in ("one", "two"):
        daemon.token(name)
    for name, value in daemon.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(diagnosis, "PATIENCE", 0.1)
    target = daemon.root / "bundle.zip"
    diagnosis.write(str(target), CHECKS)
    assert [path for _, path, _ in daemon.requests] == ["/v1/status"]
    found = members(target)
    assert all("does not answer" in found[name] for name in ("status.json", "versions.json", "history/two.json"))


def test_what_cannot_be_read_is_said_in_its_place(planted: Daemon) -> None:
    (planted.state / "logs" / "odd.log").mkdir()
    target = planted.root / "bundle.zip"
    planted.run("doctor", "--bundle", str(target), KAOSD_CONFIG=str(planted.root / "absent.toml"))
    found = members(target)
    assert found["logs/odd.log"] == "cannot be read: Is a directory\n"
    assert found["kaosd.toml"] == f"# {planted.root}/absent.toml: No such file or directory\n"


def test_the_variables_of_the_daemon_are_there_without_its_secrets(planted: Daemon, daemon: Daemon) -> None:
    own = {"DAEMONS_TOKEN": "known-to-it-only", "KAOSD_ENGINE": "docker", "KAOSD_STRANGE": TYPED, "OTHER": "thing"}
    planted.log(NAME, 8, "build", "it used known-to-it-only", job="cd" * 16)
    target = daemon.root / "bundle.zip"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=own) as process:
        daemon.serves(notebook())
        status = daemon.answers["GET /v1/status"]
        assert isinstance(status, dict)
        status["daemon"]["pid"] = process.pid
        daemon.run("doctor", "--bundle", str(target))
        process.communicate(b"\n")
    found = members(target)
    assert json.loads(found["environment.json"])["kaosd"] == {"KAOSD_ENGINE": "docker", "KAOSD_STRANGE": "********"}
    assert "it used ********" in found[f"logs/{NAME}/000008.build.{'cd' * 16}.log"]
