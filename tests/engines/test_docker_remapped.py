"""A Docker whose containers have other user ids (--userns-remap) is refused: they could not write as the person."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaosd.engines.docker import DockerEngine
from kaosd.errors import EngineUnavailable
from tests.engines.containers import Containers
from tests.engines.person import Person


@pytest.fixture
def remapped() -> Iterator[Containers]:
    person = Person(Path(tempfile.mkdtemp(prefix="kp")))  # whose subordinate ids they are
    place = Path(tempfile.mkdtemp(prefix="kc"))
    place.chmod(0o711)
    found = Containers(place, "docker", f"--userns-remap={person.name}")
    try:
        found.start()
        yield found
    finally:
        found.remove()
        person.remove()


async def test_an_engine_that_remaps_users_is_refused_with_its_mend(remapped: Containers, short: Path) -> None:
    engine = DockerEngine(short, socket=remapped.address)
    with pytest.raises(EngineUnavailable, match=f"at {remapped.socket} gives containers other user ids"):
        await engine.reach()
    (found,) = await engine.examine()
    assert found.severity == "error"
    assert found.mend == "take userns-remap out of /etc/docker/daemon.json, or use a rootless engine"
    await engine.close()
