"""Docker does what every engine must do, and what is its own, for real."""

from __future__ import annotations

import asyncio
import gc
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from conformance import *  # noqa: F403 - its tests run here
from conftest import SPEC, Files, Lines
from container_engines import base, engine, environments, extended, twin  # noqa: F401 - fixtures
from containers import Containers
from lab import lab

from kaosd import proc
from kaosd.engines.base import Order
from kaosd.engines.docker import DockerEngine, images
from kaosd.errors import BuildFailed, EngineError, EngineUnavailable
from kaosd.model import Environment, Resources
from tests.faults.cable import Cable

pytestmark = pytest.mark.timeout(900)  # images are built in some of them, the base image may be made in the first


@pytest.fixture(scope="session")
def containers(docker_containers: Containers) -> Containers:
    return docker_containers


def bundle(dockerfile: str, **others: str) -> Files:
    return Files({"Dockerfile": dockerfile, "model/requirements.txt": "", **others})


async def test_a_cancelled_build_does_not_run_on_in_the_engine(
    engine: DockerEngine, containers: Containers, log: Lines
) -> None:
    building = asyncio.ensure_future(engine.build(SPEC, bundle("FROM python:3.11\nRUN echo begun && sleep 600\n"), log))
    async with asyncio.timeout(60):
        while "begun" not in log.lines:
            await asyncio.sleep(0.02)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    client = containers.client()
    async with asyncio.timeout(60):
        while any("sleep 600" in one["Command"] for one in client.containers()):
            await asyncio.sleep(0.05)
    client.close()


async def test_a_failing_step_is_named_with_its_line_and_its_reason(engine: DockerEngine, log: Lines) -> None:
    text = "FROM python:3.11\n\n# comment\nRUN true \\\n    && echo 'ERROR: the cat is out' && exit 3\nRUN true\n"
    with pytest.raises(BuildFailed) as failed:
        await engine.build(SPEC, bundle(text), log)
    assert str(failed.value).startswith("Dockerfile:4: RUN true && echo")
    assert str(failed.value).endswith(": the cat is out")
    assert any(line.startswith("step 2/") for line in log.lines)
    with pytest.raises(BuildFailed, match=r"Dockerfile:2: unknown instruction: BUILD"):
        await engine.build(SPEC, bundle("FROM python:3.11\nBUILD it\n"), log)


async def test_an_unknown_image_and_a_silent_registry_are_told_apart(engine: DockerEngine, log: Lines) -> None:
    async def answer(request: web.Request) -> web.Response:
        code = "MANIFEST_UNKNOWN" if "manifests" in request.path else "NAME_UNKNOWN"
        found = request.path == "/v2/"
        errors = {"errors": [{"code": code, "message": "manifest unknown"}]}
        return web.json_response({} if found else errors, status=200 if found else 404)

    registry = web.Application()
    registry.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(registry)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    with pytest.raises(BuildFailed, match=f"Dockerfile:1: .*: there is no image 127.0.0.1:{port}/no/such:1"):
        await engine.build(SPEC, bundle(f"FROM 127.0.0.1:{port}/no/such:1\n"), log)
    await runner.cleanup()
    with pytest.raises(EngineUnavailable, match=f"the registry of 127.0.0.1:{port}/no/such:2 cannot be reached"):
        await engine.build(SPEC, bundle(f"FROM 127.0.0.1:{port}/no/such:2\n"), log)


async def test_an_image_without_python_is_refused(engine: DockerEngine, log: Lines) -> None:
    with pytest.raises(BuildFailed, match="the image has no Python"):
        await engine.build(SPEC, bundle("FROM python:3.11\nRUN rm -f /usr/bin/python*\n"), log)


async def test_a_gpu_is_asked_for_and_its_absence_told_before_anything_is_replaced(
    engine: DockerEngine, order_for: Callable[..., Order], base: Environment, containers: Containers, log: Lines
) -> None:
    host = await engine.start(order_for(base), log)
    before = containers.ids()
    with pytest.raises(EngineError, match="the container engine has no GPU runtime"):
        await engine.start(order_for(base, Resources(gpu=1)), log)
    assert containers.ids() == before
    assert (await engine.probe(host)).answering


