"""A raw client of the control socket: bytes in, bytes out, so that tests can send what no library would."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One response. text: its body; json: the same, decoded."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(first.split()[1]), headers, body.decode())

    async def ask(self, method: str, target: str, body: object = None, headers: str = "") -> Answer:
        await self.send(request(method, target, body, headers))
        return await self.answer()

    async def closed(self) -> bytes:
        """What still comes until the other side closes."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


def request(method: str, target: str, body: object = None, headers: str = "") -> bytes:
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if body is not None and "content-length" not in headers.lower():
        headers += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    host = "" if "host:" in headers.lower() else "Host: kaosd\r\n"
    return f"{method} {target} HTTP/1.1\r\n{host}{headers}\r\n".encode() + content
