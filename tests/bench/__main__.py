"""`python -m tests.bench [--quick] [DIRECTORY]`: measure kaosd and its peers in one run; table and plots go there."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench import bundles, saves, whole
from tests.bench.report import Report
from tests.e2e.daemon import Daemon

SIZES, QUICK = (20, 1_000, 10_000, 100_000), (20, 1_000)
SAVES, FEW = 100, 10
LARGE = 10_000  # files, from which on the targets of bundling count


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--quick", action="store_true", help="small trees and few saves: some minutes")
    parser.add_argument("directory", nargs="?", type=Path, default=Path("bench"))
    options = parser.parse_args()
    sizes, count = (QUICK, FEW) if options.quick else (SIZES, SAVES)
    report, place = Report(), Path(tempfile.mkdtemp(prefix="kb"))
    report.missing.append("syncthing, watchexec and docker build: nothing here sets them up")
    daemon = Daemon(place).start()
    try:
        _tell("an added requirement, the front")
        whole.requirement(report, daemon, place, count)
        _tell("the client")
        whole.client(report, daemon, count)
        for files in sizes:
            _tell(f"bundles of {files} files")
            bundles.measure(report, place, files, count)
            _tell(f"saves in a tree of {files} files")
            saves.measure(report, daemon, place, files, count)
        _tell("idling")
        whole.idle(report, daemon)
    finally:
        daemon.close()
    _targets(report, sizes)
    report.write(options.directory)
    sys.stdout.write(report.markdown())


def _targets(report: Report, sizes: tuple[int, ...]) -> None:
    """The ratios that section 9 of the design limits."""
    save, small, large = "save to content", sizes[0], sizes[-1]
    for files in sizes:
        report.target(
            f"save, {files} files: of the best peer", report.median(save, files) / report.best(save, files), 0.5
        )
    for files in (files for files in sizes if files >= LARGE):
        first, again = report.median("first bundle", files), report.median("bundle again", files)
        if files == sizes[-1]:
            git = report.median("first bundle", files, "git")
            report.target(f"first bundle, {files} files: of git", first / git, 0.25)
        report.target(f"bundle again, {files} files: of git", again / report.median("bundle again", files, "git"), 0.05)
        kaos = report.median("bundle again", files, "kaos's zip")
        report.target(f"bundle again, {files} files: of kaos's zip", again / kaos, 0.001)
    report.target(f"save: {large} files of {small}", report.median(save, large) / report.median(save, small), 1.3)
    added, bare = "requirement added: build", "bare uv pip install"
    report.target("requirement added, build: of bare uv", report.median(added, 4) / report.median(added, 4, bare), 1.15)
    for other, limit in (("python -c pass", 2.5), ("supervisorctl status", 0.3)):
        report.target(f"client: of {other}", report.median("client", 0) / report.median("client", 0, other), limit)


def _tell(what: str) -> None:
    sys.stderr.write(f"measuring {what}\n")


if __name__ == "__main__":
    main()
