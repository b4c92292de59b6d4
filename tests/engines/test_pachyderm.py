"""The pachyderm engine against the stand-in for pachd: the conformance suite as far as Pachyderm can keep it.

Left out is what its pods cannot do: kernels that outlive their environment or other data, files that are the person's
own on this machine, two hosts of one notebook at a time (so a sweep has none to choose from), and limits of this
machine. What holds instead is tested here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conformance import (
    test_a_cancelled_build_leaves_nothing_and_can_be_done_again,
    test_a_host_answers_with_its_token_and_refuses_without,
    test_a_host_is_adopted_by_its_stored_handle,
    test_a_kernel_runs_a_cell_in_the_work_directory,
    test_a_kernel_sees_its_notebook_and_no_secret,
    test_a_new_host_has_the_new_package,
    test_a_probe_counts_kernels_and_tells_the_busy_ones,
    test_a_requirement_that_cannot_be_had_fails_the_build,
    test_a_save_of_code_reaches_a_running_kernel,
    test_an_environment_in_use_or_kept_is_not_collected,
    test_an_environment_that_is_complete_is_known_by_its_digest,
    test_stop_ends_the_host_and_may_be_repeated,
    test_switch_refuses_an_environment_of_another_server,
)
from conftest import EXTRA, SPEC, Files, Lines, make_home
from lab import lab
from python_pachyderm.proto.v2.pfs import pfs_pb2
from python_pachyderm.proto.v2.pps import pps_pb2

from kaosd.bundle import Scanner, Store
from kaosd.engines.base import Cleared, Content, Log, Order
from kaosd.engines.pachyderm import pipelines
from kaosd.engines.pachyderm.building import BuiltImage
from kaosd.engines.pachyderm.connection import Cluster
from kaosd.engines.pachyderm.engine import PachydermEngine
from kaosd.engines.pachyderm.options import Options
from kaosd.engines.pachyderm.serving import Serving, answered
from kaosd.engines.pachyderm.specs import HostOrder, host_request
from kaosd.errors import BuildFailed, EngineError, EngineUnavailable, StartFailed
from kaosd.model import Environment, Host, NotebookSpec, Resources
from kaosd.notebook.content import StoredContent
from kaosd.notebook.elsewhere import Digests, Elsewhere
from tests.pachd.program import Pachd, running, turned_back
from tests.pachyderm.trees import content, tree

__all__ = [
    "test_a_cancelled_build_leaves_nothing_and_can_be_done_again",
    "test_a_host_answers_with_its_token_and_refuses_without",
    "test_a_host_is_adopted_by_its_stored_handle",
    "test_a_kernel_runs_a_cell_in_the_work_directory",
    "test_a_kernel_sees_its_notebook_and_no_secret",
    "test_a_new_host_has_the_new_package",
    "test_a_probe_counts_kernels_and_tells_the_busy_ones",
    "test_a_requirement_that_cannot_be_had_fails_the_build",
    "test_a_save_of_code_reaches_a_running_kernel",
    "test_an_environment_in_use_or_kept_is_not_collected",
    "test_an_environment_that_is_complete_is_known_by_its_digest",
    "test_stop_ends_the_host_and_may_be_repeated",
    "test_switch_refuses_an_environment_of_another_server",
]
OPTIONS = Options(registry="registry.test/kaosd", buildkit="tcp://buildkitd:1234")


@pytest.fixture(scope="module")
def _pachd() -> Iterator[Pachd]:
    with running() as found:
        yield found


@pytest.fixture
def pachd(_pachd: Pachd) -> Iterator[Pachd]:
    with turned_back(_pachd) as found:
        yield found


@pytest.fixture
def store(short: Path) -> Iterator[Store]:
    found = Store(short / "store")
    yield found
    found.close()


@pytest.fixture(scope="module")
def images() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ki") as place:
        yield Path(place)


class Bringing(PachydermEngine):
    """The engine with that part of the daemon that brings code to where its hosts are. code: what there is."""

    code: dict[str, str] = {}  # noqa: RUF012 - replaced, never changed

    async def start(self, order: Order, log: Log) -> Host:
        host = await super().start(order, log)
        await self.bring(host, self.code)
        return host

    async def bring(self, host: Host, files: dict[str, str]) -> None:
        """Make *files* all the code that the host holds; a host that begins anew is open to nobody before."""
        there = self.files(host)
        assert there is not None
        holds = await there.holds()
        with tempfile.TemporaryDirectory() as place, contextlib.closing(Store(self._place / "code")) as store:
            new = tree(store, {path: text.encode() for path, text in files.items()})
            elsewhere = Elsewhere(there, Digests(store, Path(place)), Path(place) / "copies")
            store.flush()
            await elsewhere.bring(holds or (), new, frozenset(), fresh=holds is None, last=True)

    async def bring_data(self, content: Content | None, host: Host | None, log: Lines) -> int:
        """Carry data, and then the code to a host that has begun anew; how often a host was about to."""
        left = []

        async def leaving() -> None:
            left.append(1)

        await self.carry(SPEC, content, host, log.line, leaving)
        if host is not None:
            await self.bring(host, self.code)
        return len(left)


def make_engine(pachd: Pachd, images: Path) -> Bringing:
    return Bringing(Cluster(pachd.address), OPTIONS, images, start_within=240.0, stuck_for=0.5)


@pytest.fixture
def save(engine: Bringing) -> Callable[[Host, Order, dict[str, str]], Awaitable[None]]:
    async def bring(host: Host, order: Order, files: dict[str, str]) -> None:
        await engine.bring(host, files)

    return bring


@pytest.fixture
async def engine(pachd: Pachd, images: Path) -> AsyncIterator[Bringing]:
    found = make_engine(pachd, images)
    yield found
    await found.close()


def source(requirements: str = "", dockerfile: str = "FROM python:3.11\n", **files: str) -> Files:
    return Files({"Dockerfile": dockerfile, "model/requirements.txt": requirements, **files})


@pytest.fixture
async def base(engine: Bringing, log: Lines) -> Environment:
    return await engine.build(SPEC, source(), log)


@pytest.fixture
async def order_for(engine: Bringing, short: Path) -> AsyncIterator[Callable[..., Order]]:
    home = make_home(short / SPEC.name)

    def make(environment: Environment, resources: Resources | None = None) -> Order:
        spec = NotebookSpec(SPEC.name, SPEC.workspace, SPEC.user, resources=resources or Resources())
        return Order(spec, home, environment, f"/{SPEC.name}/", home.logs / "host.log", ("127.0.0.1:8890",))

    yield make
    pipelines = (await engine._hosts()).pipelines
    await pipelines.delete(SPEC.name, SPEC.name, SPEC.user)
    await engine.sweep(home, None)


@pytest.fixture
def order(order_for: Callable[..., Order], base: Environment) -> Order:
    return order_for(base)


@pytest.fixture
async def extended(engine: Bringing, log: Lines) -> Environment:
    return await engine.build(SPEC, source(f"{EXTRA}\n"), log)


@pytest.fixture
def order_with(engine: Bringing, order_for: Callable[..., Order], log: Lines) -> Callable[[str, str], Awaitable[Order]]:
    """The directory is brought after the start."""

    async def make(name: str, text: str) -> Order:
        engine.code = {name: text}
        return order_for(await engine.build(SPEC, source(), log))

    return make


async def test_limits_are_requests_too_and_take_a_new_host(
    engine: Bringing, order_for: Callable[..., Order], base: Environment, log: Lines
) -> None:
    first = await engine.start(order_for(base, Resources(cpu=0.5)), log)
    assert not await engine.apply(first, Resources(cpu=1.0, memory="2Gi"))
    second = await engine.start(order_for(base, Resources(cpu=1.0, memory="2Gi")), log)
    assert engine.enforced(second)
    hosts = await engine._hosts()
    asked = pps_pb2.InspectPipelineRequest(pipeline=hosts.pipelines.named(SPEC.name), details=True)
    found = (await hosts.connection.ask(hosts.connection.pps.InspectPipeline, asked, "show")).details
    for limits in (found.resource_requests, found.resource_limits):
        assert (limits.cpu, limits.memory) == (1.0, "2Gi")
    status = await engine.probe(first)  # as somebody who has asked for it a moment before
    assert (status.alive, status.answering) == (False, False)
    assert (await engine.probe(second)).answering
    await engine.stop(first, 0)  # the one before: gone already
    assert (await engine.probe(second)).answering


async def test_what_no_node_has_is_told_and_the_old_host_comes_back(
    engine: Bringing, order_for: Callable[..., Order], order: Order, base: Environment, log: Lines
) -> None:
    await engine.start(order, log)
    with pytest.raises(StartFailed, match=r"PIPELINE_CRASHING: 0/1 nodes .* Insufficient nvidia.com/gpu"):
        await engine.start(order_for(base, Resources(gpu=1)), log)
    again = await engine.start(order, log)
    assert (await engine.probe(again)).answering


async def test_a_start_that_a_killed_daemon_began_is_taken_up(
    engine: Bringing, pachd: Pachd, images: Path, order: Order, log: Lines
) -> None:
    """The pipeline is there and nobody has written it down: no second version, no second start of JupyterLab."""
    hosts = await engine._hosts()
    await hosts.deploy(await hosts.order(order), None)
    after = make_engine(pachd, images)
    try:
        await after.sweep(order.home, None)
        host = await after.start(order, log)
        assert (await after.probe(host)).answering
    finally:
        await after.close()
    told = pachd.told()
    assert len(told["jobs"][f"default/{SPEC.name}"]) == 1
    assert Serving.of(host.handle).version == 1


async def test_a_sweep_deletes_a_pipeline_of_ours_that_has_stopped(
    engine: Bringing, pachd: Pachd, order: Order, log: Lines
) -> None:
    await engine.start(order, log)
    hosts = await engine._hosts()
    stop = pps_pb2.StopPipelineRequest(pipeline=hosts.pipelines.named(SPEC.name))
    await hosts.connection.ask(hosts.connection.pps.StopPipeline, stop, "stop")
    await engine.sweep(order.home, None)
    assert await hosts.pipelines.find(SPEC.name) is None


async def test_a_build_says_what_it_does_and_runs_once(engine: Bringing, pachd: Pachd, log: Lines) -> None:
    inputs = source(**{"model/once.py": "1\n"})
    before = pachd.told()["commits"].get(f"default/source-{SPEC.name}", 0)
    first, second = await asyncio.gather(engine.build(SPEC, inputs, log), engine.build(SPEC, inputs, log))
    assert first == second
    steps = dict.fromkeys(line[:8] for line in log.lines if line.startswith("step "))
    assert list(steps) == [f"step {n}/5" for n in (1, 2, 3, 4, 5)]
    assert any(line.startswith("step 2/5 sent ") for line in log.lines)
    assert any("JupyterLab answers" in line for line in log.lines)
    assert any("pushing manifest" in line for line in log.lines)
    assert BuiltImage.of(first).image.startswith("registry.test/kaosd/notebook-test-ada@sha256:")
    assert pachd.told()["commits"][f"default/source-{SPEC.name}"] == before + 1


async def test_a_build_that_nobody_waits_for_any_more_is_stopped(engine: Bringing, pachd: Pachd, log: Lines) -> None:
    build = asyncio.ensure_future(engine.build(SPEC, source(dockerfile="FROM x\nRUN sleep 600\n"), log))
    async with asyncio.timeout(30):
        while not any("RUN sleep" in line for line in log.lines):
            await asyncio.sleep(0.05)
    build.cancel()
    with pytest.raises(asyncio.CancelledError):
        await build
    assert pachd.told()["jobs"][f"default/build-{SPEC.name}"][-1][0] == "JOB_KILLED"
    assert (await engine.build(SPEC, source(), log)).handle  # the next one is not held up


async def test_a_job_that_outlasts_the_servers_patience_is_waited_for(
    engine: Bringing, pachd: Pachd, short: Path, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines come while it runs, although there is no pod to have any when they are first asked for."""
    monkeypatch.setattr(pipelines, "HELD", 0.3)
    before = pachd.told()["calls"].get("InspectJob", 0)
    building = asyncio.ensure_future(engine.build(SPEC, source(dockerfile=f"FROM x\nRUN await {short}/go\n"), log))
    async with asyncio.timeout(120):
        while not any("RUN await" in line for line in log.lines):
            await asyncio.sleep(0.05)
        while pachd.told()["calls"].get("InspectJob", 0) <= before + 3:
            await asyncio.sleep(0.05)
    assert not building.done()
    (short / "go").touch()
    assert (await building).handle


