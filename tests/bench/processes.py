"""What a process has used so far, by the kernel's own books."""

from __future__ import annotations

from pathlib import Path


def busy(pid: int) -> float:
    """Seconds of processor of all its threads, to the nanosecond; those of ended threads are not in it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def wakeups(pid: int) -> int:
    """How often its threads have gone to sleep and were woken again."""
    found = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        text = (task / "status").read_text()
        found += int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found


def memory(pid: int) -> float:
    """Its resident memory in MB."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024
