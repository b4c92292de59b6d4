"""A browser's part, played by a test: HTTP and websockets to a host, cells to a real kernel."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from kaosd.engines.base import Order
from kaosd.model import Host


@dataclass
class Lab:
    """One JupyterLab, reached as the front reaches it."""

    session: aiohttp.ClientSession
    address: str
    token: str

    async def request(self, method: str, path: str, *, token: str | None = None, **options: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"token {self.token if token is None else token}"}
        async with self.session.request(method, self.address + path, headers=headers, **options) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def new_kernel(self, name: str = "python3") -> str:
        status, kernel = await self.request("POST", "api/kernels", json={"name": name})
        assert status == 201, kernel
        return str(kernel["id"])

    async def run(self, kernel: str, code: str) -> str:
        """Execute a cell over a websocket; what it printed, or its error. Waits until the kernel is idle again."""
        headers = {"Authorization": f"token {self.token}"}
        async with (
            asyncio.timeout(60),
            self.session.ws_connect(f"{self.address}api/kernels/{kernel}/channels", headers=headers) as socket,
        ):
            message = uuid.uuid4().hex
            await socket.send_json(_execute_request(message, code))
            return await _printed(socket, message)


def _execute_request(message: str, code: str) -> dict[str, Any]:
    header = {"msg_id": message, "msg_type": "execute_request", "username": "", "session": message, "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    return {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}


async def _printed(socket: aiohttp.ClientWebSocketResponse, message: str) -> str:
    text = ""
    async for received in socket:
        answer = json.loads(received.data)
        if answer["parent_header"].get("msg_id") != message:
            continue
        if answer["msg_type"] == "stream":
            text += answer["content"]["text"]
        elif answer["msg_type"] == "error":
            text += f"{answer['content']['ename']}: {answer['content']['evalue']}"
        elif answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
            return text.strip()
    raise AssertionError(f"the kernel's socket closed; so far: {text}")


@asynccontextmanager
async def lab(host: Host, order: Order) -> AsyncIterator[Lab]:
    """Reach *host* by its upstream."""
    kind, _, place = host.upstream.partition(":")
    unix = kind == "unix"
    connector = aiohttp.UnixConnector(place) if unix else aiohttp.TCPConnector()
    origin = "http://localhost" if unix else host.upstream
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Lab(session, origin + order.base_url, order.home.token_file.read_text())
