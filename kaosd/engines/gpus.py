"""How much memory processes use on the NVIDIA GPUs of this machine, as nvidia-smi tells; all at one question."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from kaosd import proc

FRESH = 5.0  # seconds for which an answer is good enough
WITHIN = 5.0  # seconds that one may take
_QUERY = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")


class Gpus:
    """The use of GPU memory by process. command: the program that is asked; where it is not there nothing is known."""

    def __init__(self, command: str = "nvidia-smi") -> None:
        self._command = command
        self._memory: dict[int, int] | None = None  # bytes by process
        self._asked = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Ask again unless the last answer is fresh. Never raises; the question outlives a caller that is cancelled."""
        now = time.monotonic()
        if self._asking is None and (not self._asked or now - self._asked >= FRESH):
            self._asked = now
            self._asking = asyncio.ensure_future(self._refresh())
        if self._asking is not None:
            await asyncio.shield(self._asking)

    async def _refresh(self) -> None:
        try:
            program = shutil.which(self._command)
            self._memory = await _ask(program) if program is not None else None
        finally:
            self._asking = None

    def used(self, pids: Iterable[int]) -> int | None:
        """Bytes that *pids* use together; None when that is not known."""
        if self._memory is None:
            return None
        return sum(self._memory.get(pid, 0) for pid in pids)


async def _ask(program: str) -> dict[int, int] | None:
    try:
        async with asyncio.timeout(WITHIN):
            finished = await proc.run([program, *_QUERY], cwd=Path("/"), env=dict(os.environ))
    except (TimeoutError, OSError):
        return None
    return parsed(finished.output) if finished.code == 0 else None


def parsed(output: str) -> dict[int, int]:
    """Bytes by process, out of lines of a pid and MiB; a process has a line for each GPU that it uses."""
    found: dict[int, int] = {}
    for line in output.splitlines():
        pid, _, size = (part.strip() for part in line.partition(","))
        if pid.isdecimal() and size.isdecimal():  # else "[N/A]"
            found[int(pid)] = found.get(int(pid), 0) + int(size) * 2**20
    return found
