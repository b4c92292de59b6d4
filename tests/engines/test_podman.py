"""Podman, by its Docker-compatible socket, does what every engine must do."""

from __future__ import annotations

import pytest
from conformance import *  # noqa: F403 - its tests run here
from conftest import SPEC, Files, Lines
from container_engines import built, engine, environments, twin  # noqa: F401 - fixtures
from containers import Containers

from kaosd.engines.docker import DockerEngine

pytestmark = pytest.mark.timeout(900)  # images are built in some of them, the base image may be made in the first


@pytest.fixture(scope="session")
def containers(podman_containers: Containers) -> Containers:
    return podman_containers


async def test_a_mount_of_a_build_is_read_by_podman_itself(engine: DockerEngine, log: Lines) -> None:
    text = "FROM python:3.11\nRUN --mount=type=cache,target=/kept touch /kept/x && echo it is mounted\n"
    await engine.build(SPEC, Files({"Dockerfile": text, "model/requirements.txt": ""}), log)
    assert "it is mounted" in log.lines


async def test_doctor_finds_nothing_wrong_with_podman_as_root(engine: DockerEngine, containers: Containers) -> None:
    found = await engine.examine()
    but_space = [one for one in found if "free for images" not in one.text]  # that depends on who else is on the disk
    assert [one.severity for one in but_space] == ["ok"] * 3, found
    assert but_space[0].text.startswith("Podman ")
    assert but_space[0].text.endswith(f" answers at {containers.socket}")
