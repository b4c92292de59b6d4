"""Ten thousand files rewritten at once, with more events than the kernel keeps: few deployments, exact content."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.bench.bench import Bench, timed
from tests.bench.report import Report
from tests.e2e.daemon import Daemon, until
from tests.saving import tree

EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")


def measure(bench: Bench, report: Report) -> None:
    """The daemon is held while the files are rewritten, so that the queue must overflow."""
    files = bench.choose(2_000, 10_000)
    source = bench.place / "storm"
    tree(source, files)
    with bench.daemon() as daemon:
        daemon.deploy("storm", source)
        deployed, overflows = daemon.history("storm")[0]["number"], _overflows(daemon)
        assert daemon.process is not None
        os.kill(daemon.process.pid, signal.SIGSTOP)
        try:
            _rewrite(source, "held", int(EVENTS.read_text()))
        finally:
            os.kill(daemon.process.pid, signal.SIGCONT)
        until(lambda: _overflows(daemon) > overflows, "the overflow")
        seconds = timed(lambda: daemon.live("storm"))
        held = daemon.history("storm")[0]["number"] - deployed
        wrong = _wrong(source, daemon.home("storm") / "work")
        report.facts.append(f"{files} files rewritten, the queue overflowed: live {seconds:.1f} s after it was noticed")
        report.target(f"{files} files rewritten, overflow forced: deployments", held, 3, "deployments")
        report.target(f"{files} files rewritten, overflow forced: wrong files", wrong, 0, "files")
        _rewrite(source, "free", 0)
        seconds = timed(lambda: daemon.live("storm"))
        free = daemon.history("storm")[0]["number"] - deployed - held
        wrong = _wrong(source, daemon.home("storm") / "work")
        said = f"live {seconds:.1f} s after the last one, {free} deployments, {wrong} wrong files"
        report.facts.append(f"the same while it watches: {said}")


def _rewrite(source: Path, text: str, events: int) -> None:
    """As most editors do, by another file that takes the name; again and again until there were so many events."""
    files = sorted((source / "model").rglob("*.py"))
    generation = 0
    while not generation or generation * len(files) * 3 <= events:
        generation += 1
        for path in files:
            temporary = path.with_suffix(".tmp-by-bench")
            temporary.write_text(f"{text} {generation}\n")
            temporary.rename(path)


def _overflows(daemon: Daemon) -> int:
    found: int = daemon.status()["daemon"]["watch"]["overflows"]
    return found


def _wrong(source: Path, work: Path) -> int:
    """How many files of the source the host does not have with the same content."""
    model = source / "model"
    paths = [path.relative_to(model) for path in model.rglob("*") if path.is_file()]
    return sum(
        not (work / path).exists() or (work / path).read_bytes() != (model / path).read_bytes() for path in paths
    )
