"""What pages may ask of the daemon, and what others may not: answers, actions, streams, one-time addresses."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from kaosd.front import access, streams
from kaosd.front.verbs import CONSOLE_ACTIONS, PAGE_ACTIONS, READS
from kaosd.metrics import CONTENT_TYPE

from .world import DAEMON, TOKEN, World

DELIBERATE = {"X-Kaosd": "1"}


def cookie(world: World, scope: str, host: str = "") -> dict[str, str]:
    """What a signed-in browser sends."""
    token = DAEMON if scope == "" else world.directory.known[scope].token
    name, value = access.cookie_for(scope, token, str(world.port), world.front._key)
    host = host or (world.index_host if scope == "" else world.host)
    return {"Host": host, "Cookie": f"{name}={value}", "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize("verb", sorted(READS - {"logs"}))
async def test_a_page_reads_the_daemons_own_answers(world: World, verb: str) -> None:
    world.directory.put("nb", None, "failed")
    async with world.get(f"/nb/kaosd/{verb}?lines=3&token=x&path=a%20b", None, headers=cookie(world, "nb")) as answer:
        assert answer.status == 200
        assert await answer.json() == {"verb": verb, "name": "nb"}
        assert answer.headers["Cache-Control"] == "no-store"
    console = cookie(world, "")
    async with world.get(f"/kaosd/notebooks/nb/{verb}?lines=3&path=a%20b", None, headers=console) as answer:
        assert answer.status == 200
    assert world.directory.asked == [("GET", "nb", verb, "lines=3&path=a%20b", b"")] * 2


async def test_the_console_is_answered_when_it_is_certain_what_is_there(world: World) -> None:
    world.directory.sure.clear()
    asking = asyncio.ensure_future(world.get("/kaosd/notebooks/nb/history", DAEMON).__aenter__())
    await asyncio.wait_for(world.directory.unsure.wait(), 10)
    world.directory.put("nb", None, "stopped")
    world.directory.sure.set()
    answer = await asyncio.wait_for(asking, 10)
    assert (answer.status, await answer.json()) == (200, {"verb": "history", "name": "nb"})


async def test_status_of_one_notebook_and_of_all(world: World) -> None:
    world.directory.put("nb", None, "failed")
    async with world.get("/nb/kaosd/status", None, headers=cookie(world, "nb")) as answer:
        assert answer.status == 200
    async with world.get("/kaosd/status", DAEMON) as answer:
        assert answer.status == 200
    assert [one[:3] for one in world.directory.asked] == [("GET", "nb", ""), ("GET", "", "status")]


@pytest.mark.parametrize("verb", sorted(PAGE_ACTIONS))
async def test_a_page_acts_on_its_own_notebook(world: World, verb: str) -> None:
    world.directory.put("nb", None, "live")
    sent = cookie(world, "nb") | DELIBERATE | {"Content-Type": "application/json"}
    async with world.get(f"/nb/kaosd/{verb}", None, "POST", headers=sent, data=b'{"to": 3}') as answer:
        document = await answer.json()
        assert answer.status == (409 if verb == "cancel" else 200)
        assert answer.content_type == ("application/problem+json" if verb == "cancel" else "application/json")
    assert document.get("hint", "wait") == "wait"
    assert world.directory.asked == [("POST", "nb", verb, "", b'{"to": 3}')]


async def test_a_program_acts_with_the_token_and_without_an_origin(world: World) -> None:
    world.directory.put("nb", None, "live")
    async with world.get("/nb/kaosd/redeploy", TOKEN, "POST", headers=DELIBERATE) as answer:
        assert answer.status == 200
    async with world.get("/kaosd/notebooks/nb/stop", DAEMON, "POST", headers=DELIBERATE) as answer:
        assert answer.status == 200
    assert [one[2] for one in world.directory.asked] == ["redeploy", "stop"]


def test_what_only_the_control_socket_may_is_in_no_table() -> None:
    assert not (CONSOLE_ACTIONS | PAGE_ACTIONS) & {"deploy", "kill", "reload", "wait", "clear", "open"}
    assert "stop" not in PAGE_ACTIONS


REFUSED: list[Any] = [
    pytest.param("/nb/kaosd/redeploy", {"Origin": "http://evil.example"}, {}, 403, id="origin of another site"),
    pytest.param("/nb/kaosd/redeploy", {"Origin": "null"}, {}, 403, id="origin of a sandbox"),
    pytest.param("/nb/kaosd/redeploy", {"Origin": "http://127.0.0.1:1"}, {}, 403, id="origin of another port"),
    pytest.param("/nb/kaosd/redeploy", {"Origin": None}, {}, 403, id="cookie without an origin"),
    pytest.param("/nb/kaosd/redeploy", {"X-Kaosd": None}, {}, 403, id="header missing"),
    pytest.param("/nb/kaosd/redeploy", {"X-Kaosd": "0"}, {}, 403, id="header wrong"),
    pytest.param("/nb/kaosd/redeploy", {"Sec-Fetch-Site": "cross-site"}, {}, 403, id="another site"),
    pytest.param("/nb/kaosd/redeploy", {"Sec-Fetch-Site": "same-site"}, {}, 403, id="another port"),
    pytest.param("/nb/kaosd/redeploy", {"Host": "evil.example"}, {}, 403, id="name of another site"),
    pytest.param("/nb/kaosd/redeploy", {"Cookie": None}, {}, 401, id="no cookie"),
    pytest.param("/other/kaosd/redeploy", {}, {}, 401, id="cookie of another notebook"),
    pytest.param("/kaosd/notebooks/nb/redeploy", {}, {}, 401, id="cookie of a notebook at the console"),
    pytest.param("/kaosd/notebooks/other/redeploy", {}, {}, 401, id="the console for another notebook"),
    pytest.param("/nb/kaosd/redeploy", {"Content-Type": "text/plain"}, {"data": b"{}"}, 415, id="a form's body"),
    pytest.param("/nb/kaosd/redeploy", {}, {"data": b" " * 70_000}, 413, id="too large"),
    pytest.param("/nb/kaosd/kill", {}, {}, 404, id="kill"),
    pytest.param("/nb/kaosd/stop", {}, {}, 404, id="stop, from the notebook's page"),
    pytest.param("/nb/kaosd/wait", {}, {}, 404, id="wait"),
    pytest.param("/nb/kaosd/redeploy/x", {}, {}, 404, id="more behind it"),
    pytest.param("/nb/kaosd/notebooks/other/redeploy", {}, {}, 404, id="the console below a notebook"),
    pytest.param("/nb/kaosd/..%2f..%2fother/kaosd/redeploy", {}, {}, 404, id="up and down again"),
    pytest.param("/nb/kaosd/history", {}, {}, 405, id="a post to what is read"),
    pytest.param("/nb/kaosd/events", {}, {}, 405, id="a post to the stream"),
]


@pytest.mark.parametrize(("path", "headers", "options", "status"), REFUSED)
async def test_an_action_is_refused(
    world: World, path: str, headers: dict[str, str | None], options: dict[str, Any], status: int
) -> None:
    world.directory.put("nb", None, "live")
    world.directory.put("other", None, "live")
    sent = cookie(world, "nb") | DELIBERATE | {"Content-Type": "application/json"} | headers
    kept = {name: value for name, value in sent.items() if value is not None}
    url = aiohttp.client.URL(world.front.url + path, encoded=True)
    async with world.client.post(url, headers=kept, skip_auto_headers=["Content-Type"], **options) as answer:
        assert answer.status == status
        assert (await answer.json())["detail"]
    assert world.directory.asked == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_only_post_changes_anything(world: World, method: str) -> None:
    world.directory.put("nb", None, "live")
    for place in ("/nb/kaosd", "/kaosd/notebooks/nb"):
        for verb in sorted(PAGE_ACTIONS):
            async with world.get(f"{place}/{verb}", DAEMON, method, headers=DELIBERATE) as answer:
                assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert world.directory.asked == []


async def test_what_the_host_has_at_our_addresses_is_not_asked(served: tuple[World, Any]) -> None:
    world, _ = served
    world.directory.put("nb", world.directory.known["nb"].upstream, "live", summary="live")
    async with world.get("/nb/kaosd/status") as answer:
        assert await answer.json() == {"summary": "live"}
    async with world.get("/nb/kaosd/echo") as answer:
        assert answer.status == 404
    async with world.get("/nb/echo/kaosd/status") as answer:
        assert (await answer.json())["label"] == "one"


class Reader:
    """Reads a stream message by message."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self) -> tuple[str, Any]:
        """The next message: its event and its data; ("", None) at the end of the stream."""
        kind = "message"
        async with asyncio.timeout(30):
            async for line in self.answer.content:
                if line.startswith(b"event: "):
                    kind = line[7:].decode().strip()
                elif line.startswith(b"data: "):
                    return kind, json.loads(line[6:])
        return "", None


