"""From a save to the new content in the other directory: kaosd, and what people would use instead."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.report import OWN, Report
from tests.e2e.daemon import Daemon
from tests.saving import SAVED, tree

PAUSE = 0.3  # seconds between two saves, so that each is settled on its own
GIVE_UP = 20.0  # seconds after which a peer is left out
READY = 120.0  # seconds that the first copy may take
_EVENTS = "close_write,create,delete,move,attrib"
_COPYING = """
import os, shutil, sys
from watchfiles import watch
source, target = sys.argv[1:]
shutil.copytree(source, target, dirs_exist_ok=True)
for changes in watch(source):
    for _, path in changes:
        if os.path.isfile(path):
            shutil.copy2(path, os.path.join(target, os.path.relpath(path, source)))
"""
# by name: the programs that it needs, and its command line as a shell's, with {source} and {target}
PEERS = {
    "lsyncd": ("lsyncd rsync", "exec lsyncd -nodaemon -delay 0 -rsync {source} {target}"),
    "inotifywait+rsync": (
        "inotifywait rsync",
        "rsync -a {source}/ {target}/; inotifywait -mrq -e " + _EVENTS + " --format %w%f {source} | "
        "while read -r changed; do rsync -a --delete {source}/ {target}/; done",
    ),
    "unison": ("unison unison-fsmonitor", "exec unison {source} {target} -batch -auto -silent -repeat watch"),
    "entr+rsync": (
        "entr rsync",
        "while :; do find {source} | entr -dn rsync -a --delete {source}/ {target}/; done",
    ),
    "watchfiles+copy": ("", "exec {python} {copying} {source} {target}"),
}


def measure(report: Report, daemon: Daemon, place: Path, files: int, count: int) -> None:
    """Each in turn on a tree of so many files."""
    source = place / f"source{files}"
    saved = tree(source, files)
    name = f"tree{files}"
    daemon.deploy(name, source)
    hosted = daemon.home(name) / "work" / os.fsdecode(SAVED).removeprefix("model/")
    report.add("save to content", files, OWN, timed(saved, hosted, count))
    daemon.ctl("notebook", "kill", "-n", name, "-y")
    for who, (programs, line) in PEERS.items():
        absent = [program for program in programs.split() if shutil.which(program) is None]
        if absent:
            report.missing.append(f"{who}: there is no {' and no '.join(absent)}")
            continue
        with tempfile.TemporaryDirectory(dir=place) as target:
            report.add("save to content", files, who, peer(line, source, saved, Path(target), count))
    shutil.rmtree(source)


def peer(line: str, source: Path, saved: Path, target: Path, count: int) -> list[float]:
    """Run one peer; the times of its saves, none when it does not keep up."""
    with tempfile.TemporaryDirectory(prefix="kp") as home:
        copying = Path(home, "copying.py")
        copying.write_text(_COPYING)
        python = Path(os.environ.get("KAOS_BENCH_PYTHON", sys.executable))
        command = line.format(source=source, target=target, python=python, copying=copying)
        environ = {**os.environ, "HOME": home, "UNISON": home}
        with subprocess.Popen(
            ["bash", "-c", command], env=environ, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            copied = target / saved.relative_to(source)
            try:
                if not _same(saved, copied, READY):
                    return []
                time.sleep(2)  # what it does after the first copy, before it watches
                return timed(saved, copied, count)
            finally:
                os.killpg(process.pid, signal.SIGKILL)


def timed(saved: Path, copied: Path, count: int) -> list[float]:
    """Seconds from a save to its content in the copy, for each of *count* saves; none when one takes too long."""
    found = []
    for number in range(count):
        time.sleep(PAUSE)
        # never as long as the last one: rsync takes the same size within the same second for the same content
        saved.write_text(f"ANSWER = {time.time_ns()}\n" + "#" * (number % 7))
        began = time.perf_counter()
        if not _same(saved, copied, GIVE_UP):
            return []
        found.append(time.perf_counter() - began)
    return found


def _same(one: Path, other: Path, within: float) -> bool:
    """Wait until both have the same content."""
    text, deadline = one.read_bytes(), time.perf_counter() + within
    while time.perf_counter() < deadline:
        if other.exists() and other.read_bytes() == text:
            return True
        time.sleep(0.0005)
    return False
