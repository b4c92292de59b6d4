"""The stand-in as tests use it: started as a process of its own, turned and read from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

ROOT = Path(__file__).parents[2]


class Pachd:
    """One running stand-in. address: host:port."""

    def __init__(self, place: Path, *arguments: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        self.place = place
        self._arguments = arguments
        self._credentials = credentials  # for a stand-in that speaks TLS
        self._start()

    def _start(self, *more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.pachd", "--place", str(self.place), *self._arguments, *more],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.address = f"127.0.0.1:{self.process.stdout.readline().strip()}"

    def kill(self) -> None:
        """End it as kill -9 does; it was started with --keep."""
        self.process.kill()
        self._gone()

    def start_again(self) -> None:
        """What was killed is back at the same address, with all that it had."""
        self._start("--port", self.address.rpartition(":")[2])

    def turn(self, **switches: Any) -> None:
        """Set the failure switches; those that are not named are off. See tests.pachd.state.Switches."""
        self._call("Turn", switches)

    def end_pods(self) -> None:
        """The pods of all services die, as when their node is drained; others take their place."""
        self._call("EndPods", {})

    def told(self) -> dict[str, Any]:
        """What was asked of it, and what came of it."""
        return self._call("Tell", {})

    def _call(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        with self._channel() as channel:
            answer = channel.unary_unary(f"/fake.Control/{name}")(json.dumps(message).encode(), timeout=30)
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """End it and all that its worker runs."""
        self.process.terminate()
        self._gone()

    def _channel(self) -> grpc.Channel:
        if self._credentials is not None:
            return grpc.secure_channel(self.address, self._credentials)
        return grpc.insecure_channel(self.address)

    def _gone(self) -> None:
        self.process.wait(30)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def running(*arguments: str) -> Iterator[Pachd]:
    """A stand-in with a directory of its own; both go with the block."""
    with tempfile.TemporaryDirectory(prefix="kp", ignore_cleanup_errors=True) as place:
        found = Pachd(Path(place), *arguments)
        try:
            yield found
        finally:
            found.close()


@contextmanager
def turned_back(pachd: Pachd) -> Iterator[Pachd]:
    """The stand-in with nothing going wrong, and again with nothing going wrong after the block."""
    pachd.turn()
    try:
        yield pachd
    finally:
        pachd.turn()
