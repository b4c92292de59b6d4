"""A front with nothing, and with one notebook, behind it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from .world import Upstream, World


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name."""
    place = tempfile.mkdtemp(prefix="kf", dir="/tmp")
    yield Path(place)
    shutil.rmtree(place)


@pytest.fixture
async def world(short_directory: Path) -> AsyncIterator[World]:
    """A front without any notebook."""
    async with AsyncExitStack() as stack:
        made = World(stack, short_directory)
        await made.open()
        yield made


@pytest.fixture(params=["unix", "tcp"])
async def served(world: World, request: pytest.FixtureRequest) -> tuple[World, Upstream]:
    """A front with notebook "nb", whose host is reached in both ways."""
    server, address, _ = await world.upstream("one", tcp=request.param == "tcp")
    world.directory.put("nb", address)
    return world, server
