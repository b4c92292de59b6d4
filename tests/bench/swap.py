"""What a steady probe through the front feels while code, data and the server's own packages change."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.bench.bench import Bench
from tests.bench.probing import Probe
from tests.bench.report import OWN, Report
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon, until
from tests.e2e.lab import Lab

OLDER, NEWER = "jupyterlab<4.6\n", "jupyterlab\n"
_REST = 2.0  # seconds of probing around each change


def measure(bench: Bench, report: Report) -> None:
    """Each kind of change under its own probe."""
    source, data = make_bundle(bench.place / "swap", NEWER), bench.place / "data"
    data.mkdir()
    (data / "one.csv").write_text("1\n")
    with bench.daemon() as daemon:
        daemon.deploy("swap", source, data)
        asyncio.run(_changes(report, daemon, source, data, bench.choose(1, 3)))


async def _changes(report: Report, daemon: Daemon, source: Path, data: Path, rounds: int) -> None:
    async with Lab(daemon.url("swap"), daemon.token("swap")) as lab:
        kernel = await lab.kernel()
        await kernel.run("kept = 42")
        failed = 0
        async with Probe(daemon.url("swap"), daemon.token("swap")) as probe:
            for number in range(10 * rounds):
                (source / "model" / "train.py").write_text(f"ANSWER = {number}\n")
                (data / "one.csv").write_text(f"{number}\n")
                await asyncio.to_thread(daemon.live, "swap")
            lost = await kernel.run("print(kept)") != "42\n"
        failed += len(probe.failed)
        report.add("answer through the front while code and data change", 0, OWN, probe.latencies)
        report.facts.append(f"{10 * rounds} changes of code and data: {probe}")
    for number in range(2 * rounds):
        pid = daemon.host_pid("swap")
        async with Probe(daemon.url("swap"), daemon.token("swap")) as probe:
            await asyncio.sleep(_REST)
            (source / "model" / "requirements.txt").write_text((OLDER, NEWER)[number % 2])
            await asyncio.to_thread(until, lambda pid=pid: _swapped(daemon, pid), "the swap")  # type: ignore[misc]
            await asyncio.sleep(_REST)
        failed += len(probe.failed)
        report.facts.append(f"the server replaced by one of another version: {probe}")
        report.facts += sorted(set(probe.failed))[:3]
    report.target("swap: failed requests", failed, 0, "requests")
    report.target("code or data changed: lost kernels", float(lost), 0, "kernels")


def _swapped(daemon: Daemon, pid: int) -> bool:
    return daemon.notebook("swap")["state"] == "live" and daemon.host_pid("swap") != pid