async def test_a_builder_image_that_cannot_be_pulled_is_told(
    pachd: Pachd, short: Path, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "HELD", 0.3)
    options = replace(OPTIONS, builder_image="registry.test/no-such:1")
    engine = PachydermEngine(Cluster(pachd.address), options, short / "i")
    try:
        with pytest.raises(EngineUnavailable, match=r"build-stuck is PIPELINE_CRASHING: Back-off pulling image"):
            await engine.build(NotebookSpec("stuck", "test", "ada"), source(), log)
    finally:
        await engine.close()


async def test_what_a_daemon_before_us_has_built_is_not_built_again(
    engine: Bringing, pachd: Pachd, short: Path, base: Environment, log: Lines
) -> None:
    await engine.build(SPEC, source(), log)
    forgetful = make_engine(pachd, short / "elsewhere")
    before = pachd.told()
    try:
        again = await forgetful.build(SPEC, source(), log)
    finally:
        await forgetful.close()
    after = pachd.told()
    assert BuiltImage.of(again).image == BuiltImage.of(base).image
    assert after["calls"]["CreatePipeline"] == before["calls"]["CreatePipeline"] + 1  # it is tried again, and no more


async def test_the_same_order_twice_is_one_version_and_one_start(
    engine: Bringing, pachd: Pachd, order: Order, log: Lines
) -> None:
    first = await engine.start(order, log)
    before = pachd.told()
    assert (await engine.start(order, log)).upstream == first.upstream
    after = pachd.told()
    for what in ("restarts", "jobs", "commits"):
        assert after[what] == before[what]


