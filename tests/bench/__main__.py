"""`python -m tests.bench [--quick] [--only SECTION,...] [DIRECTORY]`: measure kaosd and its peers; see SECTIONS.

Each section measures kaosd and what it is compared with in turn, on the same files, and is kept in DIRECTORY by itself:
so sections may be measured at different times, and the tables are made of all that are there. Ratios never go across
sections, and absolute times mean nothing outside of one.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import platform
import re
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.bench import plots
from tests.bench.bench import CACHE, Bench, remove
from tests.bench.report import Report, target_table

# in this order; and the minutes that each is known to take, whole and quick, on two cores
SECTIONS = {
    "tab": (8, 3),
    "page": (3, 1),
    "saves": (12, 3),
    "bundles": (9, 0.6),
    "data": (1.5, 0.5),
    "environments": (1.5, 0.8),
    "swap": (1.5, 0.6),
    "front": (1, 0.5),
    "busy": (4, 2),
    "clients": (1.5, 0.5),
    "idle": (5, 0.8),
    "storm": (1, 0.5),
    "lab": (1, 0.5),
    "many": (5, 0.8),
    "docker": (6, 3),
    "pachyderm": (1, 0.5),
}
LONGEST = 4  # times what a section is known to take, then it is ended


def main() -> None:
    """Measure the sections that are asked for, then show all that were ever measured into the directory."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=f"Sections: {', '.join(SECTIONS)}.")
    parser.add_argument("--quick", action="store_true", help="small trees and few rounds: some minutes")
    parser.add_argument("--only", default="", help="sections, with commas between them")
    parser.add_argument("directory", nargs="?", type=Path, default=Path("bench"))
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(SECTIONS)
    unknown = [section for section in wanted if section not in SECTIONS]
    if unknown:
        parser.error(f"no such section: {', '.join(unknown)}; known: {', '.join(SECTIONS)}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", CACHE, "bin")
    os.environ["PATH"] = f"{cache}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/sbin"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    options.directory.mkdir(parents=True, exist_ok=True)
    for section in wanted:
        report = _measured(section, options.quick)
        report.save(options.directory)
        print(report.markdown(), flush=True)
    _show(options.directory)


def _measured(section: str, quick: bool) -> Report:
    """One section; what goes wrong in it is told in it, and the others go on."""
    minutes = SECTIONS[section][1 if quick else 0]
    print(f"measuring {section}: about {minutes:g} min", file=sys.stderr, flush=True)
    report, began = Report(section), time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="kb"))
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(int(max(minutes, 1) * 60 * LONGEST))
    try:
        importlib.import_module(f"tests.bench.{section}").measure(Bench(place, quick), report)
    except Exception as error:  # noqa: BLE001 - one section must not take the others with it
        traceback.print_exc()
        report.missing.append(f"the rest of {section}: {type(error).__name__}: {error}"[:300])
    finally:
        signal.alarm(0)
        remove(place)
    report.seconds = time.monotonic() - began
    return report


def _too_long(_signal: int, _frame: object) -> None:
    raise TimeoutError("it took too long")


def _show(directory: Path) -> None:
    """Write the tables and plots of every section in *directory*; print the targets."""
    kept = {path.stem: Report.load(path) for path in directory.glob("*.json")}
    reports = [kept[section] for section in SECTIONS if section in kept]
    targets = target_table(target for report in reports for target in report.targets)
    machine = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    head = [
        f"Measured by `make bench` on {machine}. Ratios hold within a section; no time is compared across runs.",
        "",
    ]
    text = "\n".join([*head, *targets, "", *(report.markdown() for report in reports)])
    (directory / "table.md").write_text(text)
    for report in reports:
        _plot(report, directory)
    print("\n".join(targets), flush=True)


def _plot(report: Report, directory: Path) -> None:
    for what in dict.fromkeys(one.what for one in report.times):
        times = [one for one in report.times if one.what == what and math.isfinite(one.median)]
        name = re.sub(r"[^A-Za-z0-9]+", "-", what).strip("-")
        sizes = sorted({one.size for one in times})
        if len(sizes) > 1:
            (directory / f"{name}-over-size.svg").write_text(plots.over_size(what, times))
        for size in (sizes[0], sizes[-1]):
            those = [one for one in times if one.size == size]
            if min(len(one.seconds) for one in those) > 1 and len(those) > 1:
                picture = plots.distribution(f"{what} ({size})" if size else what, those)
                (directory / f"{name}-{size}-distribution.svg").write_text(picture)


if __name__ == "__main__":
    main()
