"""What the kernel says of control groups: which one a process is in, who is in it, which limits really hold.

A control group is named as /proc/PID/cgroup does ("/user.slice/..."), version 2 where both are mounted. Only version 2
holds the limits of a person's own units: on version 1 a limit reads as not held. Containers have their limits in either
version, and are asked for by a process in them (`Contained`). Reads only; what is gone is not an error.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kaosd.model import Usage

PAGE = os.sysconf("SC_PAGE_SIZE")
_GROUPS = Path("/sys/fs/cgroup")
_NEVER = 2**62  # bytes from which a limit of version 1 is none
_MOUNT = re.compile(r"^\d+ \d+ \d+:\d+ (?P<root>\S+) (?P<point>\S+) .* - (?P<kind>cgroup2?) \S+ (?P<options>\S+)$")


def of(pid: int | str = "self") -> str:
    """The control group of a process; "" when it is gone or this system has none."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return ""
    parts = [line.split(":", 2) for line in lines]
    found = {names: path for _, names, path in parts if names in ("", "name=systemd")}
    unified = found.get("", "/")
    return unified if unified != "/" else found.get("name=systemd", unified)


def pids(cgroup: str) -> set[int]:
    """All processes in a control group and those below it; none when it is gone."""
    found: set[int] = set()
    for top in _directories(cgroup):
        for directory, _, names in os.walk(top):
            if "cgroup.procs" in names:
                found.update(int(line) for line in _read(os.path.join(directory, "cgroup.procs")).split())
    return found - {0}


def below(cgroup: str) -> set[str]:
    """The control groups directly below one, by name."""
    found: set[str] = set()
    for top in _directories(cgroup):
        with contextlib.suppress(OSError):  # it has gone meanwhile
            found.update(entry.name for entry in os.scandir(top) if entry.is_dir())
    return found


def held(cgroup: str, cpu: float | None, memory: int | None) -> bool:
    """Whether the kernel holds the group to exactly these limits: *cpu* cores and *memory* bytes (None: no limit)."""
    texts = [(_read(f"{top}/cpu.max"), _read(f"{top}/memory.max")) for top in _directories(cgroup)]
    return any(_is_cpu(one, cpu) and _is_memory(other, memory) for one, other in texts)


def killed_for_memory(cgroup: str) -> int:
    """How many processes of the group the kernel has killed because the group's memory was used up."""
    events = (_read(f"{top}/memory.events") for top in _directories(cgroup))
    return max((int(count) for text in events for count in re.findall(r"^oom_kill (\d+)$", text, re.M)), default=0)


def used(cgroup: str) -> Usage | None:
    """What the processes of a group have used; None where the system does not count that for it.

    Of memory without the files that the kernel can drop at once, as the tools of container engines count.
    """
    for top in _directories(cgroup):
        if (memory := _used_memory(_read(f"{top}/memory.current"), _read(f"{top}/memory.stat"))) is not None:
            microseconds = re.search(r"^usage_usec (\d+)$", _read(f"{top}/cpu.stat"), re.M)
            return Usage(memory, int(microseconds[1]) / 1e6) if microseconds else None
    return None


@dataclass(frozen=True, slots=True)
class Contained:
    """The control groups of a container. pid: a process in it. name: what the paths of its own groups contain.

    Without groups of its own (a rootless engine on version 1) it is held to nothing, and no kill is of its doing.
    """

    pid: int
    name: str

    def held(self, cpu: float | None, memory: int | None) -> bool:
        """Whether the kernel holds it to *cpu* cores and *memory* bytes; None: whatever there is."""
        found_memory, found_cpu = self._memory(), self._cpu()
        fits_memory = memory is None or (found_memory is not None and abs(found_memory - memory) <= PAGE)
        return fits_memory and (cpu is None or (found_cpu is not None and abs(found_cpu - cpu) < 0.02))

    def killed_for_memory(self) -> int:
        """How many of its processes the kernel has killed because its memory was used up."""
        text = self._read("memory", "memory.events") or self._read("memory", "memory.oom_control")
        return max((int(count) for count in re.findall(r"^oom_kill (\d+)$", text, re.M)), default=0)

    def used(self) -> Usage | None:
        """What its processes have used; None where the system does not count that for it. See `used`."""
        current = self._read("memory", "memory.current") or self._read("memory", "memory.usage_in_bytes")
        memory = _used_memory(current, self._read("memory", "memory.stat"))
        microseconds = re.search(r"^usage_usec (\d+)$", self._read("cpu", "cpu.stat"), re.M)
        nanoseconds = self._read("cpuacct", "cpuacct.usage").strip()
        if memory is None or not (microseconds or nanoseconds):
            return None
        return Usage(memory, int(microseconds[1]) / 1e6 if microseconds else int(nanoseconds) / 1e9)

    def pids(self) -> set[int]:
        """Its processes, as numbers of this machine."""
        return {int(line) for line in (self._read("memory", "cgroup.procs") or "").split()} - {0}

    def _memory(self) -> int | None:
        text = (self._read("memory", "memory.max") or self._read("memory", "memory.limit_in_bytes")).strip()
        return int(text) if text.isdecimal() and int(text) < _NEVER else None

    def _cpu(self) -> float | None:
        words = self._read("cpu", "cpu.max").split()
        if not words:
            words = [*self._read("cpu", "cpu.cfs_quota_us").split(), *self._read("cpu", "cpu.cfs_period_us").split()]
        return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdecimal() else None

    def _read(self, controller: str, file: str) -> str:
        """A file of the group in which *controller* holds it; "" when there is none."""
        for line in _read(f"/proc/{self.pid}/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if self.name in path and (controller in controllers.split(",") or not controllers):
                top = _GROUPS / controllers if controllers else _GROUPS
                if text := _read(str(top / path.lstrip("/") / file)):
                    return text
        return ""


def _used_memory(current: str, stat: str) -> int | None:
    """Bytes in use by the texts of memory.current and memory.stat, without files that can be dropped at once."""
    if not current.strip().isdecimal():
        return None
    files = re.search(r"^(?:total_)?inactive_file (\d+)$", stat, re.M)
    return max(0, int(current) - (int(files[1]) if files else 0))


def _is_cpu(text: str, cores: float | None) -> bool:
    """Whether *text* of cpu.max ("150000 100000", "max 100000") allows exactly so many cores."""
    quota, _, period = text.strip().partition(" ")
    if cores is None or quota == "max":
        return cores is None and quota == "max"
    return period.isdecimal() and quota.isdecimal() and abs(int(quota) / int(period) - cores) < 0.01


def _is_memory(text: str, size: int | None) -> bool:
    """Whether *text* of memory.max allows exactly so many bytes; the kernel counts whole pages."""
    found = text.strip()
    return found == ("max" if size is None else str(size // PAGE * PAGE))


def _directories(cgroup: str) -> Iterator[str]:
    """Where the group is mounted: at most once for each version."""
    if not cgroup.startswith("/") or cgroup == "/":
        return
    for point in _mounts(_read("/proc/self/mountinfo").splitlines()):
        if os.path.isdir(point + cgroup):
            yield point + cgroup


def _mounts(lines: Iterable[str]) -> Iterator[str]:
    """The mount points of version 2 and of systemd's own hierarchy of version 1, out of /proc/self/mountinfo."""
    for line in lines:
        found = _MOUNT.match(line)
        ours = found and found["root"] == "/" and (found["kind"] == "cgroup2" or "name=systemd" in found["options"])
        if found and ours:
            yield re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), found["point"])


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
