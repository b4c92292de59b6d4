"""A line to one host that stays open: a question over it costs a fraction of a request, and a save waits for each.

The other side is kaosd/hosted/documents.py. What the line does not answer is asked in a request, also when it broke
before the answer came: a change that has come about already is not made twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import structlog

log = structlog.get_logger(__name__)
LARGEST = 2**20  # bytes of one message; the other side takes no larger one


class HostSocket:
    """To one host. session: makes one for its address; token and path are in it and in *url*."""

    def __init__(self, session: Callable[[], aiohttp.ClientSession], url: str) -> None:
        self._session = session
        self._url = url
        self._task: asyncio.Task[None] | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._answer: asyncio.Future[Any] | None = None
        self._one = asyncio.Lock()  # question at a time

    def open(self) -> None:
        """Have it open before long, unless it is."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="line to a host")

    async def close(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def ask(self, text: str) -> dict[str, Any] | None:
        """The answer to *text*, a question in JSON of ASCII only; None when the line is not open, or not any more.

        Who gives up waiting ends the line: the late answer must not be taken for that of the next question.
        """
        if self._socket is None or len(text) > LARGEST:
            return None
        async with self._one:
            if self._socket is None:
                return None
            self._answer = asyncio.get_running_loop().create_future()
            try:
                await self._socket.send_str(text)
                found = await self._answer
                return found if isinstance(found, dict) else None
            except (aiohttp.ClientError, ConnectionError):
                return None
            except asyncio.CancelledError:
                self._socket = None
                if self._task is not None:
                    self._task.cancel()
                raise
            finally:
                self._answer = None

    async def _run(self) -> None:
        """Connect, and take answers until one of the two sides ends it."""
        try:
            async with self._session() as session, session.ws_connect(self._url, max_msg_size=LARGEST) as socket:
                self._socket = socket
                async for message in socket:
                    if self._answer is None or self._answer.done():
                        break  # unasked
                    self._answer.set_result(json.loads(message.data))
        except (aiohttp.ClientError, ValueError, TypeError) as error:  # also a host of an older kaosd
            log.debug("line_not_open", error=str(error))
        finally:
            self._socket = None
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(None)
