"""Data of 1 GB with one file changed: from the save to its content where the notebook reads it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from tests.bench.bench import Bench, checked, remove, timed
from tests.bench.report import OWN, Report
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import until

WHAT = "data attach (MB), one file changed"
_MEGABYTE = 1 << 20


def measure(bench: Bench, report: Report) -> None:
    """kaosd notices by itself; the others are started by hand in the moment of the save."""
    megabytes, rounds = bench.choose((50, 4), (1_000, 10))
    data, copy, link = bench.place / "data", bench.place / "copy", bench.place / "link"
    data.mkdir()
    for number in range(megabytes):
        (data / f"part{number}").write_bytes(os.urandom(_MEGABYTE))
    shutil.copytree(data, copy)
    link.symlink_to(copy)
    times: dict[str, list[float]] = {OWN: [], "rsync -a": [], "cp -a beside it, then a link": []}
    with bench.daemon() as daemon:
        first = timed(lambda: daemon.deploy("data", make_bundle(bench.place / "source"), data))
        report.facts.append(
            f"first deployment with {megabytes} MB of data, JupyterLab's environment made: {first:.1f} s"
        )
        seen = daemon.home("data") / "data"
        for number in range(rounds):
            name = f"part{number * 7 % megabytes}"
            content = os.urandom(_MEGABYTE)
            time.sleep(1)  # both sides at rest
            began = time.perf_counter()
            (data / name).write_bytes(content)
            until(lambda name=name, content=content: _holds(seen / name, content), "the data")  # type: ignore[misc]
            times[OWN].append(time.perf_counter() - began)
            daemon.live("data")
            times["rsync -a"].append(timed(lambda: checked(["rsync", "-a", "--delete", f"{data}/", f"{copy}/"])))
            beside = bench.place / f"copy{number}"
            times["cp -a beside it, then a link"].append(timed(lambda to=beside: _beside(data, to, link)))  # type: ignore[misc]
            remove(beside)
        assert {one.name: one.read_bytes() for one in data.iterdir()} == {
            one.name: one.read_bytes() for one in seen.iterdir()
        }
    for who, seconds in times.items():
        report.add(WHAT, megabytes, who, seconds)


def _beside(data: Path, copy: Path, link: Path) -> None:
    """A whole copy, shown in one step: what it takes to replace data at one blow with common tools."""
    checked(["cp", "-a", str(data), str(copy)])
    temporary = link.with_name("next")
    temporary.symlink_to(copy)
    temporary.replace(link)


def _holds(path: Path, content: bytes) -> bool:
    return path.stat().st_size == len(content) and path.read_bytes() == content
