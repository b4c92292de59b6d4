"""What pages may ask of the daemon: an answer of the API by GET, an action by POST, a stream of the changes.

The addresses lie below kaosd/ of a notebook, for that notebook alone, and below /kaosd/ for the console. verbs.py says
what is open to each.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from kaosd.front import access, answers
from kaosd.front.routes import Directory, Route
from kaosd.front.streams import Streams
from kaosd.front.verbs import CONSOLE_ACTIONS, PAGE_ACTIONS, READS, STREAMED
from kaosd.metrics import CONTENT_TYPE

STATUS, EVENTS, ADDRESS, METRICS = "status", "events", "address", "metrics"
_BODY = 64 * 1024  # bytes
_BODY_SECONDS = 10.0


class Actions:
    """Answers what pages ask about the notebooks of *directory*. The caller has checked whose request it is."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._streams = Streams(directory)

    def close(self) -> None:
        """End the streams."""
        self._streams.close()

    def covers(self, place: str) -> bool:
        """Whether *place*, below kaosd/, is one of the addresses here and not a page."""
        return place in READS | CONSOLE_ACTIONS | {STATUS, EVENTS, METRICS} or place.startswith("notebooks/")

    async def of_notebook(self, request: web.BaseRequest, name: str, verb: str) -> web.StreamResponse:
        """The answer about, or an action on, the one notebook that the session is for."""
        return await self._answer(request, name, verb, PAGE_ACTIONS)

    async def of_console(self, request: web.BaseRequest, place: str) -> web.StreamResponse:
        """The same for all notebooks: status, events, notebooks/NAME/VERB."""
        if place == EVENTS:
            return _only_get(request) or await self._follow(request, "", STATUS)
        if place == STATUS:
            return _only_get(request) or await self._ask(request, "", STATUS, b"")
        if place == METRICS:
            return _only_get(request) or answers.plain(await self._directory.metrics(), CONTENT_TYPE)
        _, _, rest = place.partition("notebooks/")
        name, _, verb = rest.partition("/")
        await self._directory.certain(name)
        route = self._directory.route(name)
        if route is None:
            return answers.problem(404, "Not found", "There is no such notebook.")
        if verb == ADDRESS:
            return _refusal(request) or _address(request, route)
        return await self._answer(request, name, verb, CONSOLE_ACTIONS)

    async def _answer(
        self, request: web.BaseRequest, name: str, verb: str, actions: frozenset[str]
    ) -> web.StreamResponse:
        if verb in actions:
            return await self._act(request, name, verb)
        if verb == EVENTS or (verb in STREAMED and _wants_stream(request)):
            return _only_get(request) or await self._follow(request, name, "" if verb == EVENTS else verb)
        if verb == STATUS:
            return _only_get(request) or await self._ask(request, name, "", b"")
        if verb in READS:
            return _only_get(request) or await self._ask(request, name, verb, b"")
        return answers.problem(404, "Not found", "There is nothing at this address.")

    async def _follow(self, request: web.BaseRequest, name: str, verb: str) -> web.StreamResponse:
        """The same answer again at each change."""
        query = access.without_token(request.raw_path.partition("?")[2])

        async def look() -> dict[str, Any] | None:
            status, document = await self._directory.ask("GET", name, verb, query, b"")
            return document if status == 200 else None

        return await self._streams.send(request, name, look)

    async def _act(self, request: web.BaseRequest, name: str, verb: str) -> web.StreamResponse:
        refusal = _refusal(request)
        if refusal is not None:
            return refusal
        if request.content_type != "application/json" and request.body_exists:
            return answers.problem(415, "Not JSON", "The body of the request must be JSON (application/json).")
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await answers.read(request, _BODY)
        except TimeoutError:
            return answers.problem(408, "Too slow", f"The body did not come within {_BODY_SECONDS:g} seconds.")
        if body is None:
            return answers.problem(413, "Too large", f"At most {_BODY // 1024} KB are taken.")
        return await self._ask(request, name, verb, body)

    async def _ask(self, request: web.BaseRequest, name: str, verb: str, body: bytes) -> web.StreamResponse:
        query = access.without_token(request.raw_path.partition("?")[2])
        status, document = await self._directory.ask(request.method, name, verb, query, body)
        return answers.document(document, status)


def _refusal(request: web.BaseRequest) -> web.Response | None:
    """Why a request may change nothing, or get a token; None when it may."""
    if request.method != "POST":
        return answers.not_allowed("POST")
    reason = access.unasked(request.headers)
    return None if reason is None else answers.problem(403, "Not from here", reason)


def _address(request: web.BaseRequest, route: Route) -> web.Response:
    """The address of a notebook with its token, as the browser that asks would write it: it goes to the clipboard."""
    there = access.right_host(request.headers["Host"], index=False)
    return answers.document({"url": f"http://{there}/{route.name}/lab?{urlencode({'token': route.token})}"})


def _wants_stream(request: web.BaseRequest) -> bool:
    return "text/event-stream" in request.headers.get("Accept", "")


def _only_get(request: web.BaseRequest) -> web.Response | None:
    return None if request.method == "GET" else answers.not_allowed("GET")
