"""Ten and a hundred notebooks in one daemon: memory, rest, status, and how long a save in one of them takes."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.bench import Bench, timed
from tests.bench.processes import busy, memory, wakeups
from tests.bench.report import OWN, Report
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon, until

SAVE, STATUS = "save to content, notebooks in the daemon", "kaosctl status, notebooks in the daemon"
_REST = 10.0  # seconds of rest that are measured


def measure(bench: Bench, report: Report) -> None:
    """The same daemon grows."""
    counts = bench.choose((1, 5), (1, 10, 100))
    with bench.daemon() as daemon:
        deployed = 0
        for count in counts:
            began = time.perf_counter()
            for number in range(deployed, count):
                source = make_bundle(bench.place / f"n{number}")
                daemon.ctl("notebook", "deploy", "--name", f"n{number}", "-s", str(source), "--detach")
            for number in range(deployed, count):
                daemon.live(f"n{number}")
            report.facts.append(f"{count - deployed} more, all live: {time.perf_counter() - began:.1f} s")
            deployed = count
            _look(report, daemon, bench.place, count, bench.choose(5, 30))
        hosts = daemon.hosts()
        report.facts.append(f"the hosts of {deployed} notebooks: {sum(map(memory, hosts)) / deployed:.0f} MB each")


def _look(report: Report, daemon: Daemon, place: Path, count: int, rounds: int) -> None:
    assert daemon.process is not None
    pid = daemon.process.pid
    time.sleep(5)  # what is done at leisure after a deployment
    before, woken = busy(pid), wakeups(pid)
    time.sleep(_REST)
    share, turns = (busy(pid) - before) / _REST * 100, (wakeups(pid) - woken) / _REST
    said = f"{share:.2f} % of a core, {turns:.1f} wake-ups a second, {memory(pid):.0f} MB"
    report.facts.append(f"{count} notebooks at rest: the daemon has {said}")
    name = f"n{count - 1}"
    saved, hosted = place / name / "model" / "train.py", daemon.home(name) / "work" / "train.py"
    saves = []
    for number in range(rounds):
        time.sleep(0.3)
        text = f"ANSWER = {count}.{number}\n"
        began = time.perf_counter()
        saved.write_text(text)
        until(lambda text=text: hosted.read_text() == text, "the save")  # type: ignore[misc]
        saves.append(time.perf_counter() - began)
    report.add(SAVE, count, OWN, saves)
    report.add(STATUS, count, OWN, [timed(lambda: daemon.ctl("status")) for _ in range(rounds)])
