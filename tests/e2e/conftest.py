"""A daemon per module of tests, and small bundles to deploy."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.daemon import Daemon
from tests.engines.containers import Containers
from tests.engines.wheels import wheel

# as kaos has it
KAOS_DOCKERFILE = "FROM python:3.11\nWORKDIR /opt/program\nADD . .\nRUN pip install -r requirements.txt\n"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A running daemon that the tests of a module share."""
    found = Daemon(Path(tempfile.mkdtemp(prefix="kd"))).start()
    yield found
    found.close()


@pytest.fixture
def own_daemon() -> Iterator[Daemon]:
    """A daemon of the test's own, not started yet."""
    found = Daemon(Path(tempfile.mkdtemp(prefix="kd")))
    yield found
    found.close()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small source bundle without requirements of its own."""
    return make_bundle(tmp_path / "example")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small data directory."""
    path = tmp_path / "data"
    (path / "features").mkdir(parents=True)
    (path / "features" / "one.csv").write_text("a,b\n1,2\n")
    (path / "features" / "two.csv").write_text("a,b\n3,4\n")
    return path


class Stalled(NamedTuple):
    """A line of requirements.txt whose package `late` does not come before *come* is set: so long its build lasts."""

    line: str
    come: threading.Event


@pytest.fixture
def stalled(tmp_path: Path) -> Iterator[Stalled]:
    """See Stalled."""
    come = threading.Event()

    class Server(SimpleHTTPRequestHandler):
        def handle_one_request(self) -> None:
            come.wait()
            super().handle_one_request()

    file = wheel(tmp_path / "index", "late")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(file.parent))) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield Stalled(f"late @ http://127.0.0.1:{server.server_port}/{file.name}\n", come)
        come.set()
        server.shutdown()
        serving.join()


@contextmanager
def daemon_of(containers: Containers, kind: type[Daemon] = Daemon) -> Iterator[Daemon]:
    """A running daemon whose notebooks live in containers."""
    found = kind(Path(tempfile.mkdtemp(prefix="kd")), **settings_of(containers)).start()
    try:
        yield found
    finally:
        found.close()


def settings_of(containers: Containers) -> dict[str, str]:
    """The variables of a daemon whose notebooks live in these containers."""
    return {"KAOSD_ENGINE": "docker", "KAOSD_DOCKER_SOCKET": containers.address, "KAOSD_MAX_BACKOFF": "1"}


def make_bundle(path: Path, requirements: str = "", dockerfile: str = "FROM python:3.11\n") -> Path:
    """A source bundle at *path*."""
    (path / "model").mkdir(parents=True)
    (path / "Dockerfile").write_text(dockerfile)
    (path / "model" / "requirements.txt").write_text(requirements)
    (path / "model" / "train.py").write_text("ANSWER = 1\n")
    return path
