"""Requests passed on to a real server over a Unix socket and over TCP."""

from __future__ import annotations

import asyncio
import hashlib
import resource
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from .world import DAEMON, TOKEN, Upstream, World

Served = tuple[World, Upstream]


async def told(world: World, path: str, **options: object) -> dict[str, object]:
    async with world.get(path, **options) as answer:
        assert answer.status == 200
        found = await answer.json()
    found["headers"] = {name.lower(): value for name, value in found["headers"]}
    return found


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_the_host_sees_method_path_query_and_body(served: Served, method: str) -> None:
    world, _ = served
    target = "/nb/echo/a%2Fb/%C3%A4/../c;d?x=%20+1&y&z=%26"
    body = b"" if method in ("GET", "OPTIONS") else b"some text"
    async with world.client.request(
        method,
        URL(world.front.url + target, encoded=True),
        data=body or None,
        headers={"Authorization": f"token {TOKEN}"},
    ) as answer:
        found = await answer.json()
    assert (found["method"], found["target"], found["body"]) == (method, target, body.decode())


async def test_the_host_sees_its_token_and_the_browser_s_host_and_none_of_our_secrets(served: Served) -> None:
    world, _ = served
    headers = {
        "Cookie": "_xsrf=1; kaosd-1-nb=secret; username=ada; kaosd-1=secret",
        "Referer": f"{world.front.url}/nb/lab?token={TOKEN}&a=1",
        "Connection": "X-Hop",
        "X-Hop": "1",
        "TE": "trailers",
        "Keep-Alive": "1",
        "Proxy-Authorization": "secret",
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        "X-Real-IP": "6.6.6.6",
        "Forwarded": "for=6.6.6.6",
        "X-End": "kept",
    }
    seen = (await told(world, "/nb/echo", token=DAEMON, headers=headers))["headers"]
    assert isinstance(seen, dict)
    assert seen["authorization"] == f"token {TOKEN}"
    assert seen["host"] == world.host
    assert seen["cookie"] == "_xsrf=1; username=ada"
    assert seen["referer"] == f"{world.front.url}/nb/lab?a=1"
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert seen["x-end"] == "kept"
    assert not {"x-hop", "te", "keep-alive", "proxy-authorization", "x-real-ip", "forwarded"} & seen.keys()
    assert not {"secret", "6.6.6.6", DAEMON} & set(str(seen).replace(";", "'").split("'"))


async def test_the_client_sees_status_and_end_to_end_headers(served: Served) -> None:
    world, _ = served
    async with world.get("/nb/echo") as answer:
        assert answer.headers.getall("Set-Cookie") == ["a=1; Path=/nb/", "b=2"]
        assert answer.headers["X-Kept"] == "1"
        assert "X-Private" not in answer.headers
    async with world.get("/nb/nothing") as answer:
        assert answer.status == 404
    async with world.get("/nb/redirect") as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/nb/lab?next=1")
    async with world.get("/nb/lab", method="HEAD") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 0


async def test_compressed_bytes_are_not_touched(served: Served) -> None:
    world, _ = served
    async with aiohttp.ClientSession(auto_decompress=False) as client:
        headers = {"Authorization": f"token {TOKEN}"}
        async with client.get(world.front.url + "/nb/gzip", headers=headers) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert await answer.read() == b"\x1f\x8bnot really"
        packed = b"\x1f\x8bneither"
        digest = {**headers, "Content-Encoding": "gzip"}
        async with client.put(world.front.url + "/nb/upload", data=packed, headers=digest) as answer:
            assert (await answer.json())["digest"] == hashlib.sha256(packed).hexdigest()


async def test_ranges_are_served(served: Served) -> None:
    world, _ = served
    async with world.get("/nb/file", headers={"Range": "bytes=3-8"}) as answer:
        assert answer.status == 206
        assert answer.headers["Content-Range"].startswith("bytes 3-8/")
        assert len(await answer.read()) == 6


