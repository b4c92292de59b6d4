"""A daemon to be attacked, and how to reach it with bytes that no library would send."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon

NAME = "prey"
NOBODY = 65534
CONNECTIONS = 1000
MARK = "only-this-file-says-so"


class Case(NamedTuple):
    """One attack: where it strikes, what it does, what must come of it (one of several words)."""

    where: str
    name: str
    expected: tuple[str, ...]
    attack: Callable[[Prey], str]


class Prey:
    """A daemon that serves one notebook, and something outside that it must never touch or show."""

    def __init__(self, place: Path) -> None:
        self.daemon = Daemon(place, AWS_SECRET_ACCESS_KEY=MARK, KAOSD_UNUSED_SECRET=MARK)
        self.source = make_bundle(place / "src" / "example")
        self.outside = place / "outside"
        self.outside.mkdir()
        (self.outside / "secret.txt").write_text(MARK)
        self.daemon.start()
        self.daemon.deploy(NAME, self.source)
        self.token = self.daemon.token(NAME)
        self.master = (self.daemon.state / "token").read_text()
        self.work = self.daemon.home(NAME) / "work"
        self.model = self.source / "model"

    # -- the wire ------------------------------------------------------------------------------------------

    def control(self, data: bytes) -> str:
        """What the control socket answers: its status, or "closed"."""
        return _exchange(self.connect(), data)

    def connect(self) -> socket.socket:
        """A connection to the control socket."""
        found = socket.socket(socket.AF_UNIX)
        found.connect(self.daemon.environ["KAOSD_SOCKET"])
        return found

    def front(self, data: bytes) -> str:
        """What the front answers."""
        return _exchange(socket.create_connection(("127.0.0.1", self.daemon.port)), data)

    def ask(self, path: str, body: object = None, *headers: str, method: str = "GET") -> str:
        """A well-formed request to the control socket."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", *(headers or ("Host: kaosd",))]
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"] if body is not None else []
        return self.control("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + content)

    def visit(self, path: str, *headers: str, token: str | None = None, method: str = "GET", host: str = "") -> str:
        """A well-formed request to the front; token: the notebook's unless another one is given."""
        token = self.token if token is None else token
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.daemon.port}'}"]
        lines += [f"Authorization: token {token}"] if token else []
        return self.front("\r\n".join([*lines, *headers, "Connection: close", "", ""]).encode())

    # -- the bundle ----------------------------------------------------------------------------------------

    def save(self, name: str = "marker.py") -> dict[str, object]:
        """Save something, and wait for it; the notebook's status."""
        (self.model / name).write_text(f"{time.monotonic_ns()}\n")
        return self.daemon.live(NAME)

    def refuses(self, name: str) -> str:
        """Whether a path of the bundle is left out by name while the rest goes on."""
        shown = self.save()
        refused = " ".join(shown["refused"])  # type: ignore[arg-type]
        there = os.path.lexists(self.work / name)
        live = (self.work / "marker.py").read_text() == (self.model / "marker.py").read_text()
        return "left out by name" if name in refused and not there and live else f"{refused}, {there}, {live}"


def _exchange(connection: socket.socket, data: bytes) -> str:
    with connection:
        connection.settimeout(60)
        try:
            connection.sendall(data)
        except ConnectionError:
            return "closed"
        answer = b""
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65536):
                answer += chunk
                if b"\r\n" in answer and not answer.startswith(b"HTTP/1.1 101"):
                    break
    return answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/") else "closed"


def as_nobody(code: str, *arguments: str) -> str:
    """What a program of another user says."""
    done = subprocess.run(
        [
            "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            "/usr/bin/python3",
            "-c",
            code,
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]