async def test_a_lost_answer_to_a_deployment_does_not_deploy_twice(
    engine: Bringing, pachd: Pachd, order: Order, log: Lines
) -> None:
    before = pachd.told()["restarts"].get(f"default/{SPEC.name}", 0)
    pachd.turn(lose={"FinishTransaction": 1})
    await engine.start(order, log)
    assert pachd.told()["restarts"][f"default/{SPEC.name}"] == before + 1
    assert len(pachd.told()["jobs"][f"default/{SPEC.name}"]) == 1


async def test_data_is_where_notebooks_expect_it(
    engine: Bringing, order: Order, store: Store, short: Path, log: Lines
) -> None:
    host = await engine.start(order, log)
    for text in (b"one", b"two"):
        assert await engine.bring_data(content(store, {"deep/file.txt": text}, short), host, log) == 1
        async with lab(host, order) as there:
            code = "import os; print(open(os.environ['KAOS_DATA'] + '/deep/file.txt').read(), os.environ['DATA_REPO'])"
            assert await there.run(await there.new_kernel(), code) == f"{text.decode()} data-{SPEC.name}"
    assert not [line for line in log.lines if line.startswith("warning")]
    told = len(log.lines)
    assert await engine.bring_data(content(store, {"deep/file.txt": b"two"}, short), host, log) == 0
    assert len(log.lines) == told