async def test_limits_hold_in_the_kernel_and_change_in_place(
    engine: DockerEngine, order_for: Callable[..., Order], base: Environment, log: Lines
) -> None:
    order = order_for(base, Resources(cpu=0.5, memory="512Mi"))
    read = "import os; print(*[open(f).read() for f in %r if os.path.exists(f)])" % (  # noqa: UP031
        ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"],
    )
    host = await engine.start(order, log)
    assert engine.enforced(host)
    async with lab(host, order) as there:
        kernel = await there.new_kernel()
        assert await there.run(kernel, read) == str(512 * 2**20)
        used = (await engine.probe(host)).usage
        assert used is not None
        assert 2**24 < used.memory < 2**29
        assert used.seconds > 0
        members = (await engine.probe(host)).pids
        assert any("ipykernel_launcher" in " ".join(proc.command_line(pid)) for pid in members)
        assert await engine.apply(host, Resources(cpu=1, memory="640Mi"))
        assert await there.run(kernel, read) == str(640 * 2**20)
        assert engine.enforced(host)
        with pytest.raises(EngineError, match="uses more than 16Mi of memory now"):
            await engine.apply(host, Resources(memory="16Mi"))


async def test_neither_token_nor_secrets_can_be_read_off_the_container(
    engine: DockerEngine, order: Order, containers: Containers, log: Lines
) -> None:
    host = await engine.start(order, log)
    client = containers.client()
    told = json.dumps(client.inspect_container(host.handle["container"]))
    client.close()
    assert order.home.token_file.read_text() not in told
    assert "s3cret" not in told


async def test_files_of_the_build_reach_the_work_directory_and_yours_stay(
    engine: DockerEngine, order_for: Callable[..., Order], base: Environment, log: Lines
) -> None:
    text = (
        f"FROM {base.handle}"
        + "\nWORKDIR /opt/program\nADD . .\nRUN echo {0} >made && echo {0} >kept && echo x >code.py\n"
    )
    first = await engine.build(SPEC, bundle(text.format(1), **{"model/code.py": "mine"}), log)
    order = order_for(first)
    await engine.stop(await engine.start(order, log), 0)
    assert (order.home.work / "made").read_text() == "1\n"
    assert not (order.home.work / "code.py").exists()  # the bundle's own comes by the sync
    (order.home.work / "kept").write_text("changed in the notebook")
    second = await engine.build(SPEC, bundle(text.format(2), **{"model/code.py": "mine"}), log)
    await engine.stop(await engine.start(order_for(second), log), 0)
    assert (order.home.work / "made").read_text() == "2\n"
    assert (order.home.work / "kept").read_text() == "changed in the notebook"


async def test_what_only_buildkit_reads_is_refused_before_anything_is_built(engine: DockerEngine, log: Lines) -> None:
    text = "FROM python:3.11\nRUN true\nRUN --mount=type=cache,target=/x \\\n    pip --version\n"
    with pytest.raises(BuildFailed) as refused:
        await engine.build(SPEC, bundle(text), log)
    told = (
        "Dockerfile:3: RUN --mount=type=cache,target=/x pip --version: --mount needs BuildKit, which kaosd does not use"
    )
    assert refused.value.text == told
    assert log.lines == []


