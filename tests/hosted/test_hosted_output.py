"""What a host and its kernels print: it arrives whole and stamped, and neither memory nor the log grows without end."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kaosd.hosted import logfile

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from kaosd.hosted import logfile, output
logfile.LONGEST, logfile.HEAD, logfile.TAIL = 2**20, 2**18, 2**18
finish = output.take_over("s3cret-token")
{body}
finish()
import os
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
open({told!r}, "w").write(peak.split()[1])
os._exit(0)
"""
BELOW = "import subprocess; subprocess.run(['head', '-c', {size!r}, {source!r}])"


def host(log: Path, body: str) -> int:
    """Run *body* as the host's own code with its output to *log*; the most memory that it had, in MiB."""
    told = log.with_name("peak")
    code = PROGRAM.format(root=str(ROOT), body=body, told=str(told))
    with open(log, "ab") as output:
        subprocess.run([sys.executable, "-c", code], stdout=output, stderr=output, timeout=120, check=True)
    return int(told.read_text()) // 1024


@pytest.mark.parametrize(
    "body",
    [
        BELOW.format(size="100M", source="/dev/zero"),
        "import subprocess; subprocess.run('yes | head -c 400K', shell=True)",
        "import subprocess; subprocess.run(\"yes '' | head -c 100K\", shell=True)",
        "for _ in range(1000): sys.stdout.write('x' * 50_000)",
        "for _ in range(50_000): print('x' * 40)",
        BELOW.format(size="2M", source="/dev/urandom"),
    ],
    ids=["no line breaks", "short lines", "empty lines", "own without line breaks", "own lines", "no text"],
)
def test_a_flood_fills_neither_the_memory_nor_the_disk(tmp_path: Path, body: str) -> None:
    log = tmp_path / "log"
    assert host(log, body) < 80
    assert log.stat().st_size <= 2 * 2**20
    lines = log.read_bytes().split(b"\n")
    assert max(map(len, lines)) <= 5 * logfile.LINE  # bytes that are no text take four characters
    assert sum(b"bytes were cut here" in line for line in lines) >= 1


def test_lines_are_whole_stamped_and_without_the_token(tmp_path: Path) -> None:
    log = tmp_path / "log"
    body = """
import os
print("own", "line")
print("s3cret-token is masked")
os.write(1, "b\\u00e9l".encode()[:2]); os.write(1, "b\\u00e9l".encode()[2:] + b"ow\\n"); os.write(2, b"no line break")
"""
    host(log, body)
    lines = log.read_text("utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", line) for line in lines)
    assert sorted(line[25:] for line in lines) == [
        "[token] is masked", "bélow", "no line break", "own line",
    ]  # fmt: skip


def test_a_log_that_is_no_file_is_left_alone(tmp_path: Path) -> None:
    body = "for _ in range(6000): print('x' * 1000)"
    code = PROGRAM.format(root=str(ROOT), body=body, told=str(tmp_path / "peak"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=True)
    assert done.stdout.count(b"\n") == 6000