async def test_an_answer_streams_while_the_host_still_writes(served: Served) -> None:
    world, server = served
    async with world.get("/nb/stream") as answer:
        assert await answer.content.readexactly(5) == b"first"
        server.hold.set()
        assert await answer.read() == b"second"


async def test_an_answer_that_breaks_off_does_not_look_whole(served: Served) -> None:
    world, server = served
    async with world.get("/nb/broken") as answer:
        assert await answer.content.readexactly(4) == b"half"
        server.hold.set()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_fifty_megabytes_up_and_down_in_bounded_memory(served: Served) -> None:
    world, _ = served
    megabyte = bytes(range(256)) * 4096
    expected = hashlib.sha256(megabyte * 50).hexdigest()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield megabyte

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with world.get("/nb/upload", method="PUT", data=body()) as answer:
        got = await answer.json()
    size = 0
    async with world.get("/nb/big") as answer:
        async for chunk in answer.content.iter_any():
            size += len(chunk)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (got["digest"], got["size"], size) == (expected, 50 * 2**20, 50 * 2**20)
    assert got["chunk"] <= 4 * 2**20
    assert grown < 25 * 1024  # kilobytes; client, front and server are all in this process


async def test_an_upload_that_waits_to_be_asked_for_is_asked_for(served: Served) -> None:
    world, _ = served
    async with world.get("/nb/upload", method="PUT", data=b"x" * 1000, expect100=True) as answer:
        assert (await answer.json())["size"] == 1000
    async with world.get("/nb/upload", None, method="PUT", data=b"x" * 1000, expect100=True) as answer:
        assert answer.status == 401


async def test_a_client_that_leaves_ends_the_request_at_the_host(served: Served) -> None:
    world, server = served
    asking = asyncio.ensure_future(told(world, "/nb/held"))
    await server.held.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    server.hold.set()
    assert (await told(world, "/nb/echo"))["label"] == "one"


async def test_a_steady_probe_through_a_swap_with_a_gap_sees_no_failure(world: World) -> None:
    _, old, old_runner = await world.upstream("old")
    world.directory.put("nb", old)
    labels: list[object] = []
    stop = asyncio.Event()
    answered = asyncio.Event()

    async def probe() -> None:
        while not stop.is_set():
            labels.append((await told(world, "/nb/echo"))["label"])
            answered.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(probe())
        await answered.wait()
        world.directory.waiting.clear()
        await old_runner.cleanup()  # gone, and the directory has not heard of it
        await world.directory.waiting.wait()  # a probe was refused and waits for news
        world.directory.put("nb", None, "swapping")
        _, new, _ = await world.upstream("new")
        world.directory.put("nb", new)
        while "new" not in labels[-4:]:
            answered.clear()
            await answered.wait()
        stop.set()
    assert set(labels) == {"old", "new"}
    assert labels == sorted(labels, reverse=True)  # old ones first, and then only new ones


async def test_a_save_that_no_host_took_is_sent_to_the_next_one(world: World) -> None:
    world.directory.put("nb", f"unix:{world.place}/nobody.sock")
    save = asyncio.ensure_future(told(world, "/nb/echo", method="PUT", data=b"work"))
    await world.directory.waiting.wait()
    _, address, _ = await world.upstream("new")
    world.directory.put("nb", address)
    found = await save
    assert (found["label"], found["body"]) == ("new", "work")


async def test_a_save_in_flight_when_the_host_dies_is_not_sent_twice(world: World) -> None:
    taken = 0

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        taken += 1
        await reader.readuntil(b"work")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(swallow, world.place / "s.sock")
    world.directory.put("nb", f"unix:{world.place}/s.sock")
    async with world.get("/nb/echo", method="PUT", data=b"work") as answer:
        assert answer.status == 502
        assert answer.content_type == "application/problem+json"
    assert taken == 1
    server.close()
    await server.wait_closed()