async def test_layers_of_a_failed_build_go_after_a_while_and_no_others(
    containers: Containers, base: Environment, short: Path, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, client = DockerEngine(short, socket=containers.address), containers.client()
    begun = io.BytesIO(f"FROM {base.handle}\nRUN touch /of-somebody-else\nRUN exit 1\n".encode())
    list(client.build(fileobj=begun, rm=True, forcerm=True))
    before = {one["Id"] for one in client.images(all=True)}
    label = {"label": f"kaosd.owner={engine.owner}"}
    kept = await engine.build(SPEC, bundle("FROM python:3.11\nRUN touch /kept\n"), log)
    client.tag(kept.handle, "upon-ours", "1")
    with pytest.raises(BuildFailed):
        await engine.build(SPEC, bundle("FROM python:3.11\nRUN touch /a\nRUN touch /b\nRUN exit 1\n"), log)
    left = {one["Id"] for one in client.images(filters=label)} - {kept.handle}
    assert len(left) == 1
    await engine.collect(frozenset({kept.digest}))
    assert left < {one["Id"] for one in client.images()}  # the next build begins with them
    monkeypatch.setattr(images, "CACHED", -1.0)
    await engine.collect(frozenset({kept.digest}))
    assert {one["Id"] for one in client.images(filters=label)} == {kept.handle}
    assert await engine.built(kept.digest) == kept
    await engine.collect(frozenset())
    assert client.images(name="upon-ours")[0]["Id"] == kept.handle  # the name that somebody else gave
    client.remove_image("upon-ours:1")
    assert client.images(filters=label) == []
    assert {one["Id"] for one in client.images(all=True)} == before
    client.close()
    await engine.close()


async def test_everything_carries_our_label_and_goes_when_nobody_needs_it(
    containers: Containers, base: Environment, short: Path, log: Lines
) -> None:
    engine = DockerEngine(short, socket=containers.address)
    client = containers.client()
    others = {one["Id"] for one in client.images()}
    made = await engine.build(SPEC, bundle(f"FROM {base.handle}\nRUN touch /made\n"), log)
    label = {"label": f"kaosd.owner={engine.owner}"}
    assert made.handle in {one["Id"] for one in client.images(filters=label)}
    assert {one["Id"] for one in client.images()} - others == {made.handle}
    await engine.collect(frozenset({made.digest}))
    assert await engine.built(made.digest) == made
    await engine.collect(frozenset())
    assert await engine.built(made.digest) is None
    assert client.images(filters=label) == []
    assert client.volumes(filters=label)["Volumes"] in (None, [])
    assert {one["Id"] for one in client.images()} == others
    client.close()
    await engine.close()


async def test_doctor_finds_nothing_wrong_with_an_engine_that_is_as_it_should_be(
    engine: DockerEngine, containers: Containers
) -> None:
    found = await engine.examine()
    but_space = [one for one in found if "free for images" not in one.text]  # that depends on who else is on the disk
    assert [one.severity for one in but_space] == ["ok"] * 3, found
    assert but_space[0].text.startswith("Docker ")
    assert but_space[0].text.endswith(f" answers at {containers.socket}")
    assert found[-1].text.endswith(f"GB free for images at {containers.place}/data")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker's library closes by collection
async def test_what_the_engine_was_away_for_is_swept_once_it_is_there(
    environments: Path, containers: Containers, order: Order, log: Lines, short: Path
) -> None:
    cable = Cable(short / "cable", containers.socket)
    engine = DockerEngine(environments, socket=cable.address)
    kept, lost = await engine.start(order, log), await engine.start(order, log)
    cable.pull()
    await engine.sweep(order.home, kept)
    assert (await engine.probe(lost)).alive
    cable.put_back()
    async with asyncio.timeout(60):
        while containers.ids(label=f"kaosd.home={order.home.root}") != [kept.handle["container"]]:
            assert (await engine.probe(kept)).alive  # as its notebook asks now and then
            await asyncio.sleep(0.05)
    assert (await engine.probe(kept)).answering
    # another one starts also where that one was removed before there was an engine to sweep with
    cable.pull()
    await engine.sweep(order.home, kept)
    containers.clear()
    cable.put_back()
    assert (await engine.probe(await engine.start(order, log))).answering
    await engine.close()
    cable.close()
    gc.collect()


async def test_what_is_made_while_leftovers_are_looked_for_is_none_of_them(
    engine: DockerEngine, base: Environment, containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, listed = containers.client(), engine._containers
    made = client.create_container(base.handle, labels={"kaosd.owner": engine.owner})["Id"]

    async def and_a_start_begins(*labels: str) -> list[dict[str, Any]]:
        found = await listed(*labels)
        monkeypatch.setattr(engine, "_starting", 1)
        return found

    monkeypatch.setattr(engine, "_containers", and_a_start_begins)
    await engine.collect(frozenset())
    assert made in containers.ids()
    assert await engine.built(base.digest) == base
    monkeypatch.undo()
    await engine.collect(frozenset({base.digest}))
    assert made not in containers.ids()
    client.close()
