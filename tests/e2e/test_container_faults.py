"""A Docker that fails for real: its disk is full, it hangs. Told in one sentence; what serves goes on; it recovers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import KAOS_DOCKERFILE, daemon_of, make_bundle
from tests.e2e.daemon import Daemon, until
from tests.e2e.lab import Lab
from tests.engines.containers import Containers

pytestmark = pytest.mark.timeout(900)  # images are built in some of them, the base image may be made in the first
ROOM = "1500m"  # of a Docker with a small disk: the base image, one with JupyterLab and what its making takes
SILENT = "does not answer (look at its own log)"


class Impatient(Daemon):
    """One that waits less for an engine that hangs."""

    program = (str(Path(__file__).with_name("impatient.py")),)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A source bundle as kaos has it."""
    return make_bundle(tmp_path / "example", dockerfile=KAOS_DOCKERFILE)


@pytest.fixture
def small() -> Iterator[Containers]:
    """A Docker whose disk is small."""
    place = Path(tempfile.mkdtemp(prefix="kc"))
    (place / "data").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(place / "data")], check=True)
    found = Containers(place, "docker")
    try:
        found.start()
        found.import_base()
        yield found
        found.clear()
    finally:
        found.remove()


async def serves(daemon: Daemon, name: str) -> None:
    """A kernel of the notebook runs a cell."""
    async with Lab(daemon.url(name), daemon.token(name)) as lab:
        assert await (await lab.kernel()).run("print('it serves')") == "it serves\n"


def shown(daemon: Daemon, name: str, state: str, words: str) -> dict[str, Any]:
    """The notebook's status once it is in *state* for a reason with *words*."""

    def ask() -> dict[str, Any] | None:
        one = daemon.notebook(name)
        return one if one["state"] == state and words in (one["reason"] or "") else None

    return until(ask, f"{words!r}, but it is {daemon.notebook(name)}")


async def test_a_full_disk_of_the_engine_is_told_and_passes(small: Containers, bundle: Path) -> None:
    with daemon_of(small) as daemon:
        daemon.deploy("full", bundle)
        filler = small.place / "data" / "filler"
        with open(filler, "wb") as file:
            free = os.statvfs(filler).f_bavail * os.statvfs(filler).f_frsize
            os.posix_fallocate(file.fileno(), 0, free - 2**20)
        (bundle / "model" / "requirements.txt").write_text("humanize\n")
        shown(daemon, "full", "failed", "the disk of the container engine is full (free some space")
        await serves(daemon, "full")
        # its container is taken away: no other can begin now, and the reason is the same
        client = small.client()
        (one,) = small.ids(label=f"kaosd.home={daemon.home('full')}")
        client.remove_container(one, force=True)
        client.close()
        filler.write_bytes(b"")
        until(lambda: daemon.notebook("full")["state"] == "live", "its recovery")
        async with Lab(daemon.url("full"), daemon.token("full")) as lab:
            assert await (await lab.kernel()).run("import humanize; print('there')") == "there\n"


@contextmanager
def hung(containers: Containers) -> Iterator[None]:
    """Docker's daemon stands still, and its socket takes connections all the same."""
    assert containers.process is not None
    os.kill(containers.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(containers.process.pid, signal.SIGCONT)


async def test_an_engine_that_hangs_in_a_build_is_told_and_the_build_done_again(
    docker_containers: Containers, bundle: Path
) -> None:
    with daemon_of(docker_containers, Impatient) as daemon:
        daemon.deploy("hangs", bundle)
        (bundle / "Dockerfile").write_text(f"{KAOS_DOCKERFILE}RUN echo it has begun && sleep 5 && touch /made\n")
        until(lambda: "it has begun" in builds(daemon, "hangs"), "the build to begin")
        with hung(docker_containers):
            shown(daemon, "hangs", "failed", SILENT)
            await serves(daemon, "hangs")
        until(lambda: daemon.notebook("hangs")["state"] == "live", "its recovery")
        async with Lab(daemon.url("hangs"), daemon.token("hangs")) as lab:
            assert await (await lab.kernel()).run("import os; print(os.path.exists('/made'))") == "True\n"


async def test_an_engine_that_hangs_in_a_start_is_told_and_leaves_one_container(
    docker_containers: Containers, bundle: Path
) -> None:
    with daemon_of(docker_containers, Impatient) as daemon:
        daemon.deploy("hangs", bundle)
        label = f"kaosd.home={daemon.home('hangs')}"
        (one,) = docker_containers.ids(label=label)
        client = docker_containers.client()
        pid = client.inspect_container(one)["State"]["Pid"]
        with hung(docker_containers):
            os.kill(pid, signal.SIGKILL)  # its init; JupyterLab goes with it
            shown(daemon, "hangs", "failed", SILENT)
        until(lambda: daemon.notebook("hangs")["state"] == "live", "its recovery")
        until(lambda: len(client.containers(filters={"label": label})) == 1, "what was left to be removed")
        client.close()
        await serves(daemon, "hangs")


async def test_a_registry_that_cannot_be_reached_is_told_and_what_serves_goes_on(
    docker_containers: Containers, bundle: Path
) -> None:
    with daemon_of(docker_containers) as daemon:
        daemon.deploy("base", bundle)
        with socket.create_server(("127.0.0.1", 0)) as closed:
            image = f"127.0.0.1:{closed.getsockname()[1]}/python:3"
        (bundle / "Dockerfile").write_text(KAOS_DOCKERFILE.replace("python:3.11", image))
        shown(daemon, "base", "failed", f"Dockerfile:1: FROM {image}: the registry of {image} cannot be reached")
        await serves(daemon, "base")
        # it is tried again by itself: as soon as the image can be had, the notebook has it
        client = docker_containers.client()
        client.tag("python:3.11", image.rpartition(":")[0], "3")
        until(lambda: daemon.notebook("base")["state"] == "live", "its recovery")
        await serves(daemon, "base")
        client.remove_image(image, force=True)
        client.close()


def builds(daemon: Daemon, name: str) -> str:
    """What its builds have said."""
    return daemon.ctl("logs", name, "--stage", "build", "-n", "100", check=False).stdout