async def test_a_stream_sends_the_notebook_at_each_change_and_ends_with_it(world: World) -> None:
    world.directory.put("nb", None, "building", summary="building")
    async with world.get("/nb/kaosd/events") as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        reader = Reader(answer)
        assert await reader.next() == ("message", {"summary": "building"})
        world.directory.publish()  # nothing that shows has changed
        world.directory.put("other", None, "live", summary="of another")
        world.directory.put("nb", None, "live", summary="live\n\ndata: {}")
        assert await reader.next() == ("message", {"summary": "live\n\ndata: {}"})
        del world.directory.known["nb"]
        world.directory.publish()
        assert await reader.next() == ("gone", {})
        assert await reader.next() == ("", None)


async def test_the_console_streams_all_notebooks(world: World) -> None:
    async with world.get("/kaosd/events", None, headers=cookie(world, "")) as answer:
        reader = Reader(answer)
        assert await reader.next() == ("message", {"notebooks": []})
        world.directory.put("nb", None, "live", user="ada")
        assert await reader.next() == ("message", {"notebooks": [{"user": "ada"}]})


async def test_a_quiet_stream_shows_that_it_stands(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT", 0.0)
    monkeypatch.setattr(streams, "CALM", 0.01)
    world.directory.put("nb", None, "live", summary="live")
    async with world.get("/nb/kaosd/events") as answer:
        lines = [await answer.content.readline() for _ in range(4)]
    assert lines[2] == b": still here\n"


async def test_progress_is_no_event_and_is_shown_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BUSY", 0.01)
    status: dict[str, Any] = {"progress": {"text": "1 of 9"}}
    world.directory.put("nb", None, "building", **status)
    async with world.get("/nb/kaosd/events") as answer:
        reader = Reader(answer)
        assert (await reader.next())[1] == status
        world.directory.known["nb"].status["progress"] = {"text": "2 of 9"}
        assert (await reader.next())[1] == {"progress": {"text": "2 of 9"}}


async def test_a_log_is_followed_at_its_own_address(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BUSY", 0.01)
    world.directory.put("nb", None, "building")
    world.directory.lines = ["first"]
    async with world.get("/nb/kaosd/logs?stage=build", headers={"Accept": "text/event-stream"}) as answer:
        reader = Reader(answer)
        assert await reader.next() == ("message", {"lines": ["first"], "query": "stage=build"})
        world.directory.lines = ["first", "second"]
        assert (await reader.next())[1]["lines"] == ["first", "second"]
    async with world.get("/nb/kaosd/logs") as answer:
        assert await answer.json() == {"lines": ["first", "second"], "query": ""}


async def test_the_address_with_its_token_is_told_to_the_console_alone(world: World) -> None:
    world.directory.put("nb", None, "live")
    console = cookie(world, "") | DELIBERATE
    async with world.get("/kaosd/notebooks/nb/address", None, "POST", headers=console) as answer:
        assert await answer.json() == {"url": f"http://{world.host}/nb/lab?token={TOKEN}"}
    async with world.get("/kaosd/notebooks/nb/address", None, headers=console) as answer:
        assert answer.status == 405
    plain = {name: value for name, value in console.items() if name != "X-Kaosd"}
    async with world.get("/kaosd/notebooks/nb/address", None, "POST", headers=plain) as answer:
        assert answer.status == 403
    async with world.get("/nb/kaosd/address", None, "POST", headers=cookie(world, "nb") | DELIBERATE) as answer:
        assert answer.status == 404


async def test_streams_end_when_the_daemon_stops_and_none_begins(world: World) -> None:
    world.directory.put("nb", None, "live")
    async with world.get("/nb/kaosd/events") as answer:
        reader = Reader(answer)
        await reader.next()
        world.front.drain()
        assert await reader.next() == ("", None)
    async with world.get("/nb/kaosd/events") as answer:
        assert answer.status == 503


async def test_a_session_has_only_so_many_streams(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_OF_ONE", 1)
    world.directory.put("nb", None, "live")
    world.directory.put("other", None, "live")
    async with world.get("/nb/kaosd/events") as first:
        await Reader(first).next()
        async with world.get("/nb/kaosd/events") as second:
            assert second.status == 503
        async with world.get("/other/kaosd/events", "token-of-other") as third:
            assert third.status == 200
            await Reader(third).next()


@pytest.mark.parametrize("path", ["/nb/kaosd/events", "/nb/kaosd/status", "/nb/kaosd/logs", "/kaosd/events"])
@pytest.mark.parametrize("token", [None, "wrong", "token-of-other"])
async def test_nothing_is_read_without_the_token(world: World, path: str, token: str | None) -> None:
    world.directory.put("nb", None, "live")
    world.directory.put("other", None, "live")
    async with world.get(path, token) as answer:
        assert answer.status == 401
    assert world.directory.asked == []


@pytest.mark.parametrize("place", ["desk", "documents", "documents/apply"])
async def test_what_the_host_answers_below_kaosd_reaches_it(world: World, place: str) -> None:
    _, upstream, _ = await world.upstream("a")
    world.directory.put("nb", upstream)
    async with world.get(f"/nb/kaosd/{place}", None, headers=cookie(world, "nb")) as answer:
        assert (answer.status, (await answer.json())["target"]) == (200, f"/nb/kaosd/{place}")


async def test_figures_for_prometheus_are_for_the_console_alone(world: World) -> None:
    world.directory.put("nb", None, "live")
    for headers in ({"Authorization": f"Bearer {DAEMON}"}, cookie(world, "")):
        async with world.get("/metrics", None, headers=headers) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, CONTENT_TYPE)
            assert await answer.text() == "kaosd_info 1\n"
    for path, token, status in (
        ("/kaosd/metrics", None, 401),
        ("/metrics", None, 401),
        ("/metrics/", DAEMON, 404),
        ("/kaosd/metrics", TOKEN, 401),
        ("/nb/kaosd/metrics", TOKEN, 404),
    ):
        async with world.get(path, token) as answer:
            assert answer.status == status
