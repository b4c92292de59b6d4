"""Environments: unchanged ones cost no build; an added requirement beside a bare `uv pip install` of it.

While requirements are added a probe asks through the front 50 times a second and a kernel keeps its variables.
"""

from __future__ import annotations

import asyncio
import datetime
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.bench import Bench, timed
from tests.bench.probing import Probe
from tests.bench.report import OWN, Report
from tests.bench.servers import UV, environment
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon
from tests.e2e.lab import Lab

PACKAGES = ("humanize", "pytz", "inflection", "xmltodict", "toolz", "sortedcontainers")  # small, and without needs
BARE = "bare uv pip install"
ADDED, SAVED, HIT = "requirement added: build", "requirement added: save to live", "same requirements again: to live"
SERVER = ("jupyterlab", "jupyter-collaboration")


def measure(bench: Bench, report: Report) -> None:
    """Hits, then additions."""
    rounds = bench.choose(2, len(PACKAGES))
    source = make_bundle(bench.place / "packages")
    with bench.daemon() as daemon:
        daemon.deploy("packages", source)
        _hits(bench, report, daemon, source, rounds)
        asyncio.run(_added(bench, report, daemon, source, rounds))


def _builds(daemon: Daemon, name: str) -> int:
    return sum(job["stage"] == "build" for one in daemon.history(name) for job in one["jobs"])


def _hits(bench: Bench, report: Report, daemon: Daemon, source: Path, rounds: int) -> None:
    """A second notebook with the same requirements, beside making its environment by hand; a daemon started again."""
    hits, bare, built = [], [], 0
    for number in range(rounds):
        hits.append(timed(lambda name=f"hit{number}": daemon.deploy(name, source)))  # type: ignore[misc]
        built += _builds(daemon, f"hit{number}")
        daemon.ctl("notebook", "kill", "-n", f"hit{number}", "-y")
        bare.append(timed(lambda to=bench.place / f"e{number}": environment(to, SERVER)))  # type: ignore[misc]
    before = _builds(daemon, "packages")
    daemon.ctl("redeploy", "packages")
    daemon.live("packages")
    daemon.stop()
    daemon.start()
    daemon.live("packages")
    report.add(HIT, 0, OWN, hits)
    report.add(HIT, 0, "uv venv, uv pip install jupyterlab (cached), without a server", bare)
    report.target("environment unchanged: builds", built + _builds(daemon, "packages") - before, 0, "builds")


async def _added(bench: Bench, report: Report, daemon: Daemon, source: Path, rounds: int) -> None:
    """Add one requirement after the other, and install the same by hand into an environment like it."""
    live, build, bare, taken = [], [], [], []
    hand = bench.place / "hand"
    environment(hand, SERVER)
    async with (
        Lab(daemon.url("packages"), daemon.token("packages")) as lab,
        Probe(daemon.url("packages"), daemon.token("packages")) as probe,
    ):
        kernel = await lab.kernel()
        await kernel.run("kept = 42")
        for number in range(1, rounds + 1):
            await asyncio.sleep(3)  # a person does something else in between; what is made at leisure is made then
            with _Watch(daemon.home("packages") / "environment") as link:
                began = time.perf_counter()
                (source / "model" / "requirements.txt").write_text("\n".join(PACKAGES[:number]) + "\n")
                shown = await asyncio.to_thread(daemon.live, "packages")
                live.append(time.perf_counter() - began)
            build.append(float(shown["build"]["seconds"]))
            taken.append(link.moved - _ended(shown["build"]))
            bare.append(await asyncio.to_thread(timed, _install(hand, PACKAGES[number - 1])))
        new = await lab.kernel()
        assert await new.run(f"import {PACKAGES[rounds - 1]}; print('there')") == "there\n"
        lost = await kernel.run("print(kept)") != "42\n"
    report.add(ADDED, 0, OWN, build)
    report.add(ADDED, 0, BARE, bare)
    report.add(SAVED, 0, OWN, live)
    report.add(SAVED, 0, BARE, bare)
    report.add("end of the build to the environment of the next kernel", 0, OWN, taken)
    report.facts.append(f"while requirements were added: {probe}")
    report.facts += sorted(set(probe.failed))[:3]
    report.target("requirement added, build: of bare uv pip install", report.ratio(ADDED, 0, BARE), 1.15)
    report.target("requirement added, save to live: of bare uv pip install", report.ratio(SAVED, 0, BARE), 1.3)
    report.target("requirement added: until a new kernel has it", sorted(taken)[len(taken) // 2] * 1e3, 100, "ms")
    report.target("requirement added: failed requests", len(probe.failed), 0, "requests")
    report.target("requirement added: lost kernels", float(lost), 0, "kernels")


class _Watch:
    """When a link moved while it was watched, as seconds of the epoch; looks every millisecond."""

    def __init__(self, link: Path) -> None:
        self._link = link
        self._before = link.readlink()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.moved = float("nan")

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.001):
            if self._link.readlink() != self._before:
                self.moved = time.time()
                return


def _ended(job: dict[str, object]) -> float:
    """When a job ended, as seconds of the epoch."""
    began = datetime.datetime.fromisoformat(str(job["started_at"]))
    return began.timestamp() + float(str(job["seconds"]))


def _install(place: Path, package: str) -> Callable[[], object]:
    return lambda: subprocess.run(
        [UV, "pip", "install", "-q", "-p", f"{place}/bin/python", package], check=True, capture_output=True
    )
