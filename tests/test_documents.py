"""Documents that are open in tabs, changed over a real socket: what is kept, and when, whatever the host answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from kaosd.engines.base import Home
from kaosd.errors import DocumentHeld, StoreError
from kaosd.hosted.keeping import digest
from kaosd.notebook.copies import Copies
from kaosd.notebook.host_socket import LARGEST
from kaosd.notebook.open_documents import TRIES, Documents, Outcome, Splice
from kaosd.notebook.record import saved_copies

Answer = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]
Say = Callable[[dict[str, Any]], Awaitable[str | None]]
SPLICES = [Splice(f"sub/{name}.py".encode(), b"old", b"new") for name in "abc"]


class Host:
    """Answers as it is told to, and remembers what it was asked."""

    def __init__(self, home: Home, answer: Answer) -> None:
        self.home, self.answer = home, answer
        self.line: Say | None = None
        self.asked: list[dict[str, Any]] = []
        self.said: list[dict[str, Any]] = []  # over the line
        self.lines = asyncio.Queue[None]()
        self.noted: list[str] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else {}
        self.asked.append(body)
        return await self.answer(body)

    async def serve_line(self, request: web.Request) -> web.StreamResponse:
        if self.line is None:
            return web.Response(status=404)  # an older kaosd
        line = web.WebSocketResponse()
        await line.prepare(request)
        self.lines.put_nowait(None)
        async for message in line:
            self.said.append(json.loads(message.data))
            answer = await self.line(self.said[-1])
            if answer is None:
                break
            await line.send_str(answer)
        return line

    def copies(self) -> Copies:
        return Copies(self.home, lambda made: self.noted.extend(Path(file).read_text() for _, file in made))

    def on_disk(self) -> list[str]:
        """What a daemon that starts now would find."""
        return [Path(file).read_text() for _, file in saved_copies(self.home.root / "recovered")]


Serve = Callable[[Answer], Awaitable[tuple[Documents, Host]]]


@pytest.fixture
async def serve(short: Path) -> AsyncIterator[Serve]:
    """Make a host with this answer."""
    runners = []

    async def made(answer: Answer) -> tuple[Documents, Host]:
        host = Host(Home(*[short] * 7), answer)  # only its root is looked at
        app = web.Application(client_max_size=4 * LARGEST)
        app.router.add_route("GET", "/n/kaosd/documents/line", host.serve_line)
        app.router.add_route("*", "/n/kaosd/documents{_:.*}", host.serve)
        runners.append(web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True))
        await runners[-1].setup()
        await web.UnixSite(runners[-1], str(short / "s")).start()
        made_documents.append(Documents(f"unix:{short / 's'}", "/n/", "token", patience=0.3))
        return made_documents[-1], host

    made_documents: list[Documents] = []
    yield made
    for documents in made_documents:
        await documents.close()
    for runner in runners:
        await runner.cleanup()


def says(**answer: Any) -> web.Response:
    return web.Response(text=json.dumps(answer), content_type="application/json")


def tab(host: list[Host], texts: list[str]) -> Answer:
    """A tab in which a person types: *texts* one after the other; it asks for each to be kept, as hosted/ does."""

    async def answer(body: dict[str, Any]) -> web.Response:
        text = texts.pop(0) if len(texts) > 1 else texts[0]
        if digest(text) not in body["kept"]:
            return says(applied=False, before=text)
        assert text in host[0].on_disk()  # whoever is killed from here on loses nothing
        return says(applied=True, saved=True, before=text)

    return answer


async def test_what_a_person_typed_is_on_disk_before_it_is_touched(serve: Serve) -> None:
    hosts: list[Host] = []
    documents, host = await serve(tab(hosts, ["mine", "mine"]))
    hosts.append(host)
    async with host.copies() as copies:
        outcome = await documents.splice(SPLICES[:1], copies.keep)
        assert host.noted == []
        copies.changed(outcome.done)
    assert (outcome.done, dict(outcome.held)) == ({b"sub/a.py"}, {})
    assert host.noted == host.on_disk() == ["mine"]


async def test_a_key_pressed_meanwhile_is_in_the_one_copy_of_the_merge(serve: Serve) -> None:
    hosts: list[Host] = []
    documents, host = await serve(tab(hosts, ["m", "mi", "mi"]))
    hosts.append(host)
    async with host.copies() as copies:
        copies.changed((await documents.splice(SPLICES[:1], copies.keep)).done)
    assert host.noted == host.on_disk() == ["mi"]


async def test_who_types_without_a_pause_is_changed_all_the_same_and_the_last_text_is_kept(serve: Serve) -> None:
    async def answer(body: dict[str, Any]) -> web.Response:
        text = f"typed {len(host.asked)}"
        if body["kept"] is None:
            return says(applied=True, saved=True, before=text)
        return says(applied=False, before=text)

    documents, host = await serve(answer)
    async with host.copies() as copies:
        outcome = await documents.splice(SPLICES[:1], copies.keep)
        copies.changed(outcome.done | outcome.doubtful)
    assert (outcome.done, dict(outcome.held)) == ({b"sub/a.py"}, {})
    assert host.noted == host.on_disk() == [f"typed {TRIES + 1}"]


async def test_the_copy_of_a_change_that_a_tab_does_not_take_goes_again(serve: Serve) -> None:
    async def answer(body: dict[str, Any]) -> web.Response:
        if not body["kept"]:
            return says(applied=False, before="mine")
        return says(applied=False, held=True, reason="a.py: its tab sleeps")

    documents, host = await serve(answer)
    async with host.copies() as copies:
        outcome = await documents.splice(SPLICES[:1], copies.keep)
        copies.changed(outcome.done | outcome.doubtful)
    assert dict(outcome.held) == {b"sub/a.py": "a.py: its tab sleeps"}
    assert host.noted == host.on_disk() == []


async def test_a_host_of_an_earlier_version_asks_for_nothing_and_the_text_is_kept_all_the_same(serve: Serve) -> None:
    async def answer(_: dict[str, Any]) -> web.Response:
        return says(applied=True, saved=True, before="mine")

    documents, host = await serve(answer)
    async with host.copies() as copies:
        copies.changed((await documents.splice(SPLICES[:1], copies.keep)).done)
    assert host.noted == ["mine"]


async def test_a_host_that_hangs_is_waited_for_once_and_holds_all_the_rest(serve: Serve) -> None:
    async def answer(body: dict[str, Any]) -> web.Response:
        if body.get("path") == "sub/a.py":
            return says(applied=True, saved=True)
        return await asyncio.Event().wait()  # type: ignore[return-value]

    documents, host = await serve(answer)
    async with host.copies() as copies:
        outcome = await documents.splice(SPLICES, copies.keep)
    assert [body["path"] for body in host.asked] == ["sub/a.py", "sub/b.py"]
    assert (outcome.done, outcome.doubtful) == ({b"sub/a.py"}, {b"sub/b.py"})
    assert dict(outcome.held) == dict.fromkeys((b"sub/b.py", b"sub/c.py"), "the host has not answered within 0.3 s")
    with pytest.raises(DocumentHeld, match="has not answered"):
        await documents.open()


async def test_the_copy_stays_when_nobody_knows_whether_the_change_came_about(serve: Serve) -> None:
    async def answer(body: dict[str, Any]) -> web.Response:
        if not body["kept"]:
            return says(applied=False, before="mine")
        return await asyncio.Event().wait()  # type: ignore[return-value]

    documents, host = await serve(answer)
    async with host.copies() as copies:
        outcome = await documents.splice(SPLICES[:1], copies.keep)
        copies.changed(outcome.done | outcome.doubtful)
    assert host.noted == ["mine"]


@pytest.mark.parametrize(
    "response",
    [
        lambda: web.Response(status=404),
        lambda: web.Response(status=500, text="{"),
        lambda: web.Response(text="[]", content_type="application/json"),
        lambda: web.Response(text="{}", content_type="text/html"),
        lambda: web.Response(text="{", content_type="application/json"),
    ],
)
async def test_a_host_that_talks_nonsense_leaves_all_to_the_disk(
    serve: Serve, response: Callable[[], web.Response]
) -> None:
    async def answer(_: dict[str, Any]) -> web.Response:
        return response()

    documents, host = await serve(answer)
    async with host.copies() as copies:
        outcome = await documents.splice(SPLICES, copies.keep)
    assert (outcome.done, dict(outcome.held)) == (frozenset(), {})
    assert await documents.open() == frozenset()


async def test_a_host_that_is_gone_leaves_all_to_the_disk(short: Path) -> None:
    documents = Documents(f"unix:{short / 'nobody'}", "/n/", "token")
    outcome = await documents.splice(SPLICES, lambda *_: asyncio.sleep(0))
    assert (outcome.done, dict(outcome.held)) == (frozenset(), {})


async def test_where_no_copy_can_be_made_nothing_is_changed(serve: Serve) -> None:
    async def answer(body: dict[str, Any]) -> web.Response:
        assert not body["kept"]
        return says(applied=False, before="mine")

    documents, host = await serve(answer)
    (host.home.root / "recovered").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write to"):
        async with host.copies() as copies:
            await documents.splice(SPLICES[:1], copies.keep)
    assert len(host.asked) == 1


async def not_open(_: dict[str, Any]) -> web.Response:
    return says(applied=False, reason="it is not open")


async def open_line(documents: Documents, host: Host) -> None:
    """Return when the host has taken the line, and the daemon has noticed that."""
    documents.keep_line()
    await host.lines.get()
    while documents._line._socket is None:
        await asyncio.sleep(0)


async def splice(documents: Documents, host: Host, splices: list[Splice]) -> Outcome:
    async with host.copies() as copies:
        return await documents.splice(splices, copies.keep)


async def test_over_an_open_line_no_request_is_made(serve: Serve) -> None:
    async def line(_: dict[str, Any]) -> str:
        return json.dumps({"applied": True, "saved": True})

    documents, host = await serve(not_open)
    host.line = line
    assert (await splice(documents, host, SPLICES[:1])).done == frozenset()
    await open_line(documents, host)
    assert (await splice(documents, host, SPLICES)).done == {one.path for one in SPLICES}
    assert [(said["do"], said["path"]) for said in host.said] == [("apply", f"sub/{name}.py") for name in "abc"]
    assert await documents.held([b"sub/a.py"]) == {}
    assert host.said[-1] == {"do": "ask", "path": "sub/a.py"}
    assert len(host.asked) == 1


async def test_a_change_that_is_too_large_for_the_line_is_requested(serve: Serve) -> None:
    async def line(_: dict[str, Any]) -> str:
        return "{}"

    documents, host = await serve(not_open)
    host.line = line
    await open_line(documents, host)
    await splice(documents, host, [Splice(b"a", b"", b"x" * LARGEST)])
    assert (len(host.asked), host.said) == (1, [])


@pytest.mark.parametrize("answer", [None, "{", "[]", "1"])
async def test_what_a_line_does_not_answer_is_requested_and_the_line_opened_again(
    serve: Serve, answer: str | None
) -> None:
    async def line(_: dict[str, Any]) -> str | None:
        return answer

    documents, host = await serve(not_open)
    host.line = line
    await open_line(documents, host)
    outcome = await splice(documents, host, SPLICES[:1])
    assert (outcome.done, outcome.doubtful, dict(outcome.held)) == (frozenset(), frozenset(), {})
    assert (len(host.said), len(host.asked)) == (1, 1)
    if answer in (None, "{"):
        while documents._line._socket is not None:
            await asyncio.sleep(0)
        await open_line(documents, host)


async def test_a_host_that_hangs_on_the_line_holds_the_change_and_its_late_answer_is_nobodys(serve: Serve) -> None:
    late = asyncio.Event()

    async def line(_: dict[str, Any]) -> str:
        await late.wait()
        return json.dumps({"applied": True, "saved": True})

    documents, host = await serve(not_open)
    host.line = line
    await open_line(documents, host)
    assert set((await splice(documents, host, SPLICES[:2])).held) == {b"sub/a.py", b"sub/b.py"}
    late.set()
    outcome = await splice(documents, host, SPLICES[1:2])
    assert (outcome.done, dict(outcome.held)) == (frozenset(), {})
    assert [body["path"] for body in host.asked] == ["sub/b.py"]


async def test_a_host_of_an_older_kaosd_has_no_line_and_is_asked_with_requests(serve: Serve) -> None:
    documents, host = await serve(not_open)
    for number in (1, 2):
        documents.keep_line()
        await splice(documents, host, SPLICES[:1])
        assert len(host.asked) == number
