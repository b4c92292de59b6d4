"""A stand-in for pachd, or the real one that KAOSD_TEST_PACHD names, and connections to it."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from python_pachyderm.proto.v2.pfs import pfs_pb2
from python_pachyderm.proto.v2.pps import pps_pb2

from kaosd.bundle import Store
from kaosd.engines.pachyderm.connection import Cluster, ClusterConnection
from kaosd.engines.pachyderm.pipelines import Pipelines
from kaosd.engines.pachyderm.repos import Repos
from tests.pachd.program import Pachd, running, turned_back

REAL = os.environ.get("KAOSD_TEST_PACHD", "")  # read before the tests get an environment of their own


@pytest.fixture(scope="session")
def _pachd() -> Iterator[Pachd]:
    with running("--project", "team") as found:
        yield found


@pytest.fixture
def pachd(_pachd: Pachd) -> Iterator[Pachd]:
    """The stand-in, with nothing going wrong."""
    with turned_back(_pachd) as found:
        yield found


@pytest.fixture
def server(request: pytest.FixtureRequest) -> str:
    """The address that the contract is tested at: a real pachd's where one is named."""
    if REAL:
        return REAL.partition("://")[2] or REAL
    found: Pachd = request.getfixturevalue("pachd")
    return found.address


@pytest.fixture
async def connection(pachd: Pachd) -> AsyncIterator[ClusterConnection]:
    """To the stand-in, impatient."""
    found = ClusterConnection(Cluster(pachd.address), deadline=20.0, patience=20.0)
    yield found
    await found.close()


@pytest.fixture
async def contract(server: str, name: str) -> AsyncIterator[ClusterConnection]:
    """To what the contract is tested at, which is left without what the test made there."""
    found = ClusterConnection(Cluster(server))
    yield found
    repos, pipelines, twin = Repos(found), Pipelines(found), name.replace("-", "_")
    for build in (f"build-{name}", f"build-{twin}"):
        await found.ask(
            found.pps.DeletePipeline, pps_pb2.DeletePipelineRequest(pipeline=pipelines.named(build)), "clean"
        )
    for repo in (name, f"source-{name}", f"source-{twin}"):
        await found.ask(found.pfs.DeleteRepo, pfs_pb2.DeleteRepoRequest(repo=repos.repo(repo), force=True), "clean")
    await found.close()


@pytest.fixture
def repos(connection: ClusterConnection) -> Repos:
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
