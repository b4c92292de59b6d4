"""Pipelines are made once, changed only by a change, and never when they are another's. The contract with pachd.

Nothing here needs a worker: the pipelines' commands are never run.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from python_pachyderm.proto.v2.pfs import pfs_pb2

from kaosd.engines.pachyderm.answers import Kind, PachydRefusal
from kaosd.engines.pachyderm.connection import ClusterConnection
from kaosd.engines.pachyderm.names import names_of
from kaosd.engines.pachyderm.options import Options
from kaosd.engines.pachyderm.pipelines import Pipelines
from kaosd.engines.pachyderm.repos import NoContent, Repos
from kaosd.engines.pachyderm.specs import ENVIRONMENT, NOTEBOOK, SPEC, USER, build_request, repo_mark
from kaosd.errors import EngineError
from tests.pachd.program import Pachd

OPTIONS = Options(registry="registry.test/team", buildkit="tcp://buildkitd:1234")


async def with_source(connection: ClusterConnection, notebook: str) -> Pipelines:
    """The project's pipelines, with the repo that Build reads."""
    await Repos(connection).ensure(names_of(notebook, "default").source, repo_mark(notebook, "ada"))
    return Pipelines(connection)


async def test_a_pipeline_is_made_once_and_changed_only_by_a_change(contract: ClusterConnection, name: str) -> None:
    pipelines = await with_source(contract, name)
    request = build_request(name, "ada", "default", OPTIONS)
    assert await pipelines.ensure(request)
    assert not await pipelines.ensure(request)
    first = await pipelines.find(request.pipeline.name)
    assert first is not None
    assert (first.version, first.annotations[NOTEBOOK], first.annotations[USER]) == (1, name, "ada")
    assert first.annotations[SPEC] == request.metadata.annotations[SPEC]
    changed = build_request(name, "ada", "default", replace(OPTIONS, plain_registry=True))
    assert await pipelines.ensure(changed)
    second = await pipelines.find(request.pipeline.name)
    assert second is not None
    assert second.version == 2
    assert await pipelines.ensure(changed, anew=True)


async def test_a_pipeline_of_another_user_is_neither_changed_nor_deleted(
    contract: ClusterConnection, name: str
) -> None:
    pipelines = await with_source(contract, name)
    await pipelines.ensure(build_request(name, "ada", "default", OPTIONS))
    with pytest.raises(EngineError, match="was not made by kaosd for this notebook"):
        await pipelines.ensure(build_request(name, "bob", "default", OPTIONS))
    with pytest.raises(EngineError, match="was not made by kaosd for this notebook"):
        await pipelines.delete(f"build-{name}", name, "bob")
    assert await pipelines.delete(f"build-{name}", name, "ada")
    assert not await pipelines.delete(f"build-{name}", name, "ada")


async def test_what_is_done_together_shows_together(contract: ClusterConnection, name: str) -> None:
    pipelines, repos = await with_source(contract, name), Repos(contract)
    head = await repos.put(f"source-{name}", NoContent(), lambda _sent, _total: None)
    move = pfs_pb2.CreateBranchRequest(branch=repos.branch(f"source-{name}", "moved"))
    move.head.CopyFrom(repos.commit(f"source-{name}", head.id))
    request = build_request(name, "ada", "default", OPTIONS)
    await contract.together([(contract.pfs.CreateBranch, move), (contract.pps.CreatePipeline, request)], "deploy")
    assert await repos.head(f"source-{name}", "moved") == head
    assert await pipelines.find(f"build-{name}") is not None


async def test_a_part_that_is_refused_leaves_the_other_undone(contract: ClusterConnection, name: str) -> None:
    repos = Repos(contract)
    await with_source(contract, name)
    head = await repos.put(f"source-{name}", NoContent(), lambda _sent, _total: None)
    move = pfs_pb2.CreateBranchRequest(branch=repos.branch(f"source-{name}", "moved"))
    move.head.CopyFrom(repos.commit(f"source-{name}", head.id))
    broken = build_request(name, "ada", "default", OPTIONS)
    broken.input.pfs.repo = f"no-such-{name}"
    with pytest.raises(PachydRefusal) as refused:
        await contract.together([(contract.pfs.CreateBranch, move), (contract.pps.CreatePipeline, broken)], "deploy")
    assert refused.value.kind is Kind.ABSENT
    assert "error running request 2 of 2" in refused.value.text
    assert await repos.head(f"source-{name}", "moved") is None


async def test_what_is_not_there_is_none(contract: ClusterConnection, name: str) -> None:
    pipelines = Pipelines(contract)
    assert await pipelines.find(name) is None
    with pytest.raises(PachydRefusal) as refused:
        await pipelines.newest_job(name)
    assert refused.value.kind is Kind.ABSENT


async def test_names_that_kubernetes_takes_for_the_same_are_told(contract: ClusterConnection, name: str) -> None:
    twin = name.replace("-", "_")
    pipelines = await with_source(contract, name)
    await with_source(contract, twin)
    await pipelines.ensure(build_request(name, "ada", "default", OPTIONS))
    with pytest.raises(
        EngineError, match=f"the pipeline build-{name} is called the same as build-{twin} in Kubernetes"
    ):
        await pipelines.ensure(build_request(twin, "ada", "default", OPTIONS))


async def test_a_lost_answer_to_a_change_is_no_second_version(
    pachd: Pachd, connection: ClusterConnection, name: str
) -> None:
    pipelines = await with_source(connection, name)
    for options in (OPTIONS, replace(OPTIONS, plain_registry=True)):
        pachd.turn(lose={"CreatePipeline": 1})
        assert await pipelines.ensure(build_request(name, "ada", "default", options))
    found = await pipelines.find(f"build-{name}")
    assert found is not None
    assert found.version == 2


async def test_a_wait_for_a_job_that_breaks_is_begun_again(
    pachd: Pachd, connection: ClusterConnection, name: str
) -> None:
    pipelines = await with_source(connection, name)
    await Repos(connection).put(f"source-{name}", NoContent(), lambda _sent, _total: None, ENVIRONMENT)
    await pipelines.ensure(build_request(name, "ada", "default", OPTIONS))  # its script finds no archive: it fails
    job = await pipelines.newest_job(f"build-{name}")
    assert job is not None
    pachd.turn(fail={"InspectJob": ["UNAVAILABLE", "transport is closing", 2]})
    before = pachd.told()["calls"].get("InspectJob", 0)
    async with asyncio.timeout(60):
        assert (await pipelines.ended_job(f"build-{name}", job.id)).state == "JOB_FAILURE"
    assert pachd.told()["calls"]["InspectJob"] == before + 3