async def test_a_host_whose_data_is_taken_away_runs_on(
    engine: Bringing, order: Order, store: Store, short: Path, log: Lines
) -> None:
    """A service with nothing to read would be dead, and say that it runs."""
    host = await engine.start(order, log)  # without data from the first
    for files in ({"a": b"1"}, None):
        await engine.bring_data(content(store, files, short) if files else None, host, log)
        assert (await engine.probe(host)).answering


async def test_what_pfs_does_not_keep_of_data_is_told(engine: Bringing, short: Path, log: Lines) -> None:
    (short / "data" / "empty").mkdir(parents=True)
    (short / "data" / "run.sh").write_text("#!/bin/sh\n")
    (short / "data" / "run.sh").chmod(0o755)
    with contextlib.closing(Store(short / "store")) as store:
        found = Scanner(short / "data", store, kind="data").scan(None).tree
        assert found is not None
        spec = NotebookSpec("bare", "test", "ada")
        await engine.carry(spec, StoredContent(store, found, short), None, log.line, nobody)
    told = "warning: Pachyderm does not keep that 1 of the files are executable nor 1 empty directories"
    assert log.lines[-1] == told


async def test_an_image_that_cannot_be_pulled_is_told_and_the_old_host_comes_back(
    engine: Bringing, pachd: Pachd, order: Order, order_for: Callable[..., Order], base: Environment, log: Lines
) -> None:
    await engine.start(order, log)
    lost = BuiltImage(f"registry.test/kaosd/gone@sha256:{'0' * 64}", BuiltImage.of(base).commit).environment("f" * 64)
    with pytest.raises(
        StartFailed, match=r"PIPELINE_CRASHING: Back-off pulling image .registry.test/kaosd/gone|failing to pull image"
    ) as failure:
        await engine.start(order_for(lost), log)
    assert not failure.value.retryable  # a further try would end the old one's kernels again
    again = await engine.start(order, log)
    async with lab(again, order) as there:
        assert (await there.request("GET", "api/status"))[0] == 200
    assert pachd.told()["jobs"][f"default/{SPEC.name}"][-1][1] == 3  # the first, the lost one, the first again


