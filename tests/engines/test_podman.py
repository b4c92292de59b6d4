"""Podman, by its Docker-compatible socket, does what every engine must do."""

from __future__ import annotations

import pytest
from conformance import *  # noqa: F403 - its tests run here
from container_engines import built, engine, environments, twin  # noqa: F401 - fixtures
from containers import Containers

pytestmark = pytest.mark.timeout(900)  # images are built in some of them, the base image may be made in the first


@pytest.fixture(scope="session")
def containers(podman_containers: Containers) -> Containers:
    return podman_containers
