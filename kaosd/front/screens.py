"""Our own pages: the index, a notebook's page, and the views that an open page asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from kaosd.front import answers
from kaosd.front.routes import Directory
from kaosd.front.summary import field
from kaosd.front.upstream import reachable
from kaosd.front.views import LOG_LINES, View, notebook_view

OWN = "kaosd"  # the path of our own pages; no notebook may be named like that
HOSTS = (f"{OWN}/desk", f"{OWN}/documents")  # below a notebook: what its host answers (kaosd/hosted)
_LONGEST_WAIT = 25.0  # seconds that an open page may wait for news
_GLANCE = 0.25  # seconds after which the log is looked at again: its lines are no events
_RETRY = {"Retry-After": "2"}


class Screens:
    """The pages about the notebooks of *directory*."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._closing = False

    def close(self) -> None:
        """Let those who wait for news go."""
        self._closing = True

    def index(self, place: str, *, page: bool) -> web.StreamResponse:
        """The list of notebooks; as JSON for a program."""
        if place:
            return answers.problem(404, "Not found", "There is no such page.")
        if not page:
            described = (self._directory.described(route.name) for route in self._directory.routes())
            return answers.document({"notebooks": [one.status for one in described if one is not None]})
        return answers.console()

    async def notebook(self, request: web.BaseRequest, name: str, place: str) -> web.StreamResponse:
        """A notebook's own page, whether or not its host answers, or what an open one asks for."""
        if place == "state":
            return await self._news(request, lambda: self._look_at(name))
        if place:
            return answers.problem(404, "Not found", "There is no such page.")
        view = await self._look_at(name)
        return gone() if view is None else answers.live_page(200, view, _state_of(name), handover=False)

    async def waiting(self, name: str) -> web.StreamResponse:
        """The page in place of one of the host's, which it turns into when the host answers."""
        view = await self._look_at(name)
        if view is None:
            return gone()
        response = answers.live_page(503, view, _state_of(name), handover=True)
        response.headers.update(_RETRY)
        return response

    def unavailable(self, name: str) -> web.StreamResponse:
        """The same for a program."""
        route = self._directory.described(name)
        if route is None:
            return gone()
        reason = field(route, "reason") or "no host answers now"
        text = f"Notebook {name} is {route.state}: {reason}"
        response = answers.problem(503, "No host answers", text, state=route.state, reason=reason)
        response.headers.update(_RETRY)
        return response

    async def _look_at(self, name: str) -> View | None:
        route = self._directory.described(name)
        if route is None:
            return None
        answering = route.upstream is not None and await reachable(route.upstream)
        return notebook_view(route, self._directory.tail(name, LOG_LINES), answering=answering)

    async def _news(self, request: web.BaseRequest, look: Callable[[], Awaitable[View | None]]) -> web.StreamResponse:
        """The view, as soon as it differs from the one that the page has seen, or its time is up."""
        query = request.rel_url.query
        try:
            wait = min(max(0.0, float(query.get("wait", "0"))), _LONGEST_WAIT)  # in this order "nan" is 0
        except ValueError:
            return answers.problem(400, "Bad request", "wait is a number of seconds.")
        now = asyncio.get_running_loop().time
        deadline = now() + wait
        number = await self._directory.changed(-1, 0)
        while (view := await look()) is not None:
            left = deadline - now()
            if view.tag != query.get("seen") or left <= 0 or self._closing:
                return answers.document(view.as_json())
            number = await self._directory.changed(number, min(left, _GLANCE))
        return gone()


def gone() -> web.Response:
    """The answer about a notebook that there is not; only for those who may know that."""
    return answers.problem(404, "Not found", "There is no such notebook.")


def _state_of(name: str) -> str:
    return f"/{name}/{OWN}/state"
