"""What pages may ask of the daemon: an answer of the API by GET, an action by POST, a stream of the changes.

The addresses lie below kaosd/ of a notebook, for that notebook alone, and below /kaosd/ for the console. The tables
say what is open to each; what is not in them is only for the control socket.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from kaosd.front import access, answers
from kaosd.front.routes import Directory
from kaosd.front.streams import Streams

READS: Final = frozenset({"history", "recovered", "edits", "diff", "environment", "logs"})
PAGE_ACTIONS: Final = frozenset(
    {"redeploy", "pause", "resume", "cancel", "rollback", "restore", "pull", "reset", "start", "restart", "add"}
)
CONSOLE_ACTIONS: Final = PAGE_ACTIONS | {"stop"}
STATUS, EVENTS = "status", "events"
_BODY = 64 * 1024  # bytes
_BODY_SECONDS = 10.0


class Actions:
    """Answers what pages ask about the notebooks of *directory*. The caller has checked who asks."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._streams = Streams(directory)

    def close(self) -> None:
        """End the streams."""
        self._streams.close()

    def covers(self, place: str) -> bool:
        """Whether *place*, below kaosd/, is one of the addresses here and not a page."""
        return place in READS | CONSOLE_ACTIONS | {STATUS, EVENTS} or place.startswith("notebooks/")

    async def of_notebook(self, request: web.BaseRequest, name: str, verb: str) -> web.StreamResponse:
        """The answer about, or an action on, the one notebook that the session is for."""
        return await self._answer(request, name, verb, PAGE_ACTIONS)

    async def of_console(self, request: web.BaseRequest, place: str) -> web.StreamResponse:
        """The same for all notebooks: status, events, notebooks/NAME/VERB."""
        if place == EVENTS:
            return _only_get(request) or await self._streams.send(request, "", self._all)
        if place == STATUS:
            return _only_get(request) or await self._ask(request, "", STATUS, b"")
        _, _, rest = place.partition("notebooks/")
        name, _, verb = rest.partition("/")
        if self._directory.route(name) is None:
            return answers.problem(404, "Not found", "There is no such notebook.")
        return await self._answer(request, name, verb, CONSOLE_ACTIONS)

    def _all(self) -> dict[str, object]:
        return {"notebooks": [route.status for route in self._directory.routes()]}

    async def _answer(
        self, request: web.BaseRequest, name: str, verb: str, actions: frozenset[str]
    ) -> web.StreamResponse:
        if verb in actions:
            return await self._act(request, name, verb)
        if verb == EVENTS:
            return _only_get(request) or await self._streams.send(request, name, lambda: self._one(name))
        if verb == STATUS:
            return _only_get(request) or await self._ask(request, name, "", b"")
        if verb in READS:
            return _only_get(request) or await self._ask(request, name, verb, b"")
        return answers.problem(404, "Not found", "There is nothing at this address.")

    def _one(self, name: str) -> dict[str, object] | None:
        route = self._directory.route(name)
        return None if route is None else route.status

    async def _act(self, request: web.BaseRequest, name: str, verb: str) -> web.StreamResponse:
        if request.method != "POST":
            return answers.not_allowed("POST")
        reason = access.unasked(request.headers)
        if reason is not None:
            return answers.problem(403, "Not from here", reason)
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


def _only_get(request: web.BaseRequest) -> web.Response | None:
    return None if request.method == "GET" else answers.not_allowed("GET")