async def test_an_image_that_the_registry_has_lost_is_built_again(
    engine: Bringing, pachd: Pachd, order_for: Callable[..., Order], log: Lines
) -> None:
    """pachd would skip a source that it has processed."""
    inputs = source(**{"model/lost.py": "1"})
    first = await engine.build(SPEC, inputs, log)
    shutil.rmtree(pachd.place / "images" / BuiltImage.of(first).image.rpartition(":")[2])
    with pytest.raises(StartFailed, match="pull"):
        await engine.start(order_for(first), log)
    assert await engine.built(first.digest) is None
    again = await engine.build(SPEC, inputs, log)
    assert (await engine.probe(await engine.start(order_for(again), log))).answering


async def test_a_fix_of_the_same_length_is_built(engine: Bringing, log: Lines) -> None:
    """BuildKit keeps contexts and compares size and time: the text that failed must not be taken for the fixed one."""
    wrong = EXTRA[:-1] + "9"
    with pytest.raises(BuildFailed):
        await engine.build(SPEC, source(f"{wrong}\n"), log)
    assert (await engine.build(SPEC, source(f"{EXTRA}\n", **{"model/other.txt": "1"}), log)).handle


async def test_an_image_that_was_made_of_something_else_is_not_called_a_host(
    engine: Bringing, pachd: Pachd, order_for: Callable[..., Order], log: Lines
) -> None:
    """What runs is told by the image itself, not by what was asked for; it is built again."""
    inputs = source(**{"model/else.py": "1"})
    made = await engine.build(SPEC, inputs, log)
    manifest = pachd.place / "images" / BuiltImage.of(made).image.rpartition(":")[2] / "kaosd" / "manifest.json"
    manifest.write_text(json.dumps({"environment": "0" * 64}))
    with pytest.raises(StartFailed, match=f"was made of 0000000 and not of {inputs.digest[:7]}"):
        await engine.start(order_for(made), log)
    assert await engine.built(made.digest) is None
    manifest.write_text(json.dumps({"environment": inputs.digest}))


async def test_an_image_in_which_jupyterlab_does_not_start_fails_the_build(
    engine: Bringing, pachd: Pachd, order: Order, log: Lines
) -> None:
    """It is tried before the host is replaced, which runs on."""
    host = await engine.start(order, log)
    before = pachd.told()["restarts"]
    with pytest.raises(BuildFailed, match="JupyterLab cannot be started in the image"):
        await engine.build(SPEC, source(dockerfile="FROM python:3.11\nRUN break jupyterlab\n"), log)
    assert (await engine.probe(host)).answering
    assert pachd.told()["restarts"] == before
    assert f"default/try-{SPEC.name}" not in pachd.told()["jobs"]


