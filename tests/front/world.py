"""A front, a real little server to put behind it, and a directory that says where that is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import WSMsgType, web

from kaosd.front import DescribedRoute, Front, Route

TOKEN = "notebook-token-7f3a"
DAEMON = "daemon-token-91bc"


class FakeDirectory:
    """The registry's part, told by the test."""

    def __init__(self) -> None:
        self.token = DAEMON
        self.known: dict[str, DescribedRoute] = {}
        self.lines: list[str] = []
        self.asked: list[tuple[str, str, str, str, bytes]] = []
        self.woken: list[str] = []
        self.used: list[str] = []
        self._number = 0
        self._news = asyncio.Event()
        self.waiting = asyncio.Event()  # set when somebody waits for news
        self.sure = asyncio.Event()  # clear while it is not certain what is there
        self.sure.set()
        self.unsure = asyncio.Event()  # set when somebody waits for that

    def put(self, name: str, upstream: str | None, state: str = "live", **status: Any) -> None:
        self.known[name] = DescribedRoute(name, TOKEN if name == "nb" else f"token-of-{name}", upstream, state, status)
        self.publish()

    def publish(self) -> None:
        self._number += 1
        self._news.set()
        self._news = asyncio.Event()

    async def certain(self, name: str) -> None:
        self.unsure.set()
        await self.sure.wait()

    def route(self, name: str) -> Route | None:
        return self.known.get(name)

    def described(self, name: str) -> DescribedRoute | None:
        return self.known.get(name)

    def routes(self) -> list[DescribedRoute]:
        return [self.known[name] for name in sorted(self.known)]

    async def ask(self, method: str, name: str, verb: str, query: str, body: bytes) -> tuple[int, dict[str, Any]]:
        self.asked.append((method, name, verb, query, body))
        if verb in ("", "status"):
            known = self.known.get(name)
            if not verb:
                return (200, dict(known.status)) if known is not None else (404, {})
            return 200, {"notebooks": [dict(one.status) for one in self.routes()]}
        if verb == "logs":
            return 200, {"lines": list(self.lines), "query": query}
        if verb == "cancel":
            return 409, {"title": "Conflict", "status": 409, "detail": "no build in flight", "hint": "wait"}
        return 200, {"verb": verb, "name": name}

    async def metrics(self) -> str:
        return "kaosd_info 1\n"

    @contextmanager
    def using(self, name: str) -> Iterator[None]:
        self.used.append(name)
        try:
            yield
        finally:
            self.used.remove(name)

    async def wake(self, name: str) -> None:
        self.woken.append(name)
        self.put(name, None, "swapping")

    def tail(self, name: str, lines: int) -> list[str]:
        return self.lines[-lines:]

    async def changed(self, after: int, timeout: float) -> int:
        if self._number <= after:
            self.waiting.set()
        try:
            async with asyncio.timeout(timeout):
                while self._number <= after:
                    await self._news.wait()
        except TimeoutError:
            pass
        return self._number


