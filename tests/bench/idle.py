"""A daemon at rest with a large tree under watch; started again with nothing changed; and a storm of changes."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.bench import PYTHON, Bench, checked, timed
from tests.bench.processes import busy, memory, wakeups
from tests.bench.report import BOUND, OWN, Report
from tests.e2e.daemon import PATIENCE, Daemon
from tests.saving import tree

START = "daemon start, tree unchanged: to ready"
WALK = f"{BOUND}walk + stat (a Python of its own)"
LIBRARIES = f"{BOUND}a Python that imports the libraries it stands on"
_LIBRARIES = "import aiohttp.web, pydantic_settings, structlog, watchdog.observers, blake3, sqlite3"
_WALK = """
import os, sys
for directory, _, names in os.walk(sys.argv[1]):
    for name in names:
        os.lstat(os.path.join(directory, name))
"""


def measure(bench: Bench, report: Report) -> None:
    """One tree for all of it."""
    files, seconds = bench.choose((2_000, 20), (100_000, 130))
    source = bench.place / "idle"
    tree(source, files)
    with bench.daemon() as daemon:
        report.facts.append(f"deployed {files} files in {timed(lambda: daemon.deploy('idle', source)):.1f} s")
        time.sleep(bench.choose(5, 15))  # what it does at leisure after a deployment is not idling
        _rest(report, daemon, files, seconds)
        _starts(bench, report, daemon, source, files)


def _rest(report: Report, daemon: Daemon, files: int, seconds: float) -> None:
    assert daemon.process is not None
    pid = daemon.process.pid
    before, woken, rescans = busy(pid), wakeups(pid), daemon.status()["daemon"]["watch"]["rescans"]
    asked = busy(pid)  # answering the question is not idling
    time.sleep(seconds)
    share = (busy(pid) - asked) / seconds * 100
    report.facts.append(
        f"idle with {files} files for {seconds} s: {(wakeups(pid) - woken) / seconds:.2f} wake-ups a second"
    )
    rescans = daemon.status()["daemon"]["watch"]["rescans"] - rescans
    report.facts.append(
        f"safety rescans in that time: {rescans}; asking for the status took {(asked - before) * 1e3:.1f} ms"
    )
    report.target(f"idle, {files} files: processor", share, 0.2, "% of a core")
    report.target(f"idle, {files} files: memory", memory(pid), 120, "MB")


def _starts(bench: Bench, report: Report, daemon: Daemon, source: Path, files: int) -> None:
    """Ready is what the daemon tells systemd; live is what the client is told of the notebook."""
    ready, live, walks, imports = [], [], [], []
    for _ in range(bench.choose(2, 7)):
        daemon.stop()
        with _notified(daemon) as notices:
            began = time.perf_counter()
            daemon.launch()
            while b"READY=1" not in notices.recv(4096):
                pass
            ready.append(time.perf_counter() - began)
        daemon.ctl("wait", "idle", "--timeout", str(PATIENCE))
        live.append(time.perf_counter() - began)
        walks.append(timed(lambda: checked([PYTHON, "-I", "-S", "-c", _WALK, str(source)])))
        imports.append(timed(lambda: checked([PYTHON, "-c", _LIBRARIES])))
    report.add(START, files, OWN, ready)
    report.add(START, files, WALK, walks)
    report.add(START, files, LIBRARIES, imports)
    report.add("daemon start, tree unchanged: to live and proved", files, OWN, live)
    report.add("daemon start, tree unchanged: to live and proved", files, WALK, walks)
    report.target(f"daemon start to ready, {files} files: of walk + stat", report.ratio(START, files, WALK), 1.5)


@contextlib.contextmanager
def _notified(daemon: Daemon) -> Iterator[socket.socket]:
    """What the daemon tells systemd comes here."""
    path = daemon.place / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(path))
        notices.settimeout(PATIENCE)
        daemon.environ["NOTIFY_SOCKET"] = str(path)
        try:
            yield notices
        finally:
            del daemon.environ["NOTIFY_SOCKET"]
            path.unlink()
