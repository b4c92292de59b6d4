"""A real daemon in a process of its own, with the real client, for the tests of the whole."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from tests.engines.person import Person

Found = TypeVar("Found")
PATIENCE = 120.0  # seconds that anything here may take on a loaded machine


def until(ask: Callable[[], Found | None], what: str, patience: float = PATIENCE) -> Found:
    """The first answer of *ask* that is true; what cannot be awaited from outside a process is asked for."""
    deadline = time.monotonic() + patience
    while True:
        found = ask()
        if found:
            return found
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.02)


def free_port() -> int:
    """A free port, below those that the kernel gives to connections while no daemon has it."""
    while True:
        port = random.randrange(20_000, 32_768)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Daemon:
    """One daemon with its own state directory; `start` and `stop` may be called again and again.

    python: the interpreter that it and its client run with. program: how that runs `kaosd`.
    """

    python = sys.executable
    program: tuple[str, ...] = ("-m", "kaosd")

    def __init__(self, place: Path, **environ: str) -> None:
        self.place = place
        self.state = place / "s"
        self.config = place / "kaosd.toml"
        if not self.config.exists():
            self.config.write_text("")
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.environ = {
            **os.environ,
            "KAOSD_STATE_DIR": str(self.state),
            "KAOSD_SOCKET": str(place / "r" / "kaosd.sock"),
            "KAOSD_CONFIG": str(self.config),
            "KAOSD_FRONT_PORT": str(self.port),
            **environ,
        }

    def command(self, *argv: str) -> list[str]:
        """How a program is started as the one whose daemon this is."""
        return [*argv]

    # -- life ----------------------------------------------------------------------------------------------

    def start(self) -> Daemon:
        """Start it and return when it answers."""
        process = self.launch()

        def answers() -> bool:
            assert process.poll() is None, self.output()
            return self.ctl("status", check=False).returncode in (0, 1)

        until(answers, "the daemon to answer")
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, and wait for nothing."""
        output = open(self.place / "output", "ab")  # noqa: SIM115 - handed to the child
        with output:
            self.process = subprocess.Popen(
                self.command(self.python, *self.program, "run"), env=self.environ, stdout=output, stderr=output
            )
        return self.process

    def stop(self) -> None:
        """End it in order; hosts go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.output()

    def kill(self) -> None:
        """End it with kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE)

    def close(self) -> None:
        """End the daemon and every host that it started."""
        if self.process is not None and self.process.poll() is None:
            for name in [notebook["name"] for notebook in self.status().get("notebooks", [])]:
                self.ctl("notebook", "kill", "-n", name, "-y", check=False)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.hosts():
            with suppress(ProcessLookupError):  # it may have ended meanwhile
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.place, ignore_errors=True)

    def output(self) -> str:
        """What it has printed."""
        return (self.place / "output").read_text(errors="replace")[-4000:]

    def hosts(self) -> list[int]:
        """Pids of everything that runs for this state directory, but the daemon."""
        return list(self.command_lines())

    def command_lines(self) -> dict[int, bytes]:
        """The command line of each of them, read once: some end at any time."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or (self.process is not None and int(entry.name) == self.process.pid):
                continue
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(self.state) in line:
                found[int(entry.name)] = line
        return found

    def launchers(self) -> list[int]:
        """Pids of the processes that serve a JupyterLab for this daemon."""
        return [pid for pid, line in self.command_lines().items() if b"launch.py" in line]

    # -- asking --------------------------------------------------------------------------------------------

    def ctl(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run kaosctl."""
        done = subprocess.run(
            self.command(self.python, "-m", "kaosd.ctl", *arguments),
            env=self.environ, capture_output=True, text=True, timeout=PATIENCE * 2, check=False, **options,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> dict[str, Any]:
        """What kaosctl answers with --json, whatever its exit code."""
        done = self.ctl(*arguments, "--json", check=False)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def status(self) -> dict[str, Any]:
        """The whole status."""
        return self.json("status")

    def notebook(self, name: str) -> dict[str, Any]:
        """One notebook's part of the status."""
        found: dict[str, Any] = next(one for one in self.status()["notebooks"] if one["name"] == name)
        return found

    def history(self, name: str) -> list[dict[str, Any]]:
        """Deployments, newest first."""
        found: list[dict[str, Any]] = self.json("history", name)["deployments"]
        return found

    def live(self, name: str) -> dict[str, Any]:
        """Wait until what is on disk now is live; the notebook's status.

        That may be stale for a moment: a directory that came back, or whose watch is new, is read once more by itself.
        """
        self.ctl("wait", name, "--timeout", str(PATIENCE))
        return until(lambda: (one := self.notebook(name))["state"] == "live" and one, "the status to say live", 30.0)

    @contextmanager
    def one_save(self, name: str) -> Iterator[None]:
        """Whatever is changed within it is one save, however slow this machine is."""
        self.ctl("pause", name)
        yield
        self.ctl("resume", name)

    def deploy(self, name: str, source: Path | None = None, data: Path | None = None, *more: str) -> str:
        """Deploy a notebook and return what the client printed."""
        arguments = ["notebook", "deploy", "--name", name, *more]
        arguments += ["-s", str(source)] if source else []
        arguments += ["-d", str(data)] if data else []
        return self.ctl(*arguments).stdout

    def deploy_detached(self, name: str, source: Path) -> None:
        """Ask for a notebook, whatever comes of it."""
        self.ctl("notebook", "deploy", "--name", name, "-s", str(source), "--detach", check=False)

    def run_to_end(self) -> subprocess.CompletedProcess[str]:
        """`kaosd run`, for a daemon that is to refuse."""
        return subprocess.run(
            self.command(sys.executable, "-m", "kaosd", "run"),
            env=self.environ, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    def home(self, name: str) -> Path:
        """The notebook's directory in the state directory."""
        return self.state / "notebooks" / name

    def token(self, name: str) -> str:
        """The notebook's token."""
        return (self.home(name) / "token").read_text()

    def url(self, name: str) -> str:
        """The notebook's address behind the front."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def host_pid(self, name: str) -> int:
        """The pid of the process that serves JupyterLab."""
        for pid, line in self.command_lines().items():
            if b"launch.py" in line and os.fsencode(self.home(name)) + b"/" in line:
                return pid
        raise AssertionError(f"no host runs for {name}")


class Theirs(Daemon):
    """The daemon of a person who is not root."""

    def __init__(self, person: Person, **environ: str) -> None:
        self.person = person
        place = Path(tempfile.mkdtemp(prefix="kd", dir=person.place))
        super().__init__(place, **environ)
        own = {name: value for name, value in self.environ.items() if name.startswith("KAOSD_")}
        self.environ = person.environ | own
        for path in (place, self.config):
            os.chown(path, person.uid, person.gid)

    def command(self, *argv: str) -> list[str]:
        """As the person."""
        return self.person.command(*argv)
