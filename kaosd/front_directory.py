"""What the front knows of the notebooks: where each is served, what it is doing, and that something changed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from kaosd.front import DescribedRoute, Route
from kaosd.planner import HostFact
from kaosd.registry import Registry

Ask = Callable[[str, str, str, str, bytes], Awaitable[tuple[int, dict[str, Any]]]]
WOKEN = 2.0  # seconds that a request waits for the actor to take that up
LINE = 200  # bytes that a log line has on average, at most


class FrontDirectory:
    """What the front needs to know: routes, log lines, news. Satisfies kaosd.front's Directory.

    ask: answers what the API answers; see kaosd.api.Api.ask.
    """

    def __init__(self, registry: Registry, token: str, ask: Ask, metrics: Callable[[], Awaitable[str]]) -> None:
        self.registry = registry
        self.token = token
        self._ask = ask
        self._metrics = metrics

    async def ask(self, method: str, name: str, verb: str, query: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """The status and the document with which the API answers."""
        return await self._ask(method, name, verb, query, body)

    async def metrics(self) -> str:
        """The daemon's figures in the text format of Prometheus."""
        return await self._metrics()

    async def certain(self, name: str) -> None:
        """Return when it is certain whether there is a notebook *name*."""
        await self.registry.certain(name)

    def route(self, name: str) -> Route | None:
        """The route of one notebook."""
        actor = self.registry.actors.get(name)
        if actor is None:
            return None
        host = actor.hosting.host
        upstream = host.upstream if host is not None and actor.hosting.fact() is not HostFact.ENDED else None
        return Route(name, actor.token, upstream, actor.state()[0])

    def described(self, name: str) -> DescribedRoute | None:
        """The route of one notebook with its object."""
        route = self.route(name)
        if route is None:
            return None
        status = self.registry.notebook(name)
        return DescribedRoute(name, route.token, route.upstream, status["state"], status)

    def routes(self) -> list[Route]:
        """All routes, by name."""
        return [route for name in sorted(self.registry.actors) if (route := self.route(name)) is not None]

    def using(self, name: str) -> AbstractContextManager[None]:
        """Count what talks to a host as use of its notebook."""
        actor = self.registry.actors.get(name)
        return actor.idleness.used() if actor is not None else nullcontext()

    async def wake(self, name: str) -> None:
        """Start a stopped notebook whose address was opened in a browser; returns once its actor has planned that."""
        actor, news = self.registry.actors.get(name), self.registry.shop.news
        if actor is None or self.registry.draining:
            return
        wanted = actor.turns + 1
        actor.start("opened in the browser")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WOKEN):
                while actor.intent.stopped == "" and actor.planned < wanted:
                    await news.after(news.number)

    def tail(self, name: str, lines: int) -> list[str]:
        """The last log lines of the stage in work."""
        actor = self.registry.actors.get(name)
        log_file = actor.record.newest_log() if actor is not None else None
        return tail(log_file, lines) if log_file is not None else []

    async def changed(self, after: int, timeout: float) -> int:  # noqa: ASYNC109 - part of the front's protocol
        """The number of the newest change, once it is another than *after* or *timeout* seconds have passed."""
        news = self.registry.shop.news
        if news.number > after:
            return news.number
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await news.after(after)
        return news.number


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log file, by one bounded read; none when it is gone."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LINE * lines))
            found = file.read(LINE * lines).decode("utf-8", "backslashreplace").splitlines()
    except OSError:
        return []
    return found[-lines:]
