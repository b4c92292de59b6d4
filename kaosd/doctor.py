"""What can be wrong with the machine or the paths that kaosd uses, each with its fix. Blocking, reads only."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uv

from kaosd import __version__, unitfiles
from kaosd.errors import KaosError

LOW_SPACE = 2 * 10**9  # bytes; one environment with JupyterLab and the usual packages takes about 0.5 GB
FEW_FILES = 1024
ANSWERS = 5.0  # seconds that the front may take


@dataclass(frozen=True, slots=True)
class Examined:
    """What is examined. directories: under watch now. front: its address, "" when it is not asked."""

    state_dir: Path
    socket: Path
    directories: int
    engines: tuple[str, ...]
    front: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. severity: ok, warning or error."""

    code: str
    severity: str
    text: str
    mend: str = ""


def examine(examined: Examined) -> list[dict[str, Any]]:
    """All checks, in the order in which they matter."""
    checks: tuple[Callable[[Examined], Iterator[Check]], ...] = (
        _places, _socket, _tokens, _front, _kept_port, _space, _inotify, _instances, _descriptors, _builder, _limits,
        _units, _lingering, _clock,
    )  # fmt: skip
    return [
        {"code": found.code, "severity": found.severity, "text": found.text, "mend": found.mend}
        for check in checks
        for found in check(examined)
    ]


def _places(examined: Examined) -> Iterator[Check]:
    for what, path in (("state directory", examined.state_dir), ("socket directory", examined.socket.parent)):
        try:
            mode = path.stat().st_mode
        except OSError as error:
            yield Check("places", "error", f"the {what} {path}: {error.strerror}", "restart kaosd")
            continue
        if mode & 0o077:
            yield Check("places", "error", f"others can enter the {what} {path}", f"chmod 700 {path}")
        else:
            yield Check("places", "ok", f"the {what} {path} is private")


def _socket(examined: Examined) -> Iterator[Check]:
    try:
        mode = examined.socket.stat().st_mode
    except OSError:
        yield Check("socket", "error", f"the socket {examined.socket} is gone", "restart kaosd")
        return
    if not stat.S_ISSOCK(mode):
        yield Check("socket", "error", f"{examined.socket} is not a socket", f"rm {examined.socket}, and restart kaosd")
    elif mode & 0o077:
        yield Check("socket", "error", f"others can use the socket {examined.socket}", f"chmod 600 {examined.socket}")
    else:
        yield Check("socket", "ok", f"the socket {examined.socket} is private")


def _tokens(examined: Examined) -> Iterator[Check]:
    """Who reads a token is let in."""
    found = [examined.state_dir / "token", *sorted(examined.state_dir.glob("notebooks/*/token"))]
    files = [path for path in found if path.exists()]
    for path in files:
        if path.stat().st_mode & 0o077:
            yield Check("tokens", "error", f"others can read the token {path}", f"chmod 600 {path}")
            return
    yield Check("tokens", "ok", f"{len(files)} tokens, all of them private")


def _front(examined: Examined) -> Iterator[Check]:
    """The front answers without a token as well, if only to refuse."""
    if not examined.front:
        return
    address = urlsplit(examined.front)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ANSWERS)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        mend = "restart kaosd; KAOSD_FRONT_PORT, or port of [front], names another port"
        yield Check("front", "error", f"{examined.front} does not answer: {error}", mend)
    else:
        yield Check("front", "ok", f"{examined.front} answers")
    finally:
        connection.close()


def _kept_port(examined: Examined) -> Iterator[Check]:
    """Whether systemd keeps the front's port while kaosd is down, where kaosd is its service."""
    try:
        other, found = (unitfiles.read(unitfiles.directory(os.environ) / name) for name in unitfiles.SOCKETS)
    except KaosError:
        return  # told below
    if not examined.front or other is None:
        return
    if found is None:
        text = "systemd does not keep the front's port: another user can take it while kaosd is down"
        yield Check("port", "warning", text, "kaosd install-service --now")
    elif found.port != urlsplit(examined.front).port:
        text = f"{found.path} keeps port {found.port}, and the front is at {examined.front}"
        yield Check("port", "warning", text, "kaosd install-service --now")


