"""The connections to the hosts: how many requests are sent to one at once, and when its connections are closed."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from kaosd.front import upstream
from kaosd.front.upstream import AT_ONCE, Upstream, Upstreams

from .world import World

LONG = 1000.0  # seconds


async def test_a_host_is_sent_few_requests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TURN", LONG)
    host = Upstream("unix:/nowhere")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(host.close)
        for _ in range(AT_ONCE - 1):
            await stack.enter_async_context(host.turn())
        async with host.turn():
            waiting = asyncio.create_task(stack.enter_async_context(host.turn()))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not waiting.done()
        await waiting


async def test_a_request_that_was_given_up_gives_its_turn_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TURN", LONG)
    host = Upstream("unix:/nowhere")
    for _ in range(AT_ONCE + 1):
        with pytest.raises(TimeoutError):
            async with host.turn():
                raise TimeoutError
    async with host.turn():
        await host.close()


async def test_requests_that_wait_at_the_host_delay_no_others(world: World) -> None:
    server, address, _ = await world.upstream("slow")
    world.directory.put("nb", address)
    waiting = [asyncio.create_task(world.get("/nb/held").__aenter__()) for _ in range(3 * AT_ONCE)]
    async with world.get("/nb/echo") as answer:
        assert answer.status == 200
    server.hold.set()
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * (3 * AT_ONCE)
    for one in waiting:
        one.result().release()


async def test_the_connections_to_an_earlier_host_are_closed() -> None:
    addresses: dict[str, str] = {"nb": "unix:/old", "other": "unix:/other"}
    hosts = Upstreams(addresses.get)
    async with hosts.use("other", "unix:/other") as other:
        async with hosts.use("nb", "unix:/old") as old:
            addresses["nb"] = "unix:/new"
            async with hosts.use("nb", "unix:/new") as new:
                assert not old.kept.closed  # a request is still there
        assert old.kept.closed
        del addresses["nb"]
        assert not new.kept.closed
        async with hosts.use("third", "unix:/third"):
            assert new.kept.closed
            assert not other.kept.closed
    await hosts.close()
    assert other.kept.closed