class Upstream:
    """A server that tells what it was sent."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.closes: asyncio.Queue[tuple[int | None, str]] = asyncio.Queue()
        self.pings: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = 0  # big messages
        self.hold = asyncio.Event()
        self.held = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**40)
        app.router.add_route("*", "/{name}/echo{rest:.*}", self.echo)
        app.router.add_route("*", "/{name}/kaosd/{rest:.*}", self.echo)
        app.router.add_get("/{name}/socket", self.socket)
        app.router.add_get("/{name}/api/kernels/{id}/channels", self.socket)
        app.router.add_route("*", "/{name}/api/{rest:.*}", self.echo)
        app.router.add_get("/{name}/stream", self.stream)
        app.router.add_get("/{name}/broken", self.broken)
        app.router.add_put("/{name}/upload", self.upload)
        app.router.add_get("/{name}/redirect", self.redirect)
        app.router.add_get("/{name}/gzip", self.gzip)
        app.router.add_get("/{name}/held", self.wait)
        app.router.add_get("/{name}/big", self.big)
        app.router.add_get("/{name}/file", self.file)
        app.router.add_get("/{name}/lab", self.lab)
        app.router.add_get("/{name}/answer", self.answer)
        return app

    async def echo(self, request: web.Request) -> web.Response:
        told = {
            "label": self.label,
            "method": request.method,
            "target": request.raw_path,
            "headers": [[name, value] for name, value in request.headers.items()],
            "body": (await request.read()).decode(),
        }
        response = web.json_response(told, headers={"Connection": "X-Private", "X-Private": "1", "X-Kept": "1"})
        response.headers.add("Set-Cookie", "a=1; Path=/nb/")
        response.headers.add("Set-Cookie", "b=2")
        return response

    async def answer(self, request: web.Request) -> web.Response:
        """Answers with the headers of the query's names and values."""
        response = web.Response(status=int(request.query.get("status", 200)))
        for name, value in request.query.items():
            if name != "status":
                response.headers.add(name, value)
        return response

    async def lab(self, request: web.Request) -> web.Response:
        return web.Response(text=f"<title>lab of {self.label}</title>", content_type="text/html")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await self.hold.wait()
        await response.write(b"second")
        return response

    async def broken(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half of it")
        await self.hold.wait()
        assert request.transport is not None
        request.transport.abort()
        return response

    async def upload(self, request: web.Request) -> web.Response:
        digest, size, most = hashlib.sha256(), 0, 0
        async for chunk in request.content.iter_any():
            digest.update(chunk)
            size += len(chunk)
            most = max(most, len(chunk))
        return web.json_response({"digest": digest.hexdigest(), "size": size, "chunk": most})

    async def big(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(50 * 2**20)})
        await response.prepare(request)
        for number in range(50):
            await response.write(bytes([number]) * 2**20)
        return response

    async def file(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(Path(__file__))

    async def redirect(self, request: web.Request) -> web.Response:
        raise web.HTTPFound("/nb/lab?next=1")

    async def gzip(self, request: web.Request) -> web.Response:
        return web.Response(body=b"\x1f\x8bnot really", headers={"Content-Encoding": "gzip", "Content-Type": "a/b"})

    async def wait(self, request: web.Request) -> web.Response:
        self.held.set()
        await self.hold.wait()
        return web.Response(text=self.label)

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Echoes; "close 4001 why" closes with that, "vanish" cuts the line, "big N" sends N bytes."""
        if request.query.get("refuse"):
            raise web.HTTPForbidden
        ws = web.WebSocketResponse(protocols=("v1.kernel", "v2.kernel"), max_msg_size=0, autoping=False)
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.BINARY:
                await ws.send_bytes(message.data[::-1])
            elif message.type is WSMsgType.PING:
                self.pings.put_nowait(bytes(message.data))
                await ws.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                await self._obey(ws, request, message.data)
        self.closes.put_nowait((ws.close_code, ""))
        return ws

    async def _obey(self, ws: web.WebSocketResponse, request: web.Request, text: str) -> None:
        verb, _, rest = text.partition(" ")
        if verb == "close":
            code, _, reason = rest.partition(" ")
            await ws.close(code=int(code), message=reason.encode())
        elif verb == "vanish" and request.transport is not None:
            request.transport.abort()
        elif verb == "big":
            await ws.send_bytes(b"x" * int(rest))
            self.sent += 1
        else:
            await ws.send_str(f"{self.label}: {text}")


class World:
    """A front, its directory, a client, and servers to put behind it; closed at the end of the test."""

    def __init__(self, stack: AsyncExitStack, place: Path) -> None:
        self._stack = stack
        self.place = place
        self.directory = FakeDirectory()
        self.front = Front(self.directory, 0, ("box.example",))

    @property
    def host(self) -> str:
        return self.front.url.removeprefix("http://")

    @property
    def index_host(self) -> str:
        """What a browser that looks at the index sends as Host."""
        return f"localhost:{self.port}"

    @property
    def port(self) -> int:
        return int(self.host.partition(":")[2])

    async def open(self) -> None:
        await self.front.start()
        self._stack.push_async_callback(self.front.close)
        jar = aiohttp.DummyCookieJar()
        self.client = await self._stack.enter_async_context(aiohttp.ClientSession(self.front.url, cookie_jar=jar))

    async def upstream(self, label: str, *, tcp: bool = False) -> tuple[Upstream, str, web.AppRunner]:
        """A running server, its address, and its runner, with which a test can end it."""
        server = Upstream(label)
        runner = web.AppRunner(server.app(), shutdown_timeout=0.1, auto_decompress=False)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        if tcp:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            return server, f"http://{host}:{port}", runner
        path = self.place / f"{label}.sock"
        await web.UnixSite(runner, str(path)).start()
        return server, f"unix:{path}", runner

    def get(self, path: str, token: str | None = TOKEN, method: str = "GET", **options: Any) -> Any:
        """A request with the notebook's token, unless another or none is given."""
        headers = {"Authorization": f"token {token}"} if token else {}
        headers |= options.pop("headers", {})
        return self.client.request(method, path, headers=headers, allow_redirects=False, **options)
