"""The pachyderm engine against the stand-in for pachd: the conformance suite as far as Pachyderm can keep it.

Left out is what its pods cannot do: kernels that outlive their environment (`switch`), two hosts of one notebook at a
time, and limits of this machine.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from conformance import (
    test_a_host_answers_with_its_token_and_refuses_without,
    test_a_host_is_adopted_by_its_stored_handle,
    test_a_kernel_sees_its_notebook_and_no_secret,
    test_a_probe_counts_kernels_and_tells_the_busy_ones,
    test_a_requirement_that_cannot_be_had_fails_the_build,
    test_an_environment_that_is_complete_is_known_by_its_digest,
    test_stop_ends_the_host_and_may_be_repeated,
)
from conftest import SPEC, Files, Lines, make_home

from kaosd.engines.base import Order
from kaosd.engines.pachyderm.building import Image
from kaosd.engines.pachyderm.connection import Cluster
from kaosd.engines.pachyderm.engine import PachydermEngine
from kaosd.engines.pachyderm.options import Options
from kaosd.model import Environment, NotebookSpec, Resources
from tests.pachd.program import Pachd

__all__ = [
    "test_a_host_answers_with_its_token_and_refuses_without",
    "test_a_host_is_adopted_by_its_stored_handle",
    "test_a_kernel_sees_its_notebook_and_no_secret",
    "test_a_probe_counts_kernels_and_tells_the_busy_ones",
    "test_a_requirement_that_cannot_be_had_fails_the_build",
    "test_an_environment_that_is_complete_is_known_by_its_digest",
    "test_stop_ends_the_host_and_may_be_repeated",
]
OPTIONS = Options(registry="registry.test/kaosd", buildkit="tcp://buildkitd:1234")


@pytest.fixture(scope="module")
def pachd() -> Iterator[Pachd]:
    with tempfile.TemporaryDirectory(prefix="kp", ignore_cleanup_errors=True) as place:
        found = Pachd(Path(place))
        yield found
        found.close()


@pytest.fixture(scope="module")
def images() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ki") as place:
        yield Path(place)


def make_engine(pachd: Pachd, images: Path) -> PachydermEngine:
    return PachydermEngine(Cluster(pachd.address), OPTIONS, images, start_within=60.0, stuck_for=0.5)


@pytest.fixture
async def engine(pachd: Pachd, images: Path) -> AsyncIterator[PachydermEngine]:
    found = make_engine(pachd, images)
    yield found
    await found.close()


def source(requirements: str = "", dockerfile: str = "FROM python:3.11\n", **files: str) -> Files:
    return Files({"Dockerfile": dockerfile, "model/requirements.txt": requirements, **files})


@pytest.fixture
async def base(engine: PachydermEngine, log: Lines) -> Environment:
    return await engine.build(SPEC, source(), log)


@pytest.fixture
async def order_for(engine: PachydermEngine, short: Path) -> AsyncIterator[Callable[..., Order]]:
    home = make_home(short / SPEC.name)

    def make(environment: Environment, resources: Resources | None = None) -> Order:
        spec = NotebookSpec(SPEC.name, SPEC.workspace, SPEC.user, resources=resources or Resources())
        return Order(spec, home, environment, f"/{SPEC.name}/", home.logs / "host.log", ("127.0.0.1:8890",))

    yield make
    await engine.sweep(home, None)


@pytest.fixture
def order(order_for: Callable[..., Order], base: Environment) -> Order:
    return order_for(base)


async def test_a_build_says_what_it_does_and_runs_once(engine: PachydermEngine, pachd: Pachd, log: Lines) -> None:
    inputs = source(**{"model/once.py": "1\n"})
    first, second = await asyncio.gather(engine.build(SPEC, inputs, log), engine.build(SPEC, inputs, log))
    assert first == second
    assert [line[:8] for line in log.lines if line.startswith("step ")] == [f"step {n}/4" for n in (1, 2, 3, 4)]
    assert any("pushing manifest" in line for line in log.lines)
    assert Image.of(first).image.startswith("registry.test/kaosd/notebook-test-ada@sha256:")
