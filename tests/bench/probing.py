"""A steady probe of a notebook through the front: what a person's browser would have felt."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from types import TracebackType
from typing import Self

import aiohttp

RATE = 50  # requests a second
_PATIENCE = 30.0  # seconds that an answer may take


class Probe:
    """Asks for a small answer at RATE while it is entered.

    failed: what was no answer of 200. latencies: seconds of each answer. gap: the longest time between two answers.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = f"{url}/api/status"
        self._headers = {"Authorization": f"token {token}"}
        self.failed: list[str] = []
        self.latencies: list[float] = []
        self._answered: list[float] = []

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers, timeout=aiohttp.ClientTimeout(_PATIENCE), connector=aiohttp.TCPConnector(limit=0)
        )
        self._asking = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._asking
        await self._session.close()

    @property
    def gap(self) -> float:
        """Seconds."""
        ordered = sorted(self._answered)
        return max((later - sooner for sooner, later in itertools.pairwise(ordered)), default=0.0)

    def __str__(self) -> str:
        said = f"{len(self.latencies) + len(self.failed)} requests, {len(self.failed)} failed"
        return f"{said}, longest gap between two answers {self.gap * 1e3:.0f} ms"

    async def _run(self) -> None:
        due = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    group.create_task(self._ask())
                    due += 1 / RATE
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
            except asyncio.CancelledError:
                return  # those that are on their way come to their end

    async def _ask(self) -> None:
        began = time.perf_counter()
        try:
            async with self._session.get(self._url) as answer:
                await answer.read()
                if answer.status != 200:
                    self.failed.append(f"status {answer.status}")
                    return
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failed.append(f"{type(error).__name__}: {error}")
            return
        now = time.perf_counter()
        self.latencies.append(now - began)
        self._answered.append(now)
