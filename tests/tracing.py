"""The system calls of a process that runs already, by strace."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 120.0  # seconds that anything here may take on a loaded machine


@contextlib.contextmanager
def tracing(pid: int, output: Path, *options: str) -> Iterator[None]:
    """Within it, what the process (and what it starts, with "-f") calls is written to *output*."""
    argv = ["strace", "-e", "signal=none", "-o", str(output), *options, "-p", str(pid)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert "attached" in said, said
        try:
            yield
        finally:
            tracer.terminate()
            tracer.communicate(timeout=PATIENCE)
