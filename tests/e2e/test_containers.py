"""Notebooks in containers of a real Docker: a bundle as kaos has it, and what happens to containers by other hands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.e2e.conftest import daemon_of, make_bundle
from tests.e2e.daemon import Daemon, until
from tests.e2e.lab import Lab
from tests.e2e.test_open_document import notebook
from tests.engines.containers import Containers

pytestmark = pytest.mark.timeout(900)  # images are built in some of them, the base image may be made in the first
DOCKERFILE = """\
FROM python:3.11

WORKDIR /opt/program
ADD . /opt/program/

RUN pip install --no-cache-dir -r requirements.txt
RUN echo made by the build > made.txt
"""
READ = "import os; print(open(f\"/pfs/{os.environ['DATA_REPO']}/features/one.csv\").read())"
GREEDY = "hoard = []\nwhile True:\n    hoard.append(b'1' * 2**24)"


@pytest.fixture(scope="module")
def daemon(docker_containers: Containers) -> Iterator[Daemon]:
    """A daemon whose notebooks live in containers."""
    with daemon_of(docker_containers) as found:
        yield found


@pytest.fixture
def client(docker_containers: Containers) -> Iterator[docker.APIClient]:
    found = docker_containers.client()
    yield found
    found.close()


@pytest.fixture
def kaos(tmp_path: Path) -> Path:
    """A source bundle as kaos has it."""
    return make_bundle(tmp_path / "example", dockerfile=DOCKERFILE)


def container(client: docker.APIClient, daemon: Daemon, name: str) -> dict[str, Any]:
    """The one running container of a notebook."""
    found = running(client, daemon, name)
    assert len(found) == 1, found
    one: dict[str, Any] = client.inspect_container(found[0])
    return one


def running(client: docker.APIClient, daemon: Daemon, name: str) -> list[str]:
    """The ids of a notebook's running containers: two while one takes over from the other."""
    return [one["Id"] for one in client.containers(filters={"label": f"kaosd.home={daemon.home(name)}"})]


async def test_a_bundle_of_kaos_from_its_first_deployment_to_its_end(
    daemon: Daemon, client: docker.APIClient, kaos: Path, data: Path
) -> None:
    daemon.deploy("kaos", kaos, data)
    first = container(client, daemon, "kaos")["Id"]
    async with Lab(daemon.url("kaos"), daemon.token("kaos")) as lab:
        kernel = await lab.kernel()
        assert await kernel.run("import os; print(os.getcwd(), open('made.txt').read())") == (
            "/opt/program made by the build\n\n"
        )
        assert await kernel.run(f"kept = 41\n{READ}") == "a,b\n1,2\n\n"
        denied = "try: open(f\"/pfs/{os.environ['DATA_REPO']}/x\", 'w')\nexcept OSError as error: print(error.strerror)"
        assert await kernel.run(denied) == "Read-only file system\n"
        # code, then data: the same container, the same kernel
        (kaos / "model" / "train.py").write_text("ANSWER = 2\n")
        assert daemon.live("kaos")["deployment"]["action"] == "sync"
        assert await kernel.run("print(kept + 1, open('train.py').read())") == "42 ANSWER = 2\n\n"
        (data / "features" / "one.csv").write_text("a,b\n5,6\n")
        assert daemon.live("kaos")["deployment"]["action"] == "attach"
        assert await kernel.run(f"print(kept)\n{READ}") == "41\na,b\n5,6\n\n"
    assert container(client, daemon, "kaos")["Id"] == first
    # a notebook file is run there; a stop removes the container, a start makes another one
    (kaos / "model" / "smoke.ipynb").write_text(notebook("import train", "assert train.ANSWER == 2"))
    assert daemon.json("run", "kaos", "smoke.ipynb")["outcome"] == "passed"
    assert daemon.json("stop", "kaos")["state"] == "stopped"
    assert running(client, daemon, "kaos") == []
    assert daemon.json("start", "kaos")["outcome"] == "live"
    first = container(client, daemon, "kaos")["Id"]
    # a requirement: built beside, then another container behind the same address and token
    (kaos / "model" / "requirements.txt").write_text("iniconfig\n")
    shown = daemon.live("kaos")
    assert shown["deployment"]["action"] == "build"
    second = container(client, daemon, "kaos")["Id"]
    assert second != first
    async with Lab(daemon.url("kaos"), daemon.token("kaos")) as lab:
        assert await (await lab.kernel()).run("import iniconfig; print('there')") == "there\n"
    # a build that fails leaves it serving and names step and line
    (kaos / "Dockerfile").write_text(DOCKERFILE + "RUN exit 7\n")
    failed = until(lambda: (n := daemon.notebook("kaos"))["state"] == "failed" and n, "the failure")
    assert "Dockerfile:8: RUN exit 7" in failed["reason"]
    assert container(client, daemon, "kaos")["Id"] == second
    (kaos / "Dockerfile").write_text(DOCKERFILE)
    daemon.live("kaos")
    assert container(client, daemon, "kaos")["Id"] == second
    # back to what was there before, without a build
    builds = len([1 for one in daemon.history("kaos") for job in one["jobs"] if job["stage"] == "build"])
    daemon.ctl("rollback", "kaos", str(daemon.history("kaos")[-1]["number"]))
    until(lambda: len(now := running(client, daemon, "kaos")) == 1 and now != [second], "the rollback")
    async with Lab(daemon.url("kaos"), daemon.token("kaos")) as lab:
        assert await lab.read("train.py") == "ANSWER = 1\n"
    assert len([1 for one in daemon.history("kaos") for job in one["jobs"] if job["stage"] == "build"]) == builds
    # and away with it
    daemon.ctl("notebook", "kill", "-n", "kaos", "-y")
    assert client.containers(all=True, filters={"label": f"kaosd.home={daemon.home('kaos')}"}) == []
    assert {path.name for path in daemon.home("kaos").iterdir()} & {"containers", "pfs"} == set()