async def test_a_first_start_that_fails_leaves_nothing(
    engine: Bringing, pachd: Pachd, order_for: Callable[..., Order], base: Environment, log: Lines
) -> None:
    lost = BuiltImage(f"registry.test/kaosd/gone@sha256:{'1' * 64}", BuiltImage.of(base).commit).environment("e" * 64)
    with pytest.raises(StartFailed) as failure:
        await engine.start(order_for(lost), log)
    assert failure.value.retryable
    assert f"default/{SPEC.name}" not in pachd.told()["jobs"]


async def test_a_service_that_says_running_while_nothing_runs_is_found_out(
    engine: Bringing, pachd: Pachd, order: Order, log: Lines
) -> None:
    host = await engine.start(order, log)
    hosts = await engine._hosts()
    empty = pfs_pb2.ModifyFileRequest(delete_file=pfs_pb2.DeleteFile(path="/"))
    branch = pfs_pb2.Commit(branch=hosts.repos.branch(f"data-{SPEC.name}"))

    async def messages() -> AsyncIterator[pfs_pb2.ModifyFileRequest]:
        yield pfs_pb2.ModifyFileRequest(set_commit=branch)
        yield empty

    await hosts.connection.send(hosts.connection.pfs.ModifyFile, messages(), "empty the data")
    async with asyncio.timeout(30):
        while (status := await engine.probe(host)).answering:
            await asyncio.sleep(0.05)
    assert status.alive
    assert "does not answer" in status.reason
    assert "its pipeline is PIPELINE_RUNNING" in status.reason
    await engine.bring_data(None, host, log)  # the daemon's next look at the data mends it


async def test_a_person_who_shuts_jupyter_down_gets_it_back(
    engine: Bringing, pachd: Pachd, order: Order, log: Lines
) -> None:
    host = await engine.start(order, log)
    before = pachd.told()["restarts"]
    async with lab(host, order) as there:
        first = await serving_since(engine, host)
        assert (await there.request("POST", "api/shutdown"))[0] == 200
        async with asyncio.timeout(60):
            while await serving_since(engine, host) in (None, first):
                await asyncio.sleep(0.1)
    assert pachd.told()["restarts"] == before  # Pachyderm has not seen an end
    async with asyncio.timeout(30):
        while "it is started again" not in order.log.read_text():
            await asyncio.sleep(0.1)


async def nobody() -> None:
    """There is no host that would begin anew."""


async def serving_since(engine: Bringing, host: Host) -> str | None:
    known = Serving.of(host.handle)
    answer = await answered(engine._http(), known.upstream, known.base_url, known.token_file)
    return answer.server if answer is not None else None


async def test_a_pipeline_of_a_stranger_is_left_alone(
    engine: Bringing, order_for: Callable[..., Order], base: Environment, log: Lines, short: Path
) -> None:
    mine = host_request(
        HostOrder("theirs", "eve", "w", BuiltImage.of(base).image, BuiltImage.of(base).commit, "/", "none"),
        "default",
        OPTIONS,
    )
    mine.metadata.Clear()
    del mine.transform.secrets[:], mine.input.cross[:]
    mine.input.pfs.CopyFrom(pps_pb2.PFSInput(repo=f"source-{SPEC.name}", glob="/"))
    hosts = await engine._hosts()
    await hosts.connection.ask(hosts.connection.pps.CreatePipeline, mine, "create")
    spec = NotebookSpec("theirs", "test", "ada")
    home = make_home(short / "theirs")
    order = Order(spec, home, base, "/theirs/", home.logs / "host.log", ())
    with pytest.raises(EngineError, match="the pipeline theirs was not made by kaosd for this notebook"):
        await engine.start(order, log)
    await engine.sweep(home, None)
    await engine.forget(home)
    assert await hosts.pipelines.find("theirs") is not None


