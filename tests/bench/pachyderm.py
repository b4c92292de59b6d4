"""What it costs to bring data to pachd, beside the client library's own put_files: `tests/bench/upload.py` tells it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.bench.bench import Bench
from tests.bench.report import Report


def measure(bench: Bench, report: Report) -> None:
    """Its lines are facts; the numbers of bytes and requests, which no tree's size changes, are held by tests."""
    options = bench.choose(["--files", "500", "--megabytes", "16"], ["--files", "10000", "--megabytes", "256"])
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.upload", *options],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise RuntimeError(f"tests.bench.upload ended with {done.returncode}: {' '.join(last)}")
    report.facts += [line for line in done.stdout.splitlines() if line.strip()]
