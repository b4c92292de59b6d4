"""Podman, by its Docker-compatible socket, does what may differ from Docker: builds, mounts, owners, life and images.

What is the same code after that (probes, switches, requirements of a new host, limits) test_docker.py has proved.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance import (  # noqa: F401 - its tests run here
    test_a_cancelled_build_leaves_nothing_and_can_be_done_again,
    test_a_host_is_adopted_by_its_stored_handle,
    test_a_kernel_runs_a_cell_in_the_work_directory,
    test_a_kernel_sees_its_notebook_and_no_secret,
    test_a_requirement_that_cannot_be_had_fails_the_build,
    test_a_sweep_ends_what_was_not_written_down,
    test_an_environment_in_use_or_kept_is_not_collected,
    test_an_environment_that_is_complete_is_known_by_its_digest,
    test_data_is_replaced_under_a_running_kernel,
    test_stop_ends_the_host_and_may_be_repeated,
    test_what_a_kernel_writes_is_the_persons_own,
)
from conftest import SPEC, Files, Lines
from container_engines import base, engine, environments, made  # noqa: F401 - fixtures
from containers import Containers

from kaosd.engines.docker import DockerEngine
from kaosd.model import Environment

pytestmark = pytest.mark.timeout(900)  # images are built in some of them, the base image may be made in the first


@pytest.fixture(scope="session")
def containers(podman_containers: Containers) -> Containers:
    return podman_containers


@pytest.fixture(scope="module")
def extended(environments: Path, containers: Containers, base: Environment) -> Environment:
    """An environment that is quickly made."""
    text = f"FROM {base.handle}\nRUN touch /made\n"
    return made(environments, containers, Files({"Dockerfile": text, "model/requirements.txt": ""}))


async def test_a_mount_of_a_build_is_read_by_podman_itself(
    engine: DockerEngine,
    base: Environment,
    log: Lines,
) -> None:
    text = f"FROM {base.handle}\nRUN --mount=type=cache,target=/kept touch /kept/x && echo it is mounted\n"
    await engine.build(SPEC, Files({"Dockerfile": text, "model/requirements.txt": ""}), log)
    assert "it is mounted" in log.lines


async def test_doctor_finds_nothing_wrong_with_podman_as_root(engine: DockerEngine, containers: Containers) -> None:
    found = await engine.examine()
    but_space = [one for one in found if "free for images" not in one.text]  # that depends on who else is on the disk
    assert [one.severity for one in but_space] == ["ok"] * 3, found
    assert but_space[0].text.startswith("Podman ")
    assert but_space[0].text.endswith(f" answers at {containers.socket}")