def _space(examined: Examined) -> Iterator[Check]:
    free = shutil.disk_usage(examined.state_dir).free
    text = f"{free / 1e9:.1f} GB free for {examined.state_dir}"
    if free < LOW_SPACE:
        yield Check("space", "warning", text, "make room, or move it with KAOSD_STATE_DIR")
    else:
        yield Check("space", "ok", text)


def _inotify(examined: Examined) -> Iterator[Check]:
    limit = _number(Path("/proc/sys/fs/inotify/max_user_watches"))
    if limit is None:
        yield Check("inotify", "warning", "this kernel has no inotify; directories are polled")
        return
    text = f"{examined.directories} directories watched, the limit for all programs together is {limit}"
    if examined.directories > limit * 0.8:
        mend = f"sudo sysctl fs.inotify.max_user_watches={max(524288, 2 * limit)}"
        yield Check("inotify", "warning", text, mend)
    else:
        yield Check("inotify", "ok", text)


def _instances(_examined: Examined) -> Iterator[Check]:
    """Each program that watches takes an inotify instance; editors and browsers take many."""
    limit = _number(Path("/proc/sys/fs/inotify/max_user_instances"))
    if limit is None:
        return
    used = _instances_in_use()
    text = f"{used} inotify instances of yours in use, the limit is {limit}"
    if used > limit * 0.8:
        mend = f"sudo sysctl fs.inotify.max_user_instances={max(512, 2 * limit)}"
        yield Check("instances", "warning", text, mend)
    else:
        yield Check("instances", "ok", text)


def _instances_in_use() -> int:
    """How many inotify instances the processes of this user hold, as far as they can be seen."""
    count = 0
    for directory in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):  # another user's, or it has just ended
            if directory.stat().st_uid == os.getuid():
                count += sum(os.readlink(link) == "anon_inode:inotify" for link in directory.iterdir())
    return count


def _descriptors(_examined: Examined) -> Iterator[Check]:
    import resource  # noqa: PLC0415 - not on every system

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    used = len(os.listdir("/proc/self/fd"))
    severity = "warning" if soft < FEW_FILES or used > soft * 0.8 else "ok"
    mend = "" if severity == "ok" else "ulimit -n 65536"
    yield Check("descriptors", severity, f"{used} of {soft} file descriptors in use", mend)


def _builder(examined: Examined) -> Iterator[Check]:
    if "process" not in examined.engines:
        return
    try:
        binary = uv.find_uv_bin()
        found = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        yield Check("uv", "error", f"uv, which builds environments, does not run: {error}", "reinstall kaosd")
        return
    yield Check("uv", "ok", f"environments are built by {found.stdout.strip()}")


def _limits(examined: Examined) -> Iterator[Check]:
    """Whether systemd can enforce the limits of hosts on the engine process; containers have their own."""
    if "process" not in examined.engines:
        return
    user = os.getuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{user}"
    group = Path(f"/sys/fs/cgroup/user.slice/user-{user}.slice/user@{user}.service/cgroup.controllers")
    try:
        controllers = group.read_text().split()
    except OSError:
        controllers = []
    yield judge_limits(controllers, is_there=Path(runtime, "systemd", "private").exists())


def judge_limits(controllers: list[str], *, is_there: bool) -> Check:
    """What enforces limits on processors and memory. is_there: the user's systemd runs; controllers: given to it."""
    if not is_there:
        text = "your own systemd does not run here, so nothing enforces limits on processors and memory"
        return Check("limits", "warning", text, "log in directly instead of by su or sudo, or use the engine docker")
    if missing := [one for one in ("cpu", "memory") if one not in controllers]:
        text = f"your own systemd may not limit {' and '.join(missing)}, so nothing enforces such limits"
        return Check("limits", "warning", text, "sudo systemctl edit user@.service: [Service] Delegate=cpu memory pids")
    return Check("limits", "ok", "your own systemd enforces limits on processors and memory")


