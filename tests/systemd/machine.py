"""Guests whose first process is a real systemd: this machine's own files below an overlay, nothing of it changed.

Machine boots in about a second. It has the network of this machine (builds take packages from the usual index) and
control groups of version 2 without controllers, because the kernel's are taken: no limit is held here, and status must
say so. Kernel boots in about five seconds with a kernel of its own, which holds limits; it has no network, and is slow.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.daemon import PATIENCE, until

CHECKOUT = Path(__file__).parents[2]
USER, UID = "ada", 4242


def _network() -> dict[str, str]:
    """How packages are reached from here, whatever this machine needs for that."""
    names = ("UV_", "PIP_", "SSL_", "REQUESTS_", "http_", "https_", "no_proxy", "HTTP_", "HTTPS_", "NO_PROXY")
    found = {name: value for name, value in os.environ.items() if name.startswith(names)}
    return found | {"UV_LINK_MODE": "symlink"}  # the cache is on another file system than the guest's home


class Machine:
    """A booted guest. place: a directory that both see at the same path; the person's home is in it.

    prepare: called with it before the guest boots.
    """

    def __init__(self, place: Path, prepare: Callable[[Path], None] = lambda _: None) -> None:
        self.place = place
        self.home = place / "home"
        for directory in (self.home, place / ".guest"):
            directory.mkdir(mode=0o700)
        place.chmod(0o755)
        environment = self.home / ".config" / "environment.d"
        environment.mkdir(parents=True)
        lines = [f"{name}={value}\n" for name, value in _network().items()]
        (environment / "network.conf").write_text("".join(lines))
        for path in (self.home, environment.parent, environment):
            os.chown(path, UID, UID)
        prepare(place)
        self._boot()

    def _boot(self) -> None:
        assert os.geteuid() == 0, "these tests boot a systemd of their own, which takes root: run them with sudo"
        cache = os.environ["UV_CACHE_DIR"]
        os.makedirs(cache, exist_ok=True)
        argv = ["unshare", "--mount", "--pid", "--fork", "--ipc", "--uts", "--cgroup", "--kill-child"]
        argv += ["sh", str(Path(__file__).with_name("boot.sh")), str(self.place), USER, str(UID), cache]
        argv += [str(CHECKOUT), str(Path(sys.executable).resolve().parent)]
        self._start(argv)

    def _start(self, argv: list[str]) -> None:
        with open(self.place / "boot.log", "wb") as log:
            self._unshare = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.init = int(until(self._child, "the guest's first process").split()[0])
        until(lambda: self._booted() and self._managed(), "the user manager")

    def _child(self) -> str:
        assert self._unshare.poll() is None, (self.place / "boot.log").read_text()
        return Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text()

    def _booted(self) -> bool:
        """Whether systemd has taken the place of the script, and the person's manager listens."""
        self._child()
        name = Path(f"/proc/{self.init}/comm").read_text().strip()
        return name == "systemd" and Path(f"/proc/{self.init}/root", f"run/user/{UID}/systemd/private").exists()

    def _managed(self) -> bool:
        """Whether the person's manager answers."""
        return self.systemctl("show", "--property=Version", check=False).startswith("Version=")

    def close(self) -> None:
        """End it with all that runs in it."""
        os.kill(self.init, signal.SIGKILL)
        self._unshare.wait(PATIENCE)
        shutil.rmtree(self.place, ignore_errors=True)

    def root(self, *argv: str, check: bool = True) -> str:
        """What a command of the guest's root prints, both streams."""
        return self._run(["env", "LC_ALL=C.UTF-8", *argv], check)

    def run(self, *argv: str, check: bool = True, **environ: str) -> str:
        """What a command of the person prints, both streams."""
        return self._run([*self._person(**environ), *argv], check)

    def code(self, *argv: str, **environ: str) -> int:
        """The exit code of a command of the person."""
        return self._do([*self._person(**environ), *argv])[0]

    def _person(self, **environ: str) -> list[str]:
        own = _network() | {
            "HOME": str(self.home), "USER": USER, "LOGNAME": USER, "LC_ALL": "C.UTF-8", "NO_COLOR": "1",
            "XDG_RUNTIME_DIR": f"/run/user/{UID}", "PATH": f"{CHECKOUT}/.venv/bin:/usr/bin:/bin", **environ,
        }  # fmt: skip
        return ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "env", "-i",
                *(f"{name}={value}" for name, value in own.items())]  # fmt: skip

    def _inside(self, argv: list[str]) -> list[str]:
        return ["nsenter", f"--target={self.init}", "--mount", "--pid", "--ipc", "--uts", "--cgroup",
                "env", f"--chdir={self.home}", *argv]  # fmt: skip

    def _run(self, argv: list[str], check: bool) -> str:
        code, told = self._do(argv)
        assert not check or code == 0, f"{argv[-6:]}: {code}\n{told}"
        return told

    def _do(self, argv: list[str]) -> tuple[int, str]:
        done = subprocess.run(
            self._inside(argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL,
            timeout=PATIENCE * 3, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Ask the person's manager."""
        return self.run("systemctl", "--user", "--no-pager", *arguments, check=check)

    def property(self, unit: str, name: str) -> str:
        """A property of one of the person's units."""
        return self.systemctl("show", "--value", f"--property={name}", unit).strip()

    def journal(self, *arguments: str) -> str:
        """The person's journal."""
        return self.run("journalctl", "--user", "--no-pager", "--quiet", *arguments, check=False)


class Kernel(Machine):
    """A booted guest with a kernel of its own, told what to do over its serial line.

    What it changes in *place* is in its memory, and not to be seen from here.
    """

    def _start(self, argv: list[str]) -> None:
        self._orders = 0
        (self.place / "orders").mkdir()
        with open(self.place / "boot.log", "wb") as log:
            self._unshare = subprocess.Popen(
                [*argv, "2048M"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0
            )
        assert self._answer(PATIENCE) == "up"
        until(self._managed, "the manager")

    def close(self) -> None:
        """End it with all that runs in it."""
        self._unshare.kill()  # and the guest with it, see --kill-child
        self._unshare.communicate(timeout=PATIENCE)
        shutil.rmtree(self.place, ignore_errors=True)

    def _do(self, argv: list[str]) -> tuple[int, str]:
        self._orders += 1
        order = self.place / "orders" / str(self._orders)
        order.write_text(f"cd {shlex.quote(str(self.home))}\nexec {shlex.join(argv)}\n")
        assert self._unshare.stdin is not None
        self._unshare.stdin.write(f"{order}\n".encode())
        code = int(self._answer())
        return code, order.with_suffix(".out").read_text(errors="replace")

    def _answer(self, patience: float = PATIENCE * 3) -> str:
        """The next line of its serial line."""
        assert self._unshare.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._unshare.stdout], [], [], patience)
            found = self._unshare.stdout.read(1) if ready else b""
            assert found, (
                f"the guest says nothing more\n{(self.place / 'boot.log').read_text(errors='replace')[-3000:]}"
            )
            line += found
        return line.decode().strip()
