"""How long a save and a question for the status take while 200 clients load the front, and while none does."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kaosd.notebook.hosting import FRESH
from tests.bench.bench import Bench, at_leisure, timed
from tests.bench.processes import busy
from tests.bench.report import OWN, Report
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon

SAVE, STATUS, CLIENT = "save to content", "status over the socket", "kaosctl status"
IDLE, LOADED = "front idle", "front loaded"
CLIENTS, SOCKETS = 200, 50  # of the clients so many follow a printing kernel by a websocket; the others ask by GET
_NAME = "busy"
_LIMIT = 5


def measure(bench: Bench, report: Report) -> None:
    """The same daemon, first without clients, then with all clients at once."""
    rounds, kernels = bench.choose(10, 30), bench.choose(5, SOCKETS)
    with bench.daemon() as daemon:
        source = make_bundle(bench.place / _NAME)
        daemon.deploy(_NAME, source)
        at_leisure(daemon)
        found = {IDLE: _look(daemon, source, rounds)}
        with _load(report, daemon, kernels):
            found[LOADED] = _look(daemon, source, rounds)
    for what in (SAVE, STATUS, CLIENT):
        for when, times in found.items():
            report.add(f"{what}, {when}", 0, OWN, times[what])
        ratio = report.median(f"{what}, {LOADED}", 0) / report.median(f"{what}, {IDLE}", 0)
        report.target(f"{what}: {LOADED} of {IDLE}", ratio, _LIMIT)


def _look(daemon: Daemon, source: Path, rounds: int) -> dict[str, list[float]]:
    """Saves and questions in turn, each so long after the other that the daemon asks the host again."""
    saved, hosted = source / "model" / "train.py", daemon.home(_NAME) / "work" / "train.py"
    times: dict[str, list[float]] = {SAVE: [], STATUS: [], CLIENT: []}
    for _ in range(rounds):
        _pause()
        text = f"ANSWER = {random.random()}\n"
        began = time.perf_counter()
        saved.write_text(text)
        while hosted.read_text() != text:
            assert time.perf_counter() - began < 60, "the save did not come"
            time.sleep(0.0005)
        times[SAVE].append(time.perf_counter() - began)
        _pause()
        times[STATUS].append(timed(lambda: _ask(daemon.environ["KAOSD_SOCKET"])))
        _pause()
        times[CLIENT].append(timed(lambda: daemon.ctl("status")))
    return times


def _pause() -> None:
    time.sleep(FRESH + random.uniform(0.1, 0.3))


def _ask(path: str) -> None:
    """What kaosctl asks, without the start of its interpreter."""
    connection = http.client.HTTPConnection("kaosd")
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(path)
        connection.sock = end
        connection.request("GET", "/v1/status")
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        answer.read()


@contextlib.contextmanager
def _load(report: Report, daemon: Daemon, kernels: int) -> Iterator[None]:
    """All clients, in a process of their own; within it every one of them was answered before."""
    argv = [sys.executable, "-m", "tests.bench.load", daemon.url(_NAME), str(CLIENTS - SOCKETS), str(SOCKETS)]
    assert daemon.process is not None
    pid = daemon.process.pid
    with subprocess.Popen([*argv, str(kernels)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{daemon.token(_NAME)}\n")  # never in a command line
        process.stdin.flush()
        try:
            assert process.stdout.readline() == "all answered\n", "the clients were not answered"
            began, used = time.perf_counter(), busy(pid)
            yield
            share = (busy(pid) - used) / (time.perf_counter() - began)
            counted: dict[str, Any] = json.loads(process.communicate()[0])
        finally:
            process.kill()
    said = f"{counted['requests']:.0f} requests and {counted['frames']:.0f} frames of websockets a second"
    report.facts.append(
        f"load: {CLIENTS - SOCKETS} clients ask without a pause, {SOCKETS} follow {kernels} printing kernels"
        f" (all of one notebook): {said}; the daemon had {share:.0%} of a core"
    )
    if counted["failed"]:
        report.missing.append(f"{counted['failed']} requests of the load failed: {counted['why']}")