async def test_a_request_in_flight_ends_on_the_old_host_while_new_ones_go_to_the_new(world: World) -> None:
    old, address, _ = await world.upstream("old")
    world.directory.put("nb", address)
    async with world.get("/nb/stream") as answer:
        assert await answer.content.readexactly(5) == b"first"
        _, new, _ = await world.upstream("new")
        world.directory.put("nb", new)
        assert (await told(world, "/nb/echo"))["label"] == "new"
        old.hold.set()
        assert await answer.read() == b"second"


async def test_a_program_is_told_why_no_host_answers(world: World) -> None:
    world.directory.put("nb", None, "failed", reason="line 3 of requirements.txt names no package")
    async with world.get("/nb/api/status") as answer:
        assert (answer.status, answer.content_type) == (503, "application/problem+json")
        assert answer.headers["Retry-After"] == "2"
        found = await answer.json()
    assert (found["state"], found["reason"]) == ("failed", "line 3 of requirements.txt names no package")


async def test_a_stopped_notebook_is_started_for_a_person_and_not_for_a_program(world: World) -> None:
    """The requests of a tab that was left open must not undo a stop."""
    world.directory.put("nb", None, "stopped", reason="stopped by you")
    async with world.get("/nb/api/kernels") as answer:
        assert answer.status == 503
        assert (await answer.json())["reason"] == "stopped by you"
    assert world.directory.woken == []
    page = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with world.get("/nb/lab", headers=page) as answer:
        assert (answer.status, answer.content_type) == (503, "text/html")
        assert "Starting JupyterLab" in await answer.text()
    assert world.directory.woken == ["nb"]


async def test_a_notebook_that_is_killed_meanwhile_is_not_found(world: World) -> None:
    world.directory.put("nb", None, "building")
    asking = asyncio.ensure_future(world.get("/nb/api/status").__aenter__())
    await world.directory.waiting.wait()
    del world.directory.known["nb"]
    world.directory.publish()
    answer = await asking
    assert answer.status == 404
    answer.release()


async def test_bytes_that_are_no_text_do_not_break_the_exchange(served: Served) -> None:
    world, _ = served
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    head = f"GET /nb/echo HTTP/1.1\r\nHost: {world.host}\r\nAuthorization: token {TOKEN}\r\nX-Name: caf\xe9\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode("latin-1"))
    status = await reader.readline()
    body = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert status.split()[1] == b"200"
    assert b"caf\\u00e9" in body


async def test_who_asks_while_a_notebook_is_replaced_is_served_by_the_host_that_runs_or_waits_for_the_next_one(
    served: Served,
) -> None:
    world, _ = served
    directory, upstream = world.directory, world.directory.known["nb"].upstream
    directory.sure.clear()
    assert (await told(world, "/nb/echo/saved", method="PUT"))["method"] == "PUT"
    del directory.known["nb"]
    later = asyncio.create_task(told(world, "/nb/echo/later"))
    await asyncio.wait_for(directory.unsure.wait(), 10)
    assert not later.done()
    directory.put("nb", upstream)
    directory.sure.set()
    assert (await asyncio.wait_for(later, 10))["method"] == "GET"


async def test_who_waits_for_a_host_is_not_told_that_a_notebook_is_not_there_while_it_is_replaced(
    world: World,
) -> None:
    directory = world.directory
    directory.put("nb", None, "building")
    asking = asyncio.ensure_future(world.get("/nb/echo/save", method="PUT", data=b"work").__aenter__())
    await asyncio.wait_for(directory.waiting.wait(), 10)
    directory.sure.clear()
    directory.unsure.clear()
    del directory.known["nb"]
    directory.publish()
    await asyncio.wait_for(directory.unsure.wait(), 10)
    directory.put("nb", None, "stopped")
    directory.sure.set()
    answer = await asyncio.wait_for(asking, 10)
    assert answer.status == 503
    answer.close()
