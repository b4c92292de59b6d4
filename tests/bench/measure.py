"""How long a save takes to be live: `python -m tests.bench.measure [SAVES]`. Prints medians, p99 and ratios of one run.

A save is over when the new content can be read in the host's directory. Absolute times mean little on a machine
that others use; compare rows of one run only.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon
from tests.e2e.lab import Lab

PAUSE = 0.3  # seconds between two saves, so that each is settled on its own


def tree(path: Path, files: int) -> Path:
    """A source bundle with so many files of 2 KB in directories of 10."""
    make_bundle(path)
    for number in range(files - 3):
        directory = path / "model" / f"part{number // 10}"
        directory.mkdir(exist_ok=True)
        (directory / f"f{number}.py").write_text(f"N = {number}\n" + "#" * 2000)
    return path


def saves(daemon: Daemon, name: str, source: Path, count: int) -> list[float]:
    """Seconds from a save to the new content in the host's directory, for each of *count* saves."""
    file, hosted = source / "model" / "train.py", daemon.home(name) / "work" / "train.py"
    found = []
    for number in range(count):
        time.sleep(PAUSE)
        text = f"ANSWER = {number} # {time.time_ns()}\n"
        file.write_text(text)
        began = time.perf_counter()
        while hosted.read_text() != text:
            time.sleep(0.0005)
        found.append(time.perf_counter() - began)
    return found


def commands(count: int, *ways: Callable[[], object]) -> list[list[float]]:
    """Seconds that each of several commands takes, run in turn."""
    found: list[list[float]] = [[] for _ in ways]
    for _ in range(count):
        for way, times in zip(ways, found, strict=True):
            began = time.perf_counter()
            way()
            times.append(time.perf_counter() - began)
    return found


async def requirement(daemon: Daemon, name: str, source: Path) -> tuple[float, float]:
    """Seconds from an added requirement to a new kernel that has it, and of the bare install of it."""
    package = "humanize"
    async with Lab(daemon.url(name), daemon.token(name)) as lab:
        (source / "model" / "requirements.txt").write_text(f"{package}\n")
        began = time.perf_counter()
        await asyncio.to_thread(daemon.live, name)
        live = time.perf_counter() - began
        await (await lab.kernel()).run(f"import {package}")
    return live, bare_install(package)


def bare_install(package: str) -> float:
    """Seconds that uv takes to add *package* to an environment."""
    uv = str(Path(sys.executable).parent / "uv")
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([uv, "venv", "-q", place + "/e"], check=True)
        began = time.perf_counter()
        subprocess.run([uv, "pip", "install", "-q", "-p", place + "/e/bin/python", package], check=True)
        return time.perf_counter() - began


def row(what: str, times: list[float]) -> str:
    """One line of the table."""
    ordered = sorted(times)
    tail = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{what:48} {statistics.median(times) * 1e3:9.1f} {tail * 1e3:9.1f}   n={len(times)}"


def main(count: int) -> None:
    """Measure and print."""
    place = Path(tempfile.mkdtemp(prefix="kb"))
    daemon = Daemon(place).start()
    try:
        small, large = tree(place / "small", 20), tree(place / "large", 10_000)
        daemon.deploy("small", small)
        daemon.deploy("large", large)
        few, many = saves(daemon, "small", small, count), saves(daemon, "large", large, count)
        live, bare = asyncio.run(requirement(daemon, "small", small))
        status, nothing = commands(
            count,
            lambda: subprocess.run(
                [Path(sys.executable).parent / "kaosctl", "status"],
                env=daemon.environ, stdout=subprocess.DEVNULL, check=False,
            ),
            lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
        )  # fmt: skip
        lines = [
            f"{'':48} {'median ms':>9} {'p99 ms':>9}",
            row("save -> readable in the host, tree of 20", few),
            row("save -> readable in the host, tree of 10 000", many),
            f"  ratio of the medians, 10 000 : 20            {statistics.median(many) / statistics.median(few):9.2f}",
            row("requirement added -> live (settle, build, swap)", [live]),
            row("  bare `uv pip install` of it", [bare]),
            row("kaosctl status", status),
            row("python -c pass", nothing),
            f"  ratio of the medians {'':23}{statistics.median(status) / statistics.median(nothing):10.2f}",
        ]
        sys.stdout.write("\n".join(lines) + "\n")
    finally:
        daemon.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