async def test_a_kernel_that_its_memory_limit_ends_is_told_of(daemon: Daemon, kaos: Path) -> None:
    daemon.deploy("greedy", kaos, None, "--memory", "512Mi", "--cpu", "1")
    assert daemon.notebook("greedy")["resources"]["enforced"] is True
    async with Lab(daemon.url("greedy"), daemon.token("greedy")) as lab:
        running = asyncio.ensure_future((await lab.kernel()).run(GREEDY))
        notice = await asyncio.to_thread(
            until, lambda: daemon.notebook("greedy")["host"]["notice"], "the memory limit to be told of"
        )
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert notice == "its memory limit of 512Mi has ended a process; give it more with --memory"
        assert daemon.notebook("greedy")["state"] == "live"
        assert await (await lab.kernel()).run("print(1)") == "1\n"
    assert "its memory limit of 512Mi has ended" in daemon.ctl("logs", "greedy", "--stage", "host", "-n", "100").stdout
    daemon.ctl("notebook", "kill", "-n", "greedy", "-y")


async def test_containers_that_other_hands_pause_kill_or_remove(
    daemon: Daemon, client: docker.APIClient, kaos: Path
) -> None:
    daemon.deploy("hands", kaos)
    one = container(client, daemon, "hands")["Id"]
    client.pause(one)
    shown = until(lambda: (n := daemon.notebook("hands"))["state"] == "failed" and n, "the pause to be told of")
    assert "is paused; docker unpause" in shown["reason"]
    client.unpause(one)
    until(lambda: daemon.notebook("hands")["state"] == "live", "life after the pause")
    assert container(client, daemon, "hands")["Id"] == one
    client.kill(one)
    until(lambda: (n := daemon.notebook("hands"))["state"] == "live" and n["host"]["restarts"] == 1, "a new host")
    two = container(client, daemon, "hands")["Id"]
    client.remove_container(two, force=True)
    until(lambda: (n := daemon.notebook("hands"))["state"] == "live" and n["host"]["restarts"] == 2, "another host")
    reasons = [job["error"] or "" for one in daemon.history("hands") for job in one["jobs"] if job["stage"] == "host"]
    told = [sum(words in reason for reason in reasons) for words in ("was killed", "was removed")]
    assert told == [1, 1], reasons  # a forced removal kills first, and is told as what it is
    # its image as well: it is built again
    three = container(client, daemon, "hands")
    for name in client.inspect_image(three["Image"])["RepoTags"]:
        client.remove_image(name, force=True)
    client.remove_container(three["Id"], force=True)
    until(lambda: (n := daemon.notebook("hands"))["state"] == "live" and n["host"]["restarts"] == 3, "a new image")
    daemon.ctl("notebook", "kill", "-n", "hands", "-y")


async def test_docker_that_is_restarted_under_a_notebook(
    daemon: Daemon, docker_containers: Containers, kaos: Path
) -> None:
    daemon.deploy("restart", kaos)
    docker_containers.stop()
    try:
        shown = until(lambda: (n := daemon.notebook("restart"))["state"] == "failed" and n, "the failure")
        until(lambda: "container engine" in (daemon.notebook("restart")["reason"] or ""), "the reason")
        assert shown["url"]
    finally:
        docker_containers.start()
    until(lambda: daemon.notebook("restart")["state"] == "live", "its recovery")
    async with Lab(daemon.url("restart"), daemon.token("restart")) as lab:
        assert await lab.read("train.py") == "ANSWER = 1\n"
    daemon.ctl("notebook", "kill", "-n", "restart", "-y")


