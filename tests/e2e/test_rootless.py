"""Notebooks of a person who is not root, in containers: rootless Podman and Docker, and a Docker that they may use."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import KAOS_DOCKERFILE, make_bundle, settings_of
from tests.e2e.daemon import Theirs, until
from tests.e2e.lab import Lab
from tests.engines.containers import Containers, started_by
from tests.engines.person import Person

pytestmark = pytest.mark.timeout(900)  # the base image may be made in the first, and each engine builds for itself
WRITE = "import os; os.makedirs('made/here'); print(open('made/here/by-the-kernel.txt', 'w').write('hello'))"


def bundle_of(person: Person) -> Path:
    """A source bundle that is the person's own."""
    path = make_bundle(person.home / "example", dockerfile=KAOS_DOCKERFILE)
    subprocess.run(["chown", "-R", f"{person.uid}:{person.gid}", str(path)], check=True)
    return path


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


def processes(daemon: Theirs, containers: Containers, name: str) -> set[int]:
    """Who runs the processes of a notebook's containers, as this machine sees it."""
    client = containers.client()
    found = client.containers(filters={"label": f"kaosd.home={daemon.home(name)}"})
    pids = [client.inspect_container(one["Id"])["State"]["Pid"] for one in found]
    client.close()
    assert pids
    return {Path(f"/proc/{pid}").stat().st_uid for pid in pids}


@contextmanager
def somebody(*groups: str) -> Iterator[Person]:
    """A person, and nothing of them afterwards."""
    found = Person(Path(tempfile.mkdtemp(prefix="kp")), *groups)
    try:
        yield found
    finally:
        found.remove()


@contextmanager
def theirs(person: Person, containers: Containers) -> Iterator[Theirs]:
    """A running daemon of the person's."""
    found = Theirs(person, **settings_of(containers)).start()
    try:
        yield found
    finally:
        found.close()


async def lives(daemon: Theirs, containers: Containers, bundle: Path, *more: str) -> None:
    """A notebook of theirs is deployed, synced, written in, rebuilt, found again, and killed."""
    person = daemon.person
    daemon.deploy("own", bundle, None, *more)
    if more:
        assert daemon.notebook("own")["resources"]["enforced"] is False
        told = daemon.ctl("logs", "own", "--stage", "host", "-n", "100").stdout
        assert "memory and cpu of the notebook are not limited" in told
        assert "is rootless, and this machine has control groups of version 1" in told
        checks = [one for one in daemon.json("doctor")["checks"] if one["code"] == "docker"]
        assert f", rootless, answers at {containers.socket}" in checks[0]["text"]
        assert checks[1]["text"].startswith("memory and cpu of notebooks cannot be limited: ")
        assert checks[1]["mend"].startswith("boot with systemd.unified_cgroup_hierarchy=1")
        assert [one["severity"] for one in checks[:3]] == ["ok", "warning", "ok"]
        # nobody holds other limits either: no container is replaced for them
        before = containers.ids(label=f"kaosd.home={daemon.home('own')}")
        daemon.deploy("own", bundle, None, "--memory", "640Mi", "--unset", "cpu")
        assert containers.ids(label=f"kaosd.home={daemon.home('own')}") == before
        assert daemon.notebook("own")["resources"] == {"cpu": None, "memory": "640Mi", "gpu": 0, "enforced": False}
    assert processes(daemon, containers, "own") == {person.uid}
    async with Lab(daemon.url("own"), daemon.token("own")) as lab:
        kernel = await lab.kernel()
        assert await kernel.run(WRITE) == "5\n"
        work = daemon.home("own") / "work"
        for path in (work / "made", work / "made" / "here", work / "made" / "here" / "by-the-kernel.txt"):
            assert owner(path) == (person.uid, person.gid)
        (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
        assert daemon.live("own")["deployment"]["action"] == "sync"
        assert await kernel.run("print(open('train.py').read())") == "ANSWER = 2\n\n"
        assert await kernel.run("open('train.py', 'a').write('# theirs')") == ""
        assert owner(work / "train.py") == (person.uid, person.gid)
        # the person's own daemon goes on after a crash, with the same kernel
        await kernel.run("kept = 41")
        daemon.kill()
        daemon.start()
        daemon.live("own")
        assert await kernel.run("print(kept + 1)") == "42\n"
    (bundle / "model" / "requirements.txt").write_text("iniconfig\n")
    # an image is made without root's shortcuts, which takes its time
    until(lambda: daemon.ctl("wait", "own", "--timeout", "60", check=False).returncode == 0, "the new image", 600)
    assert daemon.notebook("own")["deployment"]["action"] == "build"
    async with Lab(daemon.url("own"), daemon.token("own")) as lab:
        assert await (await lab.kernel()).run("import iniconfig; print('there')") == "there\n"
        assert await lab.read("made/here/by-the-kernel.txt") == "hello"
    daemon.ctl("notebook", "kill", "-n", "own", "-y")
    assert containers.ids(label=f"kaosd.home={daemon.home('own')}") == []
    if more:  # nobody else uses this engine
        client = containers.client()
        assert client.images(filters={"label": "kaosd.owner"}) == []
        assert client.volumes(filters={"label": "kaosd.owner"})["Volumes"] in (None, [])
        client.close()


@pytest.mark.parametrize("kind", ["podman", "docker"])
async def test_a_rootless_engine_serves_its_person(kind: str) -> None:
    with somebody() as person, started_by(person, kind) as containers, theirs(person, containers) as daemon:
        await lives(daemon, containers, bundle_of(person), "--memory", "512Mi", "--cpu", "1")


@pytest.fixture
def shared(docker_containers: Containers) -> Iterator[Containers]:
    """Docker as root runs it for the group docker."""
    shutil.chown(docker_containers.socket, "root", "docker")
    docker_containers.socket.chmod(0o660)
    yield docker_containers
    shutil.chown(docker_containers.socket, "root", "root")


async def test_an_engine_of_root_serves_a_person_who_may_use_it(shared: Containers) -> None:
    with somebody("docker") as person, theirs(person, shared) as daemon:
        await lives(daemon, shared, bundle_of(person))


async def test_a_person_who_may_not_use_the_engine_is_told_and_keeps_what_serves(shared: Containers) -> None:
    with somebody() as person:
        shutil.chown(shared.socket, person.name)  # as long as they may
        with theirs(person, shared) as daemon:
            bundle = bundle_of(person)
            daemon.deploy("own", bundle)
            host = processes(daemon, shared, "own")
            shutil.chown(shared.socket, "root")
            (bundle / "model" / "requirements.txt").write_text("iniconfig\n")
            shown = until(lambda: (n := daemon.notebook("own"))["state"] == "failed" and n, "the refusal")
            assert f"you may not use the container engine at {shared.socket} (join its group" in shown["reason"]
            (check,) = [one for one in daemon.json("doctor")["checks"] if one["code"] == "docker"]
            assert check["text"] == f"you may not use the container engine at {shared.socket}"
            assert check["mend"].startswith("join its group (sudo usermod -aG docker $USER")
            async with Lab(daemon.url("own"), daemon.token("own")) as lab:
                assert await (await lab.kernel()).run("print('it serves')") == "it serves\n"
            assert processes(daemon, shared, "own") == host
            shutil.chown(shared.socket, person.name)
            until(lambda: daemon.notebook("own")["state"] == "live", "its recovery")
            async with Lab(daemon.url("own"), daemon.token("own")) as lab:
                assert await (await lab.kernel()).run("import iniconfig; print('there')") == "there\n"
