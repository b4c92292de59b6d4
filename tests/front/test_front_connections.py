"""The port and its connections under abuse, with raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from pathlib import Path

import pytest

from kaosd.errors import ConfigError
from kaosd.front import Front
from kaosd.front.connections import has_ipv6, listen, most_connections

from .world import TOKEN, FakeDirectory, World


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")],
)
async def test_a_taken_port_is_named_with_its_holder(family: socket.AddressFamily, address: str) -> None:
    with socket.create_server((address, 0), family=family, dualstack_ipv6=family == socket.AF_INET6) as holder:
        port = holder.getsockname()[1]
        front = Front(FakeDirectory(), port)
        with pytest.raises(ConfigError) as refusal:
            await front.start()
        await front.close()
    assert f"port {port} " in refusal.value.text
    assert f"(process {os.getpid()})" in refusal.value.text
    assert "front.port" in refusal.value.hint


async def test_the_front_listens_on_loopback_only(world: World) -> None:
    assert world.front.url == f"http://127.0.0.1:{world.port}"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", world.port)):
        pass


async def test_the_port_can_be_had_again_at_once(world: World) -> None:
    async with world.get("/nb/") as answer:
        assert answer.status == 401
    await world.front.close()
    again = Front(world.directory, world.port)
    await again.start()
    await again.close()


async def raw(world: World, text: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(text.encode("latin-1"))
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("GET /nb/ HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param("GET http://{host}/nb/ HTTP/1.1\r\nHost: {host}\r\n\r\n", id="absolute form"),
        pytest.param("GET http://evil/ HTTP/1.1\r\nHost: {host}\r\n\r\n", id="other address in the request line"),
        pytest.param("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n", id="connect"),
        pytest.param("TRACE /nb/ HTTP/1.1\r\nHost: {host}\r\n\r\n", id="trace"),
        pytest.param("GET // HTTP/1.1\r\nHost: {host}\r\n\r\n", id="two slashes"),
        pytest.param("GET /n\x00b/ HTTP/1.1\r\nHost: {host}\r\n\r\n", id="nul"),
        pytest.param("GET /nb/ HTTP/1.1\r\nHost: {host}\r\nX: " + "x" * 100_000 + "\r\n\r\n", id="100 kB header"),
        pytest.param(
            "POST /nb/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="two lengths",
        ),
        pytest.param("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="tls"),
    ],
)
async def test_a_malformed_request_is_refused_and_the_front_lives(world: World, head: str) -> None:
    reader, writer = await raw(world, head.replace("{host}", world.host))
    status = await reader.readline()
    assert status.split()[1] in (b"400", b"403", b"405"), status
    writer.close()
    await writer.wait_closed()
    async with world.get("/nb/") as answer:
        assert answer.status == 401


@pytest.mark.parametrize(
    "start", ["", "GET /nb/ HT", "POST /nb/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\n"]
)
async def test_those_who_only_hold_connections_do_not_starve_others(
    short_directory: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    monkeypatch.setattr("kaosd.front.server.most_connections", lambda: 16)
    async with contextlib.AsyncExitStack() as stack:
        world = World(stack, short_directory)
        await world.open()
        _, address, _ = await world.upstream("one")
        world.directory.put("nb", address)
        async with world.client.ws_connect("/nb/socket", headers={"Authorization": f"token {TOKEN}"}) as ws:
            held = [await raw(world, start.replace("{host}", world.host)) for _ in range(60)]
            async with world.get("/nb/lab") as answer:
                assert answer.status == 200
            await ws.send_str("still here")  # who was admitted is not thrown out
            assert await ws.receive_str() == "one: still here"
            for reader, _ in held[:40]:  # the oldest were closed for the newer ones
                with contextlib.suppress(ConnectionResetError):
                    await reader.read()
            for _, writer in held:
                writer.close()


async def test_half_a_request_is_not_waited_for_for_ever(
    short_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaosd.front.connections._IDLE_SECONDS", 0.2)
    async with contextlib.AsyncExitStack() as stack:
        world = World(stack, short_directory)
        await world.open()
        for start in ("", "GET /nb/ HTTP/1.1\r\nHost: "):
            reader, writer = await raw(world, start)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(("files", "most"), [(1024, 298), (128, 16), (10**6, 512), (resource.RLIM_INFINITY, 512)])
def test_the_number_of_connections_follows_the_number_of_files(
    monkeypatch: pytest.MonkeyPatch, files: int, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert most_connections() == most


def test_the_front_listens_at_all_that_localhost_may_mean() -> None:
    found = listen(0)
    addresses = {one.getsockname()[:2] for one in found}
    port = found[0].getsockname()[1]
    assert addresses == {("127.0.0.1", port), *([("::1", port)] if has_ipv6() else [])}
    for one in found:
        one.close()


def test_a_port_of_which_another_has_a_part_is_not_taken_at_all() -> None:
    (first, *others) = listen(0)
    port = first.getsockname()[1]
    for one in others:
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is taken"):
            listen(port)
        first.close()
        with pytest.raises(ConfigError, match=f"port {port} of ::1 is taken"):
            listen(port)
        one.close()
        for again in listen(port):
            again.close()
    first.close()


def test_given_sockets_are_used_where_they_fit_and_closed_where_not() -> None:
    given = listen(0)
    port = given[0].getsockname()[1]
    assert listen(port, given) == given
    other, deaf = listen(0), socket.socket()
    deaf.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_UNIX) as unix:
        assert listen(port, [*given, *other, deaf, unix]) == given
        assert [one.fileno() for one in (*other, deaf, unix)] == [-1] * (len(other) + 2)
    for one in given:
        one.close()
