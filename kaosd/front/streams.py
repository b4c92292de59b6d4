"""Streams of what changes (text/event-stream): a page that shows them needs neither polling nor reloading.

A browser keeps at most six connections to one address, and each stream takes one of them: a page closes its stream
while it is hidden, and opens it again when it is shown.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from kaosd.front import answers
from kaosd.front.routes import Directory

Look = Callable[[], Awaitable[dict[str, Any] | None]]  # what is shown now; None: there is no such notebook any more
MOST, MOST_OF_ONE = 96, 16  # streams in all, and of one session
GATHER = 0.1  # seconds in which changes that follow each other become one message
BUSY, CALM = 1.0, 5.0  # seconds after which progress, or use of memory, is looked at again: they are no events
HEARTBEAT = 15.0  # seconds without a message after which a comment shows that the connection stands


class Streams:
    """All streams that are open. Owned by the event loop."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._open: Counter[str] = Counter()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams in order, and refuse new ones."""
        self._closing.set()

    async def send(self, request: web.BaseRequest, session: str, look: Look) -> web.StreamResponse:
        """Send what *look* shows, now and at each change, until the client leaves or close() is called.

        A last event "gone" says that the notebook is not there any more. session: whose streams are counted.
        """
        if self._closing.is_set():
            return answers.problem(503, "Stopping", "kaosd is stopping; ask again in a few seconds.")
        if self._open[session] >= MOST_OF_ONE or self._open.total() >= MOST:
            text = "Too many pages follow this already; close some of them."
            return answers.problem(503, "Too many streams", text)
        self._open[session] += 1
        try:
            return await self._follow(request, look)
        finally:
            self._open[session] -= 1

    async def _follow(self, request: web.BaseRequest, look: Look) -> web.StreamResponse:
        response = answers.stream()
        await response.prepare(request)
        now = asyncio.get_running_loop().time
        seen, sent, told_at = -1, "", now()
        while not self._closing.is_set():
            seen = await self._directory.changed(seen, 0)
            shown = await look()
            if shown is None:
                await response.write(b"event: gone\ndata: {}\n\n")
                break
            text = json.dumps(shown)  # of ASCII only, and without a line break
            if text != sent or now() - told_at >= HEARTBEAT:
                await response.write(f"data: {text}\n\n".encode() if text != sent else b": still here\n\n")
                sent, told_at = text, now()
            await self._wait(self._directory.changed(seen, BUSY if _progresses(shown) else CALM))
            await self._wait(asyncio.sleep(GATHER))
        await response.write_eof()
        return response

    async def _wait(self, what: Awaitable[object]) -> None:
        """Wait for *what*, or until the streams are closed."""
        both = [asyncio.ensure_future(one) for one in (what, self._closing.wait())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()


def _progresses(shown: dict[str, Any]) -> bool:
    return "lines" in shown or any(one.get("progress") for one in shown.get("notebooks", [shown]))
