"""Kernels of a host as real processes: found below their server, their environment, what they use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaosd import proc
from kaosd.engines.process import kernels

ONE, TWO, THREE = (f"{number}2345678-1234-1234-1234-123456789abc" for number in (1, 2, 3))
SERVER = """
import os, subprocess, sys
started = []
for line in iter(sys.stdin.readline, ""):
    name, environment = line.split(" ")[0], line.split(" ")[1].strip()
    variables = {**os.environ, **({"KAOS_ENVIRONMENT": environment} if environment else {})}
    argv = [sys.executable, "-c", "import sys; x = b'x' * (64 << 20); print('there', flush=True); sys.stdin.readline()"]
    kernel = subprocess.Popen([*argv, "-f", name], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    kernel.stdout.readline()
    started.append(kernel)
    print("started", flush=True)
for kernel in started:
    kernel.stdin.close()
    kernel.wait()
"""


class Server:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def starts(self, kernel: str, environment: Path | str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"/run/kernel-{kernel}.json {environment}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "started\n"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.process.communicate()


def test_kernels_on_an_older_environment_are_known(server: Server, tmp_path: Path) -> None:
    old, new, link = tmp_path / "old", tmp_path / "new", tmp_path / "environment"
    old.mkdir()
    new.mkdir()
    link.symlink_to(old)
    server.starts(ONE, old)
    server.starts(TWO, "")  # R, say: of no environment of ours
    found = kernels.running_in(server.process.pid)
    assert found.keys() == {ONE, TWO}
    assert kernels.outdated(found, str(link)) == ()
    link.unlink()
    link.symlink_to(new)
    server.starts(THREE, new)
    found = kernels.running_in(server.process.pid)
    assert kernels.outdated(found, str(link)) == (ONE,)


def test_what_a_host_and_its_kernels_use(server: Server, tmp_path: Path) -> None:
    server.starts(ONE, tmp_path)
    found = kernels.running_in(server.process.pid)
    whole, each, members = kernels.used(server.process.pid, "", found)
    assert members == {server.process.pid, found[ONE]}
    assert 64 << 20 <= each[ONE].memory <= whole.memory < 1 << 30
    assert 0 < each[ONE].seconds <= whole.seconds


def test_a_host_that_is_gone_uses_nothing(server: Server) -> None:
    server.process.communicate()
    assert kernels.running_in(server.process.pid) == {}
    assert proc.descendants(server.process.pid) == set()
    assert proc.used(proc.descendants(server.process.pid)) == proc.Usage(0, 0.0)
