"""Websockets through the front, in both directions, to a real server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from .world import TOKEN, Upstream, World

Served = tuple[World, Upstream]
AUTHORIZED = {"Authorization": f"token {TOKEN}"}


def connect(world: World, query: str = "", **options: Any) -> Any:
    options = {"headers": AUTHORIZED, "max_msg_size": 0} | options
    return world.client.ws_connect(f"/nb/socket{query}", **options)


async def test_text_and_binary_go_both_ways(served: Served) -> None:
    world, _ = served
    async with connect(world) as ws:
        await ws.send_str("grüß")
        assert await ws.receive_str() == "one: grüß"
        await ws.send_bytes(bytes(range(256)))
        assert await ws.receive_bytes() == bytes(reversed(range(256)))
        await ws.send_bytes(b"")
        assert await ws.receive_bytes() == b""


async def test_the_notebook_counts_as_used_while_a_tab_is_open(served: Served) -> None:
    world, _ = served
    async with connect(world) as ws:
        await ws.send_str("a")
        assert await ws.receive_str() == "one: a"
        assert world.directory.used == ["nb"]
    async with asyncio.timeout(10):
        while world.directory.used:
            await asyncio.sleep(0.01)


async def test_large_messages_go_both_ways(served: Served) -> None:
    world, _ = served
    async with connect(world) as ws:
        await ws.send_bytes(b"ab" * (10 * 2**20))
        assert await ws.receive_bytes() == b"ba" * (10 * 2**20)


async def test_many_messages_stay_in_order(served: Served) -> None:
    world, _ = served
    async with connect(world) as ws:
        sending = asyncio.gather(*(ws.send_str(str(number)) for number in range(500)))
        got = [await ws.receive_str() for _ in range(500)]
        await sending
    assert got == [f"one: {number}" for number in range(500)]


async def test_a_client_that_does_not_read_holds_the_host_back(served: Served) -> None:
    """The front keeps no more than its buffers: what the host sends waits at the host."""
    world, server = served
    async with connect(world) as ws:
        for _ in range(60):
            await ws.send_str("big 1000000")
        for _ in range(100):  # time enough to send it all, if nothing held it back
            async with world.get("/nb/lab") as answer:
                assert answer.status == 200
        assert 0 < server.sent < 60
        sizes = [len(await ws.receive_bytes()) for _ in range(60)]
    assert sizes == [1_000_000] * 60


@pytest.mark.parametrize(
    ("offered", "chosen"), [(("v2.kernel", "v1.kernel"), "v2.kernel"), (("other",), None), ((), None)]
)
async def test_the_host_chooses_the_subprotocol(served: Served, offered: tuple[str, ...], chosen: str | None) -> None:
    world, _ = served
    async with connect(world, protocols=offered) as ws:
        assert ws.protocol == chosen


async def test_pings_reach_the_host_and_its_pongs_come_back(served: Served) -> None:
    world, server = served
    async with connect(world, autoping=False) as ws:
        await ws.ping(b"are you there")
        pong = await ws.receive()
        assert (pong.type, bytes(pong.data)) == (WSMsgType.PONG, b"are you there")
        assert await server.pings.get() == b"are you there"


async def test_the_host_s_close_code_and_reason_reach_the_client(served: Served) -> None:
    world, _ = served
    async with connect(world, autoclose=False) as ws:
        await ws.send_str("close 4001 kernel died")
        message = await ws.receive()
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4001, "kernel died")


async def test_the_client_s_close_code_reaches_the_host(served: Served) -> None:
    world, server = served
    async with connect(world) as ws:
        await ws.close(code=4002, message=b"bye")
    assert (await server.closes.get())[0] == 4002


async def test_a_host_that_vanishes_closes_the_socket_for_a_new_attempt(served: Served) -> None:
    world, _ = served
    async with connect(world, autoclose=False) as ws:
        await ws.send_str("vanish")
        message = await ws.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, aiohttp.WSCloseCode.SERVICE_RESTART)


async def test_a_client_that_vanishes_closes_the_socket_at_the_host(served: Served) -> None:
    world, server = served
    async with aiohttp.ClientSession() as other:
        ws = await other.ws_connect(world.front.url + "/nb/socket", headers=AUTHORIZED)
        await ws.send_str("hello")
        await ws.receive_str()
        ws._response.connection.transport.abort()
        assert (await server.closes.get())[0] in (aiohttp.WSCloseCode.GOING_AWAY, 1012)
        await ws.close()


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        pytest.param({}, "", 401, id="no token"),
        pytest.param({"Authorization": "token wrong"}, "", 401, id="wrong token"),
        pytest.param({**AUTHORIZED, "Origin": "http://evil.example"}, "", 403, id="foreign origin"),
        pytest.param({**AUTHORIZED, "Origin": "null"}, "", 403, id="null origin"),
        pytest.param({**AUTHORIZED, "Host": "evil.example"}, "", 403, id="foreign host"),
        pytest.param(AUTHORIZED, "?refuse=1", 403, id="refused by the host"),
    ],
)
async def test_a_handshake_is_refused(served: Served, headers: dict[str, str], query: str, status: int) -> None:
    world, _ = served
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await connect(world, query, headers=headers)
    assert refusal.value.status == status


async def test_a_token_in_the_query_opens_a_socket(served: Served) -> None:
    world, _ = served
    async with connect(world, f"?token={TOKEN}", headers={"Origin": world.front.url}) as ws:
        await ws.send_str("hello")
        assert await ws.receive_str() == "one: hello"


async def test_a_socket_waits_for_the_host_of_a_swap(world: World) -> None:
    world.directory.put("nb", None, "swapping")
    opening = asyncio.ensure_future(connect(world).__aenter__())
    await world.directory.waiting.wait()
    _, address, _ = await world.upstream("new")
    world.directory.put("nb", address)
    ws = await opening
    await ws.send_str("hello")
    assert await ws.receive_str() == "new: hello"
    await ws.close()


async def test_closing_the_front_tells_open_sockets(served: Served) -> None:
    world, server = served
    async with connect(world) as ws:
        closing = asyncio.ensure_future(world.front.close())
        message = await ws.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, aiohttp.WSCloseCode.SERVICE_RESTART)
        await closing
    await server.closes.get()


async def test_a_message_without_end_ends_the_websocket_and_fills_no_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a notebook's code can send it in the place of JupyterLab."""
    monkeypatch.setattr("kaosd.front.sockets._MESSAGE", 2**20)
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
        writer.write(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept)
        writer.write(b"\r\n\r\n\x82\x7f" + (2**40).to_bytes(8))
        try:
            while sent < 200:
                writer.write(b"x" * 2**20)
                await writer.drain()
                sent += 1
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, str(world.place / "raw"))
    world.directory.put("nb", f"unix:{world.place / 'raw'}")
    async with connect(world) as ws:
        message = await ws.receive(30)
    assert message.type is WSMsgType.CLOSE
    assert sent < 50
    server.close()
