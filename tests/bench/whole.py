"""The daemon as a whole: an added requirement, the client, idling, the front, and JupyterLab's start."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from tests.bench.report import OWN, Report
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon
from tests.e2e.lab import Lab

PACKAGES = ("humanize", "pytz", "inflection", "xmltodict", "toolz", "sortedcontainers")  # small, and without needs
IDLE = 20.0  # seconds of looking at a daemon that has nothing to do
_TICKS = os.sysconf("SC_CLK_TCK")


def requirement(report: Report, daemon: Daemon, place: Path, count: int) -> None:
    """An added requirement: until it is live, the build alone, and the bare install of it."""
    source = make_bundle(place / "packages")
    daemon.deploy("packages", source)
    live, build, bare = [], [], []
    for number in range(1, min(count, len(PACKAGES)) + 1):
        time.sleep(3)  # a person does something else in between; the copy for the next build is made meanwhile
        (source / "model" / "requirements.txt").write_text("\n".join(PACKAGES[:number]) + "\n")
        began = time.perf_counter()
        shown = daemon.live("packages")
        live.append(time.perf_counter() - began)
        build.append(float(shown["build"]["seconds"]))
        bare.append(_bare(PACKAGES[number - 1]))
    report.add("requirement added: build", 4, OWN, build)
    report.add("requirement added: build", 4, "bare uv pip install", bare)
    report.add("requirement added: save to live", 4, OWN, live)
    report.add("requirement added: save to live", 4, "bare uv pip install", bare)
    asyncio.run(_front(report, daemon, "packages", 20 * count))


def _bare(package: str) -> float:
    """Seconds that uv takes to add *package* to an environment."""
    uv = str(Path(sys.executable).parent / "uv")
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([uv, "venv", "-q", place + "/e"], check=True)
        began = time.perf_counter()
        subprocess.run([uv, "pip", "install", "-q", "-p", place + "/e/bin/python", package], check=True)
        return time.perf_counter() - began


async def _front(report: Report, daemon: Daemon, name: str, count: int) -> None:
    """Small requests through the front and straight to the host's socket, in turn."""
    socket = next((daemon.state / "run").glob("*.sock"))
    async with (
        Lab(daemon.url(name), daemon.token(name)) as lab,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as direct,
    ):
        through, straight = [], []
        headers = {"Authorization": f"token {daemon.token(name)}"}
        for _ in range(count):
            began = time.perf_counter()
            await lab.get("api/status")
            through.append(time.perf_counter() - began)
            began = time.perf_counter()
            async with direct.get(f"http://host/{name}/api/status", headers=headers) as answer:
                await answer.json()
            straight.append(time.perf_counter() - began)
    report.add("small request", 4, f"{OWN}'s front", through)
    report.add("small request", 4, "straight to the host", straight)


def client(report: Report, daemon: Daemon, count: int) -> None:
    """The client against a bare interpreter and others' clients."""
    ways = {
        OWN: [str(Path(sys.executable).parent / "kaosctl"), "status"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "supervisorctl status": ["supervisorctl", "-s", "http://127.0.0.1:9", "status"],
        "docker ps": ["docker", "ps"],
    }
    for who in [who for who, argv in ways.items() if shutil.which(argv[0]) is None]:
        report.missing.append(f"{who}: there is no {ways.pop(who)[0]}")
    times: dict[str, list[float]] = {who: [] for who in ways}
    for _ in range(count):
        for who, argv in ways.items():
            began = time.perf_counter()
            subprocess.run(argv, env=daemon.environ, capture_output=True, check=False)
            times[who].append(time.perf_counter() - began)
    for who, found in times.items():
        report.add("client", 0, who, found)


def idle(report: Report, daemon: Daemon) -> None:
    """Processor time and memory of a daemon at rest."""
    assert daemon.process is not None
    before = _ticks(daemon.process.pid)
    time.sleep(IDLE)
    share = (_ticks(daemon.process.pid) - before) / _TICKS / IDLE
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    memory = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    report.target("idle: percent of a core", max(share * 100, 0.001), 0.2)
    report.target("idle: MB of memory", memory, 120)


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])
