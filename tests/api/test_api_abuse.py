"""What clients must not get away with: slow, silent, huge, malformed, many, from a browser."""

from __future__ import annotations

import asyncio
import resource

import pytest
from structlog.testing import capture_logs
from wire import request

from kaosd import __version__
from kaosd.api.request_checks import parse
from kaosd.errors import ApiError

HEAD = b"GET /v1/status HTTP/1.1\r\nHost: kaosd\r\n"
PAUSE = b"POST /v1/notebooks/mnist/pause HTTP/1.1\r\nHost: kaosd\r\nContent-Type: application/json\r\n"


def peak_memory():
    """The most memory this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# -- slow and silent -------------------------------------------------------------------------------------------


async def test_a_silent_connection_is_closed(start, connect):
    await start(head=0.05)
    assert await (await connect()).closed() == b""


async def test_half_a_head_is_closed(start, connect):
    await start(head=0.05)
    client = await connect()
    await client.send(HEAD)
    assert await client.closed() == b""


async def test_a_head_byte_by_byte_is_closed(start, connect):
    await start(head=0.1)
    client = await connect()
    sent = 0

    async def drip():
        nonlocal sent
        while True:
            await client.send(b"X-Slow: y\r\n" if sent else HEAD)
            sent += 1
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    assert await client.closed() == b""
    dripping.cancel()
    await asyncio.wait([dripping])
    assert sent > 1


async def test_the_second_head_has_its_limit_too(start, connect):
    await start(head=0.05)
    client = await connect()
    assert (await client.ask("GET", "/v1/status")).status == 200
    await client.send(b"GET /v1")
    assert await client.closed() == b""


async def test_an_idle_connection_outlives_the_limit_of_heads_and_is_closed_by_its_own(start, connect):
    await start(head=0.05, idle=0.4)
    client = await connect()
    assert (await client.ask("GET", "/v1/status")).status == 200
    await asyncio.sleep(0.1)
    assert (await client.ask("GET", "/v1/status")).status == 200
    assert await client.closed() == b""


async def test_a_body_that_does_not_come_is_a_timeout(start, connect, daemon):
    await start(body=0.05)
    client = await connect()
    await client.send(PAUSE + b"Content-Length: 10\r\n\r\n{")
    answer = await client.answer()
    assert (answer.status, answer.json["code"]) == (408, "timeout")
    await client.closed()
    assert daemon.calls == []


async def test_a_body_may_take_longer_than_a_head(start, connect, daemon):
    await start(head=0.05)
    client = await connect()
    await client.send(PAUSE + b"Content-Length: 2\r\n\r\n{")
    await asyncio.sleep(0.15)
    await client.send(b"}")
    assert (await client.answer()).status == 200


async def test_an_answer_may_take_longer_than_a_head(start, connect, daemon):
    await start(head=0.05, idle=0.1)
    client = await connect()
    answer = await client.ask("GET", "/v1/events?timeout=0.3")
    assert answer.json["events"] == []


async def test_a_client_that_does_not_take_its_answers_is_closed(start, connect, daemon):
    await start(stall=0.1)
    daemon.big = "x" * 2_000_000
    client = await connect()
    client.writer.transport.pause_reading()
    before = peak_memory()

    async def ask_on():
        while True:
            await client.send(request("GET", "/v1/status") * 200)
            await asyncio.sleep(0.01)

    with pytest.raises(ConnectionError):
        await ask_on()
    assert peak_memory() - before < 100_000_000


# -- huge ------------------------------------------------------------------------------------------------------


async def test_a_gigabyte_of_body_is_refused_before_it_is_sent(client, daemon):
    before = peak_memory()
    await client.send(PAUSE + b"Content-Length: 1000000000\r\n\r\n")
    answer = await client.answer()
    assert (answer.status, answer.json["code"], answer.json["hint"]) == (413, "too_large", "at most 1 MB is taken")
    await client.closed()
    assert peak_memory() - before < 50_000_000
    assert daemon.calls == []


async def test_a_body_in_endless_chunks_is_refused(client, daemon):
    await client.send(PAUSE + b"Transfer-Encoding: chunked\r\n\r\n")
    before = peak_memory()
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sending = asyncio.create_task(client.send(chunk * 100))
    assert (await client.answer()).status == 413
    await client.closed()
    await asyncio.wait([sending])
    sending.exception()
    assert peak_memory() - before < 50_000_000
    assert daemon.calls == []


HUGE = {
    "one header": HEAD + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    "address": b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\nHost: kaosd\r\n\r\n",
    "many headers": HEAD + b"".join(b"X%d: y\r\n" % number for number in range(1000)) + b"\r\n",
}


@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE.keys())
async def test_a_huge_head_is_refused(client, data):
    await client.send(data)
    answer = await client.answer()
    assert answer.status in (400, 431)
    assert answer.headers["content-type"] == "application/problem+json"
    await client.closed()


# -- malformed -------------------------------------------------------------------------------------------------

MALFORMED = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "no HTTP": b"hello\r\n\r\n",
    "NUL in the address": b"GET /v1/st\0atus HTTP/1.1\r\nHost: kaosd\r\n\r\n",
    "NUL in a header": HEAD + b"X: a\0b\r\n\r\n",
    "length and chunks": PAUSE + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HEAD + b"\r\n",
    "two lengths": PAUSE + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}" + HEAD + b"\r\n",
    "negative length": PAUSE + b"Content-Length: -1\r\n\r\n",
    "length that is none": PAUSE + b"Content-Length: 2a\r\n\r\n{}",
    "folded header": HEAD + b"X: a\r\n b\r\n\r\n",
    "space before the colon": HEAD + b"X : a\r\n\r\n",
    "unknown version": b"GET /v1/status HTTP/9.9\r\nHost: kaosd\r\n\r\n",
    "terminal escapes": b"GET \x1b]0;x\x07 HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_no_request_is_refused_once_and_nothing_of_it_repeated(client, daemon, data):
    with capture_logs() as logs:
        await client.send(data)
        answer = await client.answer()
        assert await client.closed() == b""
    assert (answer.status, answer.json["code"]) == (400, "bad_request")
    assert answer.headers["kaosd-version"] == __version__
    assert answer.json["detail"] == "this is not a valid HTTP/1.1 request"
    assert [(entry["event"], entry["reason"]) for entry in logs] == [("connection_refused", "malformed request")]
    assert daemon.calls == []


async def test_a_malformed_chunk_is_refused(client, daemon):
    await client.send(PAUSE + b"Transfer-Encoding: chunked\r\n\r\n")
    await client.send(b"zz\r\n{}\r\n0\r\n\r\n")
    assert (await client.answer()).status == 400
    await client.closed()
    assert daemon.calls == []


async def test_pipelined_requests_are_answered_one_by_one(client, daemon):
    await client.send(request("POST", "/v1/notebooks/mnist/pause", {}) + request("GET", "/v1/version"))
    assert (await client.answer()).json["name"] == "mnist"
    assert (await client.answer()).json["schema"] == 1


async def test_an_upgrade_is_not_taken(client):
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n"
    assert (await client.ask("GET", "/v1/version", headers=upgrade)).json["schema"] == 1
    assert (await client.ask("GET", "/v1/version")).json["schema"] == 1


BODIES = {
    "deep": b"[" * 10_000 + b"]" * 10_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "huge number": b'{"timeout": ' + b"9" * 100_000 + b"}",
    "key given twice": b'{"force": false, "force": true}',
    "NaN": b'{"timeout": NaN}',
    "Infinity": b'{"timeout": -Infinity}',
    "no JSON": b"force=true",
    "cut off": b'{"force": tr',
    "empty": b"",
    "array": b"[]",
    "number": b"1",
    "not UTF-8": b'{"a": "\xff"}',
    "NUL": b"\0",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_that_is_no_plain_object_is_refused(body):
    with pytest.raises(ApiError) as error:
        parse(body)
    assert error.value.status == 400
    assert len(str(error.value)) < 200


async def test_a_json_bomb_is_a_problem_document(client, daemon):
    answer = await client.ask("POST", "/v1/notebooks/mnist/pause", BODIES["deep"])
    assert (answer.status, answer.json["detail"]) == (400, "the body has too many brackets")
    assert daemon.calls == []


async def test_a_million_keys_are_too_much(client, daemon):
    body = b"{" + b",".join(b'"%d":0' % number for number in range(1_000_000)) + b"}"
    await client.send(PAUSE + f"Content-Length: {len(body)}\r\n\r\n".encode())
    assert (await client.answer()).status == 413
    assert daemon.calls == []


# -- from a browser --------------------------------------------------------------------------------------------

FOREIGN = {
    "other host": "Host: evil.example\r\n",
    "our name at a port": "Host: localhost:8890\r\n",
    "two hosts": "Host: kaosd\r\nHost: evil.example\r\n",
    "Origin: null": "Origin: null\r\n",
    "Origin of ours": "Origin: http://kaosd\r\n",
    "Referer": "Referer: http://evil.example/\r\n",
    "fetch metadata": "sec-fetch-site: cross-site\r\n",
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN.keys())
async def test_what_a_web_page_can_send_is_refused(client, daemon, headers):
    if headers.startswith("Host: kaosd"):
        await client.send(f"POST /v1/stop HTTP/1.1\r\n{headers}\r\n".encode())
        answer = await client.answer()
        assert answer.status in (400, 403)
    else:
        answer = await client.ask("POST", "/v1/stop", headers=headers)
        assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert daemon.calls == []


@pytest.mark.parametrize("host", ["kaosd", "KAOSD", "localhost", ""])
async def test_our_own_names_are_taken(client, host):
    assert (await client.ask("GET", "/v1/version", headers=f"Host: {host}\r\n")).status == 200


async def test_an_address_for_another_host_is_refused(client):
    assert (await client.ask("GET", "http://evil.example/v1/status")).status == 403


async def test_an_old_client_without_host_is_answered(client):
    await client.send(b"GET /v1/version HTTP/1.0\r\n\r\n")
    assert (await client.answer()).json["schema"] == 1


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
async def test_a_body_of_another_type_is_refused(client, daemon, kind):
    headers = f"Content-Length: 2\r\n{f'Content-Type: {kind}' if kind else 'X: y'}\r\n"
    answer = await client.ask("POST", "/v1/notebooks/mnist/pause", b"{}", headers)
    assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")
    assert daemon.calls == []


# -- many ------------------------------------------------------------------------------------------------------


async def test_200_idle_connections_starve_nobody(api, connect):
    idle = [await connect() for _ in range(200)]
    assert (await (await connect()).ask("GET", "/v1/status")).status == 200
    assert await idle[0].closed() == b""


async def test_the_longest_idle_connection_makes_room(start, connect):
    await start(connections=3)
    clients = [await connect() for _ in range(3)]
    for client in (clients[1], clients[0], clients[2]):
        await client.ask("GET", "/v1/status")
    assert (await (await connect()).ask("GET", "/v1/status")).status == 200
    assert await clients[1].closed() == b""
    assert (await clients[0].ask("GET", "/v1/status")).status == 200


async def test_where_all_are_busy_a_further_connection_is_refused(start, connect, daemon, eventually):
    await start(connections=2)
    for _ in range(2):
        await (await connect()).send(request("GET", "/v1/events?timeout=60"))
    await eventually(lambda: daemon.waiting == 2)
    with capture_logs() as logs:
        assert await (await connect()).closed() == b""
    assert logs[0]["reason"] == "too many connections"
    await daemon.publish("state")
    await eventually(lambda: daemon.waiting == 0)
    assert (await (await connect()).ask("GET", "/v1/status")).status == 200
