"""JupyterLab as a browser uses it: its HTTP API and real kernels over real websockets, through the front."""

from __future__ import annotations

import asyncio
import json
import uuid
from types import TracebackType
from typing import Any, Self

import aiohttp


class Lab:
    """A session with one notebook's JupyterLab. Enter it to use it."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._headers = {"Authorization": f"token {token}"}

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    async def get(self, path: str) -> Any:
        """The JSON at *path*."""
        async with self.session.get(f"{self.url}/{path}") as answer:
            assert answer.status == 200, (path, answer.status, await answer.text())
            return await answer.json()

    async def post(self, path: str, body: object = None) -> Any:
        """The JSON that posting *body* gives."""
        async with self.session.post(f"{self.url}/{path}", json=body) as answer:
            assert answer.status in (200, 201), (path, answer.status, await answer.text())
            return await answer.json()

    async def read(self, path: str) -> str:
        """The text of a file, as JupyterLab shows it."""
        found: str = (await self.get(f"api/contents/{path}?type=file&format=text"))["content"]
        return found

    async def write(self, path: str, text: str) -> None:
        """Save a file as JupyterLab does."""
        body = {"type": "file", "format": "text", "content": text}
        async with self.session.put(f"{self.url}/api/contents/{path}", json=body) as answer:
            assert answer.status in (200, 201), await answer.text()

    async def kernel(self) -> Kernel:
        """A new kernel."""
        found = await self.post("api/kernels", {"name": "python3"})
        return Kernel(self, found["id"])


class Kernel:
    """One kernel; each run is a websocket of its own, as after a reload of the page."""

    def __init__(self, lab: Lab, id: str) -> None:
        self.lab = lab
        self.id = id

    async def run(self, code: str) -> str:
        """Run a cell; what it printed. AssertionError when it raised."""
        url = f"{self.lab.url}/api/kernels/{self.id}/channels".replace("http://", "ws://")
        message = uuid.uuid4().hex
        header = {"msg_id": message, "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
        # stop_on_error would also abort a cell that is sent right after one that raised
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": False}
        request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        printed = ""
        async with self.lab.session.ws_connect(url, max_msg_size=0) as socket:
            await socket.send_str(json.dumps(request))
            async for frame in socket:
                assert frame.type is aiohttp.WSMsgType.TEXT, frame
                got = json.loads(frame.data)
                if got["parent_header"].get("msg_id") != message:
                    continue
                if got["msg_type"] == "stream":
                    printed += got["content"]["text"]
                if got["msg_type"] == "error":
                    raise AssertionError("\n".join(got["content"]["traceback"]))
                if got["msg_type"] == "status" and got["content"]["execution_state"] == "idle":
                    return printed
        raise AssertionError(f"the websocket was closed: {printed}")

    async def busy(self) -> None:
        """Return when it runs a cell."""
        while (await self.lab.get(f"api/kernels/{self.id}"))["execution_state"] != "busy":
            await asyncio.sleep(0.02)

    async def restart(self) -> None:
        """Restart it under the same id."""
        await self.lab.post(f"api/kernels/{self.id}/restart")