def _units(_examined: Examined) -> Iterator[Check]:
    """The unit files that `kaosd install-service` wrote, against the kaosd that runs."""
    mend = "kaosd install-service --now"
    for name in unitfiles.NAMES:
        try:
            found = unitfiles.read(unitfiles.directory(os.environ) / name)
        except KaosError as error:
            yield Check("unit", "warning", error.text, error.hint)
            continue
        if found is None or (found.version is None and not found.program):
            continue
        if found.version is not None and not found.intact:
            text = f"{found.path} was changed by hand, and kaosd install-service leaves it alone"
            again = f"mv {found.path} {found.path}.mine; {mend}; systemctl --user edit {name}"
            yield Check("unit", "warning", text, f"{again} (edit keeps changes in a file of their own)")
        if found.program and not os.access(found.program, os.X_OK):
            yield Check("unit", "error", f"{found.path} starts {found.program}, which is not there", mend)
        elif found.version is not None and found.program and found.program != sys.executable:
            text = f"{found.path} starts {found.program}, and this kaosd runs in {sys.executable}"
            yield Check("unit", "warning", text, mend)
        elif found.version not in (None, __version__):
            yield Check("unit", "warning", f"{found.path} is of kaosd {found.version}, this is {__version__}", mend)
        elif found.intact:
            yield Check("unit", "ok", f"{found.path} is of this kaosd")
        if _is_read_late(name):
            text = f"systemd goes by an older {found.path}, or by other drop-ins, than are there now"
            yield Check("unit", "warning", text, "systemctl --user daemon-reload && systemctl --user restart kaosd")
    if (there := _version_on_disk()) != __version__:
        text = f"kaosd {__version__} runs, and {there or 'nothing'} is installed in its place"
        yield Check("upgrade", "warning", text, "systemctl --user restart kaosd")
    if not os.environ.get("XDG_RUNTIME_DIR") and os.environ.get("INVOCATION_ID") is None:
        text = "there is no XDG_RUNTIME_DIR: kaosctl needs the same paths as kaosd in its environment"
        yield Check("runtime_dir", "warning", text, "log in directly instead of by su or sudo")


def _is_read_late(name: str) -> bool:
    """Whether the files of a unit were changed after the person's systemd read them; False when it cannot be asked."""
    argv = ["systemctl", "--user", "show", "--value", "--property=NeedDaemonReload", name]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.stdout.strip() == "yes"


def _version_on_disk() -> str | None:
    """The version of the package as it is installed now, which an upgrade changes under a running daemon."""
    found = re.search(r'^__version__ = "([^"]+)"', _init_text(), re.MULTILINE)
    return found[1] if found else None


def _init_text() -> str:
    try:
        return Path(__file__).with_name("__init__.py").read_text()
    except OSError:
        return ""


def _lingering(_examined: Examined) -> Iterator[Check]:
    """A user unit ends at logout unless the user lingers."""
    if os.environ.get("INVOCATION_ID") is None or os.getuid() == 0:
        return
    login = os.environ.get("USER") or str(os.getuid())
    if Path("/var/lib/systemd/linger", login).exists():
        yield Check("lingering", "ok", "kaosd keeps running after you log out")
    else:
        mend = f"sudo loginctl enable-linger {login}"
        yield Check("lingering", "warning", "kaosd and its notebooks end when you log out", mend)


def _clock(examined: Examined) -> Iterator[Check]:
    """A file system whose clock is ahead of ours makes every file look as if it had just been saved."""
    probe = examined.state_dir / "clock"
    probe.touch()
    ahead = probe.stat().st_mtime - time.time()
    probe.unlink()
    if abs(ahead) > 2:
        yield Check("clock", "warning", f"the file system's clock is {ahead:+.1f} s from this machine's", "sync clocks")
    else:
        yield Check("clock", "ok", "the clocks of machine and file system agree")


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
