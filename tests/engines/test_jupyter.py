"""How a JupyterLab is asked, by a server that answers as one would; the real one is asked in the conformance suite."""

from __future__ import annotations

import asyncio
import resource
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from kaosd.engines import jupyter
from kaosd.engines.jupyter import JupyterClient


class Server:
    """A server in the same loop, whose clock is put forward at each request that is late.

    late: by how many seconds each is.
    """

    def __init__(self) -> None:
        self.late: list[float] = []
        self.clock = 0.0

    async def answer(self, request: web.Request) -> web.Response:
        if self.late:
            self.clock += self.late.pop(0)  # as SIGSTOP does: nothing of the loop runs meanwhile
        return web.json_response([] if request.path.endswith("kernels") else {})


@pytest.fixture
async def server(short: Path) -> AsyncIterator[Server]:
    found, app = Server(), web.Application()
    app.router.add_get("/n/api/{_:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(short / "s")).start()
    yield found
    await runner.cleanup()


@pytest.mark.parametrize(
    ("late", "answering"),
    [([], True), ([0.6], False), ([1.5], True), ([1.5, 0.6], False), ([1.5, 1.5], False)],
    ids=["well", "slow", "stopped", "stopped and slow", "stopped twice"],
)
async def test_a_time_in_which_the_daemon_was_stopped_says_nothing_of_the_host(
    server: Server, short: Path, monkeypatch: pytest.MonkeyPatch, late: list[float], answering: bool
) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    monkeypatch.setattr(loop, "time", lambda: start + server.clock)  # however slow this machine is
    monkeypatch.setattr(jupyter, "PROBE", 0.3)
    monkeypatch.setattr(jupyter, "time", SimpleNamespace(monotonic=lambda: server.clock))
    (short / "token").write_text("secret")
    server.late = late
    status = await JupyterClient(str(short / "s"), "/n/", str(short / "token")).probe(lambda: "")
    assert (status.alive, status.answering, server.late) == (True, answering, [])


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BLOCK = b"100000\r\n" + b" " * 0x100000 + b"\r\n"


def compressed() -> bytes:
    """A short body that becomes 300 MB."""
    packed = zlib.compressobj(wbits=31)
    body = packed.compress(b" " * 300_000_000) + packed.flush()
    return PLAIN + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body


ENDLESS: dict[str, tuple[Callable[[], bytes], bytes]] = {
    "chunks": (lambda: CHUNKED, BLOCK),
    "a length": (lambda: PLAIN + b"Content-Length: 99999999999\r\n\r\n", b" " * 0x100000),
    "until the end": (lambda: PLAIN + b"\r\n", b"[" * 0x100000),
    "headers": (lambda: PLAIN, b"X: y\r\n" * 0x10000),
    "one header": (lambda: PLAIN + b"X: ", b"y" * 0x100000),
    "a reason": (lambda: b"HTTP/1.1 200 ", b"y" * 0x100000),
    "compressed": (compressed, b""),
    "nested": (lambda: PLAIN + b"Content-Length: 400000\r\n\r\n" + b"[" * 400_000, b""),
    "no JSON": (lambda: PLAIN + b"Content-Length: 1\r\n\r\nx", b""),
    "redirect": (lambda: b"HTTP/1.1 302 Found\r\nLocation: /n/api/status\r\nContent-Length: 0\r\n\r\n", b""),
}


@pytest.mark.parametrize(("begin", "more"), ENDLESS.values(), ids=ENDLESS)
async def test_an_answer_without_end_is_no_answer(
    short: Path, monkeypatch: pytest.MonkeyPatch, begin: Callable[[], bytes], more: bytes
) -> None:
    monkeypatch.setattr(jupyter, "PROBE", 5.0)
    first = begin()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(first)
            await writer.drain()
            while more:
                writer.write(more)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    (short / "token").write_text("secret")
    server = await asyncio.start_unix_server(serve, str(short / "s"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = await JupyterClient(str(short / "s"), "/n/", str(short / "token")).probe(lambda: "")
    server.close()
    assert (status.alive, status.answering) == (True, False)
    assert status.reason
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


@pytest.mark.parametrize(("status", "lost"), [(401, True), (403, True), (404, False), (500, False), (302, False)])
async def test_a_host_that_has_another_token_is_lost(short: Path, status: int, lost: bool) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/n/api/{_:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(short / "s")).start()
    (short / "token").write_text("secret")
    found = await JupyterClient(str(short / "s"), "/n/", str(short / "token")).probe(lambda: "")
    await runner.cleanup()
    assert (found.alive, found.answering, found.lost) == (True, False, lost)


def nothing(path: Path) -> None:
    path.unlink(missing_ok=True)


def a_file(path: Path) -> None:
    path.touch()


def left_behind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize("stands", [nothing, a_file, left_behind])
async def test_a_host_at_whose_socket_nobody_listens_is_lost(short: Path, stands: Callable[[Path], None]) -> None:
    (short / "token").write_text("secret")
    stands(short / "s")
    found = await JupyterClient(str(short / "s"), "/n/", str(short / "token")).probe(lambda: "")
    assert (found.alive, found.answering, found.lost) == (True, False, True)


async def test_a_token_that_cannot_be_read_says_nothing_of_the_host(server: Server, short: Path) -> None:
    found = await JupyterClient(str(short / "s"), "/n/", str(short / "token")).probe(lambda: "")
    assert (found.alive, found.answering, found.lost) == (True, False, False)
