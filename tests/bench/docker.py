"""A save until it is in a container, and a rebuild beside `docker build --no-cache` and `docker run` of the bundle.

Starts a Docker of its own, for which it needs root.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.bench import Bench, absent, checked, timed
from tests.bench.report import OWN, Report
from tests.e2e.daemon import Daemon, until
from tests.engines.containers import Containers, started

CODE, REBUILD = "docker: save to content in the container", "docker: requirement added, to an answer"
PLAIN = "docker build --no-cache, run, answer"
DOCKERFILE = """\
FROM python:3.11
WORKDIR /opt/program
ADD . /opt/program/
RUN pip install --no-cache-dir jupyterlab -r requirements.txt
"""
REQUIREMENTS = ("iniconfig", "six", "humanize", "toolz", "tabulate")


def measure(bench: Bench, report: Report) -> None:
    """Code, an unchanged environment, and a rebuild."""
    if lacking := absent(["dockerd", "docker"]):
        report.missing.append(f"docker: {lacking}")
        return
    bundle = bench.place / "example"
    (bundle / "model").mkdir(parents=True)
    (bundle / "Dockerfile").write_text(DOCKERFILE)
    (bundle / "model/requirements.txt").write_text("")
    (bundle / "model/code.py").write_text("0\n")
    with (
        started("docker") as containers,
        bench.daemon(KAOSD_ENGINE="docker", KAOSD_DOCKER_SOCKET=containers.address) as daemon,
    ):
        first = timed(lambda: daemon.deploy("bench", bundle))
        report.facts.append(f"first deployment: {first:.1f} s")
        _code(report, daemon, bundle, bench.choose(5, 40))
        _same(report, daemon)
        _rebuild(report, daemon, containers, bundle, bench.choose(1, 2))


def _code(report: Report, daemon: Daemon, bundle: Path, rounds: int) -> None:
    save, seconds = daemon.home("bench") / "work/code.py", []
    for number in range(1, rounds + 1):
        time.sleep(0.3)
        began = time.perf_counter()
        (bundle / "model/code.py").write_text(f"{number}\n")
        until(lambda text=f"{number}\n": save.read_text() == text, "the code")  # type: ignore[misc]
        seconds.append(time.perf_counter() - began)
    report.add(CODE, 0, OWN, seconds)


def _same(report: Report, daemon: Daemon) -> None:
    built = _builds(daemon)
    again = timed(lambda: (daemon.ctl("redeploy", "bench"), daemon.live("bench")))
    daemon.stop()
    restarted = timed(lambda: (daemon.start(), daemon.live("bench")))
    report.facts.append(
        f"environment unchanged: redeployed in {again:.2f} s, the daemon restarted in {restarted:.2f} s"
    )
    report.target("docker, environment unchanged: builds", _builds(daemon) - built, 0, "builds")


def _rebuild(report: Report, daemon: Daemon, containers: Containers, bundle: Path, rounds: int) -> None:
    swaps, plains = [], []
    for number in range(1, rounds + 1):
        (bundle / "model/requirements.txt").write_text("\n".join(REQUIREMENTS[:number]) + "\n")
        swaps.append(timed(lambda: daemon.live("bench")))
        plains.append(_plain(containers, bundle))
    report.add(REBUILD, 0, OWN, swaps)
    report.add(REBUILD, 0, PLAIN, plains)


def _plain(containers: Containers, bundle: Path) -> float:
    """What a person does without kaosd: build, run, wait for the first answer."""
    docker = ["docker", "-H", containers.address]
    with tempfile.TemporaryDirectory() as place:

        def deploy() -> None:
            build = [*docker, "build", "-q", "--no-cache", "-t", "plain", "-f", str(bundle / "Dockerfile")]
            checked([*build, str(bundle / "model")])
            serve = ["jupyter", "lab", "--allow-root", "--no-browser", "--sock=/s/s", "--IdentityProvider.token=t"]
            checked([*docker, "run", "-d", "--name", "plain", "-v", f"{place}:/s", "plain", *serve])
            ask = ["curl", "-sf", "--unix-socket", f"{place}/s", "http://localhost/api/status?token=t"]
            until(lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0, "an answer")

        seconds = timed(deploy)
        checked([*docker, "rm", "-f", "plain"])
    return seconds


def _builds(daemon: Daemon) -> int:
    return sum(job["stage"] == "build" for one in daemon.history("bench") for job in one["jobs"])