async def test_a_notebook_of_the_same_name_is_another_persons(
    engine: Bringing, pachd: Pachd, order: Order, short: Path, log: Lines
) -> None:
    """Two daemons, one project: bob can neither take ada's name nor end what she has there."""
    host = await engine.start(order, log)
    spec = replace(SPEC, user="bob")
    bobs, home = make_engine(pachd, short / "bob"), make_home(short / "bob" / SPEC.name)
    try:
        with pytest.raises(EngineError, match="was not made by kaosd for this notebook"):
            await bobs.build(spec, source(**{"model/bobs.py": ""}), log)
        await bobs.sweep(home, None)
        await bobs.forget(home)
        assert await bobs.clear(spec, bobs.repos(spec.name)) == Cleared()
    finally:
        await bobs.close()
    assert (await engine.probe(host)).answering
    assert await engine.adopt(dict(host.handle)) == host
    found = await engine.clear(SPEC, ())
    assert found == Cleared((), (f"source-{SPEC.name}", f"data-{SPEC.name}"))


@pytest.mark.parametrize(
    ("switches", "told"),
    [
        ({"fail": {"CreatePipeline": ["UNKNOWN", 'missing Kubernetes secret "push"', 1]}},
         "create the secret that .pachyderm. names"),
        ({"pipelines_max": 0}, "allows no more pipelines"),
        ({"fail": {"*": ["PERMISSION_DENIED", "ada is not authorized", 1]}}, "refused to .* ada is not authorized"),
        ({"fail": {"*": ["NOT_FOUND", "project default not found", 1]}}, "pachctl create project"),
        ({"down": True}, "cannot be reached: connection refused"),
    ],
)  # fmt: skip
async def test_what_the_cluster_refuses_is_one_sentence(
    engine: Bringing, pachd: Pachd, log: Lines, switches: dict[str, object], told: str
) -> None:
    spec = NotebookSpec("refused", "test", "ada")
    await engine._hosts()
    pachd.turn(**switches)
    with pytest.raises(EngineError, match=told):
        await engine.build(spec, source(**{"model/refused.py": ""}), log)


async def test_doctor_is_told_what_is_missing(pachd: Pachd, short: Path) -> None:
    options = Options(registry="r", registry_secret="no-such-secret")
    engine = PachydermEngine(Cluster(pachd.address, project="nowhere"), options, short / "i")
    try:
        found = await engine.examine()
    finally:
        await engine.close()
    errors = [one for one in found if one.severity == "error"]
    assert [one.mend.partition(" ")[0] for one in errors] == ["create", "create"]
    assert 'project "nowhere" not found' in errors[0].text
    assert "no-such-secret" in errors[1].text


async def test_an_expired_token_and_an_unknown_version_are_told(short: Path, log: Lines) -> None:
    for number, (arguments, told) in enumerate(
        [
            (["--token", "right"], "does not accept the token: provided auth token is corrupted or has expired"),
            (["--version", "2.13.0"], r"is version 2.13.0 .kaosd works with 2.7 to 2.12"),
        ]
    ):
        other = Pachd(short / f"p{number}", *arguments)
        engine = PachydermEngine(Cluster(other.address, token="wrong"), OPTIONS, short / f"i{number}")
        try:
            with pytest.raises(EngineError, match=told):
                await engine.build(SPEC, source(), log)
        finally:
            await engine.close()
            other.close()


async def test_the_oldest_pachd_that_is_supported_serves_as_well(
    short: Path, images: Path, log: Lines, store: Store
) -> None:
    old = Pachd(short / "p", "--version", "2.7.4")
    engine = Bringing(Cluster(old.address), OPTIONS, short / "i", start_within=240.0)
    home = make_home(short / SPEC.name)
    try:
        environment = await engine.build(SPEC, source(), log)
        order = Order(SPEC, home, environment, f"/{SPEC.name}/", home.logs / "host.log", ())
        host = await engine.start(order, log)
        await engine.bring_data(content(store, {"a": b"1"}, short), host, log)
        assert (await engine.probe(host)).answering
        await engine.stop(host, 0)
    finally:
        await engine.close()
        old.close()
