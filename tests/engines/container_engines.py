"""Fixtures that let the tests of a module run on a real container engine: `environments`, `built`, `engine`, `twin`.

A module imports them by name and has a session's `containers` of its own kind.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from conftest import EXTRA, SECRETS, SPEC, Files, Lines
from containers import Containers

from kaosd.engines.docker import DockerEngine
from kaosd.model import Environment


@pytest.fixture(scope="module")
def environments() -> Iterator[Path]:
    """The state directory that everything made here is labelled with."""
    path = Path(tempfile.mkdtemp(prefix="ke"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def built(environments: Path, containers: Containers) -> tuple[Environment, Environment]:
    async def build() -> tuple[Environment, Environment]:
        engine = DockerEngine(environments, socket=containers.address)
        log = Lines(environments / "log")
        one = await engine.build(SPEC, Files.of(""), log)
        two = await engine.build(SPEC, Files.of(f"{EXTRA}\n"), log)
        await engine.close()
        return one, two

    return asyncio.run(build())


@pytest.fixture
def twin(base: Environment) -> Environment:
    """The same image under the digest of other inputs."""
    return dataclasses.replace(base, digest="1" * 64)


@pytest.fixture
async def engine(environments: Path, containers: Containers) -> AsyncIterator[DockerEngine]:
    engine = DockerEngine(environments, socket=containers.address, variables={**os.environ, **SECRETS})
    yield engine
    await engine.close()
