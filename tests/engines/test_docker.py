"""Docker does what every engine must do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conformance import *  # noqa: F403 - its tests run here
from container_engines import built, engine, environments, twin  # noqa: F401 - fixtures
from containers import Containers, started


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    with started("docker") as found:
        yield found