async def test_a_daemon_that_is_killed_finds_its_container_again(
    daemon: Daemon, client: docker.APIClient, kaos: Path
) -> None:
    daemon.deploy("again", kaos)
    before = container(client, daemon, "again")["Id"]
    async with Lab(daemon.url("again"), daemon.token("again")) as lab:
        kernel = await lab.kernel()
        await kernel.run("kept = 1")
        daemon.kill()
        daemon.start()
        daemon.live("again")
        assert await kernel.run("print(kept)") == "1\n"
    assert container(client, daemon, "again")["Id"] == before
    assert not [job for job in daemon.history("again")[0]["jobs"][2:] if job["stage"] == "build"]
    # another notebook of the same environment has the same image, and no build either
    daemon.deploy("twin", kaos)
    images = {client.inspect_container(running(client, daemon, name)[0])["Image"] for name in ("again", "twin")}
    assert len(images) == 1
    assert [job["stage"] for one in daemon.history("twin") for job in one["jobs"]] == ["host"]
    daemon.ctl("notebook", "kill", "-n", "twin", "-y")
    daemon.ctl("notebook", "kill", "-n", "again", "-y")


def test_without_a_container_engine_only_who_asks_for_one_is_told(own_daemon: Daemon, kaos: Path) -> None:
    own_daemon.environ["KAOSD_DOCKER_SOCKET"] = str(own_daemon.place / "nothing.sock")
    own_daemon.start()
    own_daemon.deploy("plain", kaos, None, "--engine", "process")
    own_daemon.ctl("notebook", "deploy", "--name", "boxed", "-s", str(kaos), "--engine", "docker", "--detach")
    shown = until(lambda: (n := own_daemon.notebook("boxed"))["state"] == "failed" and n, "the failure")
    assert f"there is no container engine at {own_daemon.place}/nothing.sock (install docker.io" in shown["reason"]
    assert own_daemon.notebook("plain")["state"] == "live"
    (check,) = [one for one in own_daemon.json("doctor")["checks"] if one["code"] == "docker"]
    assert check["text"] == f"there is no container engine at {own_daemon.place}/nothing.sock"
    assert check["mend"].startswith("install docker.io or podman")


async def test_a_repository_without_a_dockerfile_has_its_image_made_and_says_how(
    daemon: Daemon, tmp_path: Path
) -> None:
    top = tmp_path / "bare"
    top.mkdir()
    files = {"requirements.txt": "", "postBuild": "echo 1 >made.txt\n", "start": 'A=1 exec "$@"\n', "code.py": "1\n"}
    for name, text in files.items():
        (top / name).write_text(text)
    daemon.deploy("bare", top, None, "--engine", "docker")
    assert daemon.notebook("bare")["warnings"] == []
    made = daemon.ctl("env", "bare", "--dockerfile").stdout
    assert made.startswith("FROM python:")
    assert "\nRUN chmod +x ./postBuild && ./postBuild\n" in made
    said = {
        name: daemon.json("why", str(top / name))["text"] for name in ("postBuild", "start", "Dockerfile", "code.py")
    }
    assert said["postBuild"].startswith("postBuild is an environment input; it is run at the end of the build")
    assert said["start"].startswith("start is an environment input; it is run before JupyterLab")
    files_used = "the image is made from requirements.txt, postBuild, start"
    assert f"; it is not there: {files_used}; `kaosctl env NAME --dockerfile` prints how" in said["Dockerfile"]
    assert said["code.py"] == "code.py is code"
    async with Lab(daemon.url("bare"), daemon.token("bare")) as lab:
        kernel = await lab.kernel()
        assert await kernel.run("import os; print(os.environ['A'], open('made.txt').read())") == "1 1\n\n"
    (top / "code.py").write_text("2\n")
    assert daemon.live("bare")["deployment"]["action"] == "sync"
    (top / "postBuild").write_text("echo 2 >made.txt\n")
    assert daemon.live("bare")["deployment"]["action"] == "build"
    async with Lab(daemon.url("bare"), daemon.token("bare")) as lab:
        assert await (await lab.kernel()).run("print(open('made.txt').read())") == "2\n\n"
    # what is printed is as good a Dockerfile as one of the person's own
    (top / "Dockerfile").write_text(made)
    daemon.live("bare")
    async with Lab(daemon.url("bare"), daemon.token("bare")) as lab:
        assert await (await lab.kernel()).run("import os; print(os.environ['A'])") == "1\n"
    done = daemon.ctl("env", "bare", "--dockerfile", check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "kaosctl: the source of bare has a Dockerfile of its own: Dockerfile\n",
    )
    daemon.ctl("notebook", "kill", "-n", "bare", "-y")


async def test_a_notebook_moves_from_processes_to_containers(
    daemon: Daemon, client: docker.APIClient, kaos: Path
) -> None:
    daemon.deploy("moves", kaos, None, "--engine", "process")
    pid = daemon.host_pid("moves")
    daemon.deploy("moves", kaos, None, "--engine", "docker")
    assert pid not in daemon.hosts()
    container(client, daemon, "moves")
    async with Lab(daemon.url("moves"), daemon.token("moves")) as lab:
        assert await (await lab.kernel()).run("import os; print(os.getcwd())") == "/opt/program\n"
    daemon.ctl("notebook", "kill", "-n", "moves", "-y")
