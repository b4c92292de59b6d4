"""What all tests share: a home of their own, so that no test can touch the person's."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.containers import Containers, started


def pytest_configure() -> None:
    """Take SIGINT as on a terminal: a shell starts background jobs with it ignored, and programs pass that on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules that `make quick` leaves out first: they take longest, and the last ones have one worker."""
    longer = {item.path for item in items if item.get_closest_marker("not_quick")}
    items.sort(key=lambda item: item.path not in longer)


@pytest.fixture(scope="session", autouse=True)
def _own_home() -> Iterator[None]:
    """HOME and the XDG places are temporary; the package cache stays where it is, for speed."""
    cache = os.environ.get("UV_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "uv"
    )
    with tempfile.TemporaryDirectory(prefix="kh") as home, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("KAOSD_", "XDG_", "JUPYTER_"))]:
            patch.delenv(name)
        for name in ("NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "STATE_DIRECTORY"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", home)
        patch.setenv("XDG_STATE_HOME", os.path.join(home, "state"))
        patch.setenv("XDG_CONFIG_HOME", os.path.join(home, "config"))
        patch.setenv("UV_CACHE_DIR", cache)
        yield


@pytest.fixture(scope="session")
def docker_containers(_own_home: None) -> Iterator[Containers]:
    """A Docker of the tests' own, with python:3.11."""
    with started("docker") as found:
        yield found


@pytest.fixture(scope="session")
def podman_containers(_own_home: None) -> Iterator[Containers]:
    """A Podman of the tests' own, with python:3.11."""
    with started("podman") as found:
        yield found


@pytest.fixture
def short() -> Iterator[Path]:
    """A temporary directory whose path is short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="k"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
