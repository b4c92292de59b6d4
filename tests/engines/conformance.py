"""What every engine must do: fixtures `engine`, `order`, `order_for`, `order_with`, `save`, `base`, `extended`, `twin`.

An engine's own test module imports these tests by star. `extended` has EXTRA on top of `base`; the server of `twin` is
that of `base`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable

import pytest
from conftest import EXTRA, SECRETS, SPEC, Files, Lines
from lab import lab

from kaosd.engines.base import Engine, Order
from kaosd.errors import BuildFailed, ConfigError
from kaosd.model import Environment, Host, Resources

Save = Callable[[Host, Order, dict[str, str]], Awaitable[None]]
IMPORT_EXTRA = f"import {EXTRA.partition('==')[0]} as extra; print(extra.__version__)"
VERSION = EXTRA.partition("==")[2]


def stored(host: Host) -> dict[str, object]:
    """The handle as the journal gives it back."""
    handle: dict[str, object] = json.loads(json.dumps(host.handle))
    return handle


async def test_an_environment_that_is_complete_is_known_by_its_digest(engine: Engine, base: Environment) -> None:
    assert await engine.built(base.digest) == base
    assert await engine.built("0" * 64) is None


async def test_a_requirement_that_cannot_be_had_fails_the_build(engine: Engine, log: Lines) -> None:
    inputs = Files.of("six\nno-such-package-of-kaosd\n")
    with pytest.raises(BuildFailed, match="no-such-package-of-kaosd"):
        await engine.build(SPEC, inputs, log)
    assert await engine.built(inputs.digest) is None


async def test_a_host_answers_with_its_token_and_refuses_without(engine: Engine, order: Order, log: Lines) -> None:
    host = await engine.start(order, log)
    async with lab(host, order) as there:
        assert (await there.request("GET", "api/status"))[0] == 200
        assert (await there.request("GET", "api/status", token="wrong"))[0] == 403


async def test_a_kernel_runs_a_cell_in_the_work_directory(
    engine: Engine, order_with: Callable[[str, str], Awaitable[Order]], log: Lines
) -> None:
    order = await order_with("greeting.txt", "hello")
    host = await engine.start(order, log)
    async with lab(host, order) as there:
        assert await there.run(await there.new_kernel(), "print(open('greeting.txt').read())") == "hello"


async def test_a_save_of_code_reaches_a_running_kernel(engine: Engine, order: Order, save: Save, log: Lines) -> None:
    """Without a build, a new host or the end of a kernel."""
    host = await engine.start(order, log)
    await save(host, order, {"answer.py": "ANSWER = 1\n", "gone.txt": "", "deep/er/data.txt": "one"})
    async with lab(host, order) as there:
        kernel = await there.new_kernel()
        assert await there.run(kernel, "mine = 7; import answer; print(answer.ANSWER)") == "1"
        await there.run(kernel, "print(open('made.txt', 'w').write('by the person'))")
        await save(host, order, {"answer.py": "ANSWER = 2\n", "deep/er/data.txt": "two"})
        look = (
            "import importlib, os; print(mine, importlib.reload(answer).ANSWER, open('deep/er/data.txt').read(),"
            " os.path.exists('gone.txt'), open('made.txt').read())"
        )
        assert await there.run(kernel, look) == "7 2 two False by the person"
    assert (await engine.probe(host)).answering


async def test_a_kernel_sees_its_notebook_and_no_secret(engine: Engine, order: Order, log: Lines) -> None:
    host = await engine.start(order, log)
    async with lab(host, order) as there:
        kernel = await there.new_kernel()
        printed = await there.run(kernel, "import json, os; print(json.dumps(dict(os.environ)))")
    variables = json.loads(printed)
    assert variables["KAOS_NOTEBOOK"] == SPEC.name
    assert (variables["KAOS_WORKSPACE"], variables["KAOS_USER"]) == (SPEC.workspace, SPEC.user)
    assert variables["DATA_REPO"] == f"data-{SPEC.name}"
    assert variables["KAOS_DATA"]
    assert "s3cret" not in printed
    assert not SECRETS.keys() & variables.keys()
    assert order.home.token_file.read_text() not in printed


async def test_a_probe_counts_kernels_and_tells_the_busy_ones(engine: Engine, order: Order, log: Lines) -> None:
    host = await engine.start(order, log)
    async with lab(host, order) as there:
        kernel = await there.new_kernel()
        await there.run(kernel, "1")
        idle = await engine.probe(host)
        running = asyncio.ensure_future(there.run(kernel, "import time; time.sleep(600)"))
        async with asyncio.timeout(30):
            while (busy := await engine.probe(host)).busy == 0:
                await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert (idle.alive, idle.answering, idle.kernels, idle.busy) == (True, True, 1, 0)
    assert (busy.alive, busy.answering, busy.kernels, busy.busy) == (True, True, 1, 1)


async def test_a_new_host_has_the_new_package(
    engine: Engine, order_for: Callable[..., Order], base: Environment, extended: Environment, log: Lines
) -> None:
    old = await engine.start(order_for(base), log)
    async with lab(old, order_for(base)) as there:
        assert "ModuleNotFoundError" in await there.run(await there.new_kernel(), IMPORT_EXTRA)
    new = await engine.start(order_for(extended), log)
    async with lab(new, order_for(extended)) as there:
        assert await there.run(await there.new_kernel(), IMPORT_EXTRA) == VERSION


async def test_data_is_replaced_under_a_running_kernel(engine: Engine, order: Order, log: Lines) -> None:
    for version in ("one", "two"):
        (order.home.root / "data-versions" / version).mkdir(parents=True)
        (order.home.root / "data-versions" / version / "which").write_text(version)
    read = "import os; print(open(os.environ['KAOS_DATA'] + '/which').read())"
    order.home.data.symlink_to(order.home.root / "data-versions" / "one")
    host = await engine.start(order, log)
    async with lab(host, order) as there:
        kernel = await there.new_kernel()
        assert await there.run(kernel, read) == "one"
        (order.home.root / "moved").symlink_to(order.home.root / "data-versions" / "two")
        (order.home.root / "moved").rename(order.home.data)
        assert await engine.reaches(host, None)
        assert await there.run(kernel, read) == "two"


async def test_what_a_kernel_writes_is_the_persons_own(engine: Engine, order: Order, log: Lines) -> None:
    host = await engine.start(order, log)
    async with lab(host, order) as there:
        assert await there.run(await there.new_kernel(), "print(open('new.txt', 'w').write('hello'))") == "5"
    written = (order.home.work / "new.txt").stat()
    assert (written.st_uid, written.st_gid) == (os.getuid(), os.getgid())
    (order.home.work / "new.txt").unlink()


async def test_a_cancelled_build_leaves_nothing_and_can_be_done_again(engine: Engine, log: Lines) -> None:
    inputs = Files.of("humanize==4.8.0\n")
    building = asyncio.ensure_future(engine.build(SPEC, inputs, log))
    async with asyncio.timeout(60):
        while not any("step" in line.lower() for line in log.lines):
            await asyncio.sleep(0.02)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert await engine.built(inputs.digest) is None


async def test_switch_refuses_an_environment_of_another_server(
    engine: Engine, order_for: Callable[..., Order], base: Environment, log: Lines
) -> None:
    host = await engine.start(order_for(base), log)
    other = Environment(base.digest, base.handle, "0" * 64)
    assert await engine.switch(host, order_for(other)) is None


async def test_two_hosts_of_a_notebook_live_until_one_is_stopped(engine: Engine, order: Order, log: Lines) -> None:
    old = await engine.start(order, log)
    new = await engine.start(order, log)
    assert (await engine.probe(old)).answering
    await engine.stop(old, 5)
    assert not (await engine.probe(old)).alive
    assert (await engine.probe(new)).answering


async def test_stop_ends_the_host_and_may_be_repeated(engine: Engine, order: Order, log: Lines) -> None:
    host = await engine.start(order, log)
    ending = asyncio.ensure_future(engine.ended(host))
    await engine.stop(host, 10)
    async with asyncio.timeout(10):
        await ending
        await engine.ended(host)
    await engine.stop(host, 10)
    status = await engine.probe(host)
    assert (status.alive, status.answering) == (False, False)
    assert status.reason
    assert await engine.adopt(stored(host)) is None


async def test_a_host_is_adopted_by_its_stored_handle(engine: Engine, order: Order, log: Lines) -> None:
    host = await engine.start(order, log)
    assert await engine.adopt(stored(host)) == host


async def test_a_switch_survives_in_the_handle(
    engine: Engine, order_for: Callable[..., Order], base: Environment, twin: Environment, log: Lines
) -> None:
    host = await engine.start(order_for(base), log)
    switched = await engine.switch(host, order_for(twin))
    assert switched is not None
    assert (switched.environment, switched.upstream) == (twin.digest, host.upstream)
    assert await engine.adopt(stored(switched)) == switched


async def test_a_sweep_ends_what_was_not_written_down(engine: Engine, order: Order, log: Lines) -> None:
    kept, lost = await engine.start(order, log), await engine.start(order, log)
    await engine.sweep(order.home, kept)
    assert (await engine.probe(kept)).answering
    assert not (await engine.probe(lost)).alive


async def test_an_environment_in_use_or_kept_is_not_collected(
    engine: Engine, order: Order, base: Environment, extended: Environment, log: Lines
) -> None:
    host = await engine.start(order, log)
    await engine.collect(frozenset({extended.digest}))
    assert await engine.built(base.digest) == base
    assert await engine.built(extended.digest) == extended
    assert (await engine.probe(host)).answering


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        (Resources(cpu=4096), "cpu 4096"),
        (Resources(memory="4096Ti"), "memory 4096Ti"),
        (Resources(gpu=4096), "gpu 4096"),
    ],
)
async def test_what_the_machine_does_not_have_is_refused(engine: Engine, resources: Resources, told: str) -> None:
    with pytest.raises(ConfigError, match=f"{told} is more than there is .this machine has "):
        engine.check(resources)
    engine.check(Resources())
