"""A daemon that can be struck, and asked without starting a client."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.daemon import Daemon, until


class Unreachable(Exception):
    """Nobody answers on the socket."""


class Struck(Daemon):
    """See struck.py. ends: how often it ended by itself, and was started again as systemd does."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, KAOSD_FAULTS=str(place / "f"), PYTHONFAULTHANDLER="1")
        (place / "f").mkdir(exist_ok=True)
        self.before: list[str] = []  # what it is started by
        self.ends = 0
        self.starts = 0

    def start(self) -> Struck:
        """Start it and return when it answers; one that ends itself meanwhile is started again."""
        for _ in range(20):
            self.launch()
            if until(self._answers_or_ended, "the daemon to answer"):
                if self.running:
                    return self
                self._count_end()
        raise AssertionError(f"the daemon does not start: {self.output()}")

    def launch(self) -> None:
        """Start it and go on at once."""
        with open(self.place / "output", "ab") as output:
            self.process = subprocess.Popen(
                [*self.before, sys.executable, str(Path(__file__).with_name("struck.py")), "run"],
                env=self.environ, stdout=output, stderr=output,
            )  # fmt: skip
        self.starts += 1

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def ensure(self) -> None:
        """What systemd does: start it again when it has ended by itself."""
        if not self.running:
            self._count_end()
            self.start()

    def _count_end(self) -> None:
        assert self.process is not None
        self.ends += self.process.returncode != -signal.SIGKILL

    def _answers_or_ended(self) -> bool:
        if not self.running:
            return True
        try:
            return bool(self.ask("GET", "/v1/version"))
        except Unreachable:
            return False

    def plan(self, **plan: Any) -> None:
        """Say what shall happen to it; nothing: go on as usual."""
        new = self.place / "f" / "plan.new"
        new.write_text(json.dumps(plan))
        new.replace(self.place / "f" / "plan")
        if self.running:
            os.kill(self.pid, signal.SIGUSR2)

    def ask(self, method: str, path: str, body: object = None, patience: float = 60.0) -> Any:
        """The answer of the API, whatever its status; Unreachable when there is none."""
        connection = http.client.HTTPConnection("kaosd", timeout=patience)
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(patience)
            connection.sock.connect(self.environ["KAOSD_SOCKET"])
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
            return json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(str(error)) from error
        finally:
            connection.close()

    def builders(self) -> list[int]:
        """The programs that make an environment for this daemon."""
        lines = self.command_lines().items()
        return [pid for pid, line in lines if b"launch.py" not in line and b"/uv\0" in line[:200]]

    def descriptors(self) -> int:
        """How many files it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))
