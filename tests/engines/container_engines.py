"""Fixtures that let the tests of a module run on a real container engine: `environments`, `base`, `extended`,
`engine`, `twin`.

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


def made(environments: Path, containers: Containers, inputs: Files) -> Environment:
    """The environment of *inputs*, built with an engine of its own: fixtures of a module share no event loop."""

    async def build() -> Environment:
        engine = DockerEngine(environments, socket=containers.address)
        try:
            return await engine.build(SPEC, inputs, Lines(environments / "log"))
        finally:
            await engine.close()

    return asyncio.run(build())


@pytest.fixture(scope="module")
def base(environments: Path, containers: Containers) -> Environment:
    """The environment without requirements."""
    return made(environments, containers, Files.of(""))


@pytest.fixture(scope="module")
def extended(environments: Path, containers: Containers) -> Environment:
    """The same with EXTRA."""
    return made(environments, containers, Files.of(f"{EXTRA}\n"))


@pytest.fixture
def twin(base: Environment) -> Environment:
    """The same image under the digest of other inputs."""
    return dataclasses.replace(base, digest="1" * 64)


@pytest.fixture
async def engine(environments: Path, containers: Containers) -> AsyncIterator[DockerEngine]:
    engine = DockerEngine(environments, socket=containers.address, variables={**os.environ, **SECRETS})
    yield engine
    await engine.close()
