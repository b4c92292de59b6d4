"""A stand-in for pachd, or the real one that KAOSD_TEST_PACHD names, and connections to it."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kaosd.bundle import Store
from kaosd.engines.pachyderm.connection import Cluster, Connection
from kaosd.engines.pachyderm.repos import Repos
from tests.pachd.program import Pachd


@pytest.fixture(scope="session")
def _pachd() -> Iterator[Pachd]:
    with tempfile.TemporaryDirectory(prefix="kp", ignore_cleanup_errors=True) as place:
        found = Pachd(Path(place), "--project", "team")
        yield found
        found.close()


@pytest.fixture
def pachd(_pachd: Pachd) -> Iterator[Pachd]:
    """The stand-in, with nothing going wrong."""
    _pachd.turn()
    yield _pachd
    _pachd.turn()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> str:
    """The address that the contract is tested at: a real pachd's where one is named."""
    named = os.environ.get("KAOSD_TEST_PACHD", "")
    if named:
        return named.partition("://")[2] or named
    found: Pachd = request.getfixturevalue("pachd")
    return found.address


@pytest.fixture
async def connection(pachd: Pachd) -> AsyncIterator[Connection]:
    """To the stand-in, impatient."""
    found = Connection(Cluster(pachd.address), deadline=20.0, patience=20.0)
    yield found
    await found.close()


@pytest.fixture
async def contract(server: str) -> AsyncIterator[Connection]:
    """To what the contract is tested at."""
    found = Connection(Cluster(server))
    yield found
    await found.close()


@pytest.fixture
def repos(connection: Connection) -> Repos:
    return Repos(connection)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "store")
    yield found
    found.close()


@pytest.fixture
def name() -> str:
    """A name that nobody has used in this pachd."""
    return f"t-{uuid.uuid4().hex[:12]}"
