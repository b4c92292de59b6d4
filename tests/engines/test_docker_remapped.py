"""A Docker whose containers have other user ids (--userns-remap): what a notebook writes is the person's even so."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance import test_what_a_kernel_writes_is_the_persons_own  # noqa: F401 - it runs here
from container_engines import built, engine, environments, twin  # noqa: F401 - fixtures
from containers import Containers, started

from tests.engines.person import Person

pytestmark = pytest.mark.timeout(900)  # images are built in it, the base image may be made before


@pytest.fixture(scope="session")
def containers() -> Iterator[Containers]:
    person = Person(Path(tempfile.mkdtemp(prefix="kp")))  # whose subordinate ids they are
    with started("docker", f"--userns-remap={person.name}") as found:
        yield found
    person.remove()
