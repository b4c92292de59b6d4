"""The front itself: one address, and the way that each request takes through it."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from urllib.parse import urlencode

from aiohttp import web

from kaosd.front import access, answers
from kaosd.front.actions import METRICS, Actions
from kaosd.front.connections import Server, listen, most_connections
from kaosd.front.headers import Back
from kaosd.front.markup import element, join
from kaosd.front.once import OneTime
from kaosd.front.passage import Passage
from kaosd.front.routes import Directory, Route
from kaosd.front.screens import HOSTS, OWN, Screens, gone
from kaosd.front.signin import LOGIN, ONCE, Door, SignIn, cookie_header, signed_in, target_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,43}")
_EARLIER = "_kaosd"  # where the list was; people have kept that address
_GRACE = 1.0  # seconds that requests in flight may take to end when the front closes
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Front:
    """The web server on port *port* of the loopback interface (0: any free one), before the notebooks of *directory*.

    hosts: further names that a browser may use for it, as they stand in its address line. given: sockets that listen
    there already, which systemd keeps while we do not run. Otherwise another user can take the port meanwhile and be
    shown the cookies of browsers: then a cookie is worth something only for as long as this front runs.
    """

    def __init__(
        self,
        directory: Directory,
        port: int,
        hosts: tuple[str, ...] = (),
        given: tuple[socket.socket, ...] = (),
        once: OneTime | None = None,
    ) -> None:
        self._directory = directory
        self._port = port
        self._hosts = frozenset(host.lower() for host in hosts)
        self._given = given
        self._key = secrets.token_hex()
        self._nobody = secrets.token_hex()  # what an unknown notebook's token is compared with
        self._passage = Passage(directory)
        self._screens = Screens(directory)
        self._actions = Actions(directory)
        self._once = once or OneTime()
        self._signin = SignIn(self._once)
        self._server: Server | None = None
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """The address of the front, without a slash at its end."""
        return f"http://{access.NOTEBOOK_HOST}:{self._port}"

    async def start(self) -> None:
        """Listen. ConfigError when the port cannot be had."""
        listeners = await asyncio.to_thread(listen, self._port, self._given)
        if set(listeners) <= set(self._given):
            self._key = ""
        self._port = listeners[0].getsockname()[1]
        self._server = Server(self._answer, most_connections())
        self._runner = web.ServerRunner(self._server, shutdown_timeout=_GRACE)
        await self._runner.setup()
        for listener in listeners:
            await web.SockSite(self._runner, listener).start()

    def drain(self) -> None:
        """End the streams of events: the daemon is stopping."""
        self._actions.close()

    async def close(self) -> None:
        """Stop listening, end websockets and requests in flight, and let the hosts go. Idempotent."""
        self._screens.close()
        self._actions.close()
        await self._passage.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._passage.release()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Every request's way: from here, to whom it speaks, may it, and then on."""
        reason = access.foreign(request.method, request.headers, self._hosts)
        if reason is not None:
            advice = f"Open {self.url} instead; further names of this machine go into hosts of [front]."
            return self._refuse(request, 403, "Not from here", f"{reason} {advice}")
        path, _, query = request.raw_path.partition("?")
        scope, slash, rest = path.removeprefix("/").partition("/")
        if not path.startswith("/") or path.startswith("//") or request.method == "TRACE":
            return self._refuse(request, 400, "Bad request", "Only paths of this address can be asked for.")
        if scope == "" and not rest:
            return await self._index(request, "", query)
        if not slash and request.method == "GET" and scope != METRICS and (scope == OWN or _NAME.fullmatch(scope)):
            return answers.moved(f"/{scope}/?{query}" if query else f"/{scope}/")
        if scope == METRICS and not slash:
            return await self._index(request, METRICS, query)
        if scope == OWN:
            return await self._index(request, rest, query)
        if scope == _EARLIER and request.method == "GET":
            return answers.moved(f"/{OWN}/?{query}" if query else f"/{OWN}/")
        return await self._notebook(request, scope, rest, query)

    async def _index(self, request: web.BaseRequest, place: str, query: str) -> web.StreamResponse:
        token, page = self._directory.token, access.wants_page(request.method, request.headers)
        home, here = f"/{OWN}/", request.headers["Host"]  # not "/": a cookie for that would go to all notebooks
        right = access.right_host(here, index=True)
        if page and right != here:
            return answers.moved(f"http://{right}{request.raw_path}")
        cookie = access.cookie_for(access.INDEX, token, access.port_of(here), self._key)
        door = Door(access.INDEX, home, (token,), cookie)
        known = right == here and access.shows_cookie(request.headers, cookie)
        if not known and not access.shows_token(request.headers, query, door.tokens):
            if page and request.raw_path == "/":
                return answers.moved(home)  # where the cookie is
            return await self._signin.answer(request, door, place)
        self._admitted(request)
        if page and access.has_token(query):
            return signed_in(request, home, door)
        if self._actions.covers(place):
            return await self._actions.of_console(request, place)
        if place.startswith("open/"):
            return await self._open(place.removeprefix("open/"), here)
        if place == LOGIN or place.startswith(ONCE):
            return answers.moved(home)
        await self._directory.certain("")
        return self._screens.index(place, page=page)

    async def _open(self, place: str, here: str) -> web.StreamResponse:
        """Sign a browser that may see the index in to a notebook, where that is shown."""
        name = place.partition("/")[0]
        if await self._route(name) is None:
            return gone()
        there = access.right_host(here, index=False)
        once = f"{name}/{OWN}/{ONCE}{self._once.issue(name)}?{urlencode({'next': f'/{place}'})}"
        return answers.moved(f"http://{there}/{once}")

    async def _route(self, name: str) -> Route | None:
        """The route of a notebook, once it is certain whether it is there; None for what is none.

        A host that still runs, although it is being replaced, takes what a tab saves.
        """
        if not _NAME.fullmatch(name):
            return None
        route = self._directory.route(name)
        if route is not None and route.upstream is not None:
            return route
        await self._directory.certain(name)
        return self._directory.route(name)

    async def _notebook(self, request: web.BaseRequest, name: str, rest: str, query: str) -> web.StreamResponse:
        route = await self._route(name)
        token, page = route.token if route else self._nobody, access.wants_page(request.method, request.headers)
        here = request.headers["Host"]
        right = access.right_host(here, index=False)
        if page and right != here:
            return answers.moved(f"http://{right}{request.raw_path}")
        cookie = access.cookie_for(name, token, access.port_of(here), self._key)
        door = Door(name, f"/{name}/", (token, self._directory.token), cookie)
        known = right == here and access.shows_cookie(request.headers, cookie)
        if not known and not access.shows_token(request.headers, query, door.tokens):
            return await self._unknown(request, door, rest)
        if route is None:
            return gone()
        self._admitted(request)
        passed = access.without_token(query)
        target = f"/{name}/{rest}?{passed}" if passed else f"/{name}/{rest}"
        if page and request.method == "GET" and access.has_token(query):
            return signed_in(request, target, door)
        if (rest == OWN or rest.startswith(f"{OWN}/")) and not rest.startswith(HOSTS):
            return await self._own(request, door, rest.removeprefix(OWN).removeprefix("/"))
        # a tab of JupyterLab has the token: it signs in again by itself when its cookie is worth nothing any more
        again = not known and right == here and request.headers.get("Sec-Fetch-Site") == "same-origin"
        back = Back(
            name=name,
            asked=f"http://{here}{target}",
            tokens=access.tokens_in(query),
            cookie=cookie_header(door) if again else "",
        )
        return await self._pass_on(request, target, back, page=page)

    async def _pass_on(self, request: web.BaseRequest, target: str, back: Back, *, page: bool) -> web.StreamResponse:
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # or aiohttp takes the answer for begun
        answer = await self._passage.take(request, target, back, page=page)
        if answer is None:
            if self._directory.route(back.name) is None:  # it may be replaced just now, and is there again after that
                await self._directory.certain(back.name)
            return await self._screens.waiting(back.name) if page else self._screens.unavailable(back.name)
        return answer

    async def _own(self, request: web.BaseRequest, door: Door, place: str) -> web.StreamResponse:
        """What we answer ourselves below a notebook's address, whatever its host has there."""
        if self._actions.covers(place):
            return await self._actions.of_notebook(request, door.name, place)
        if place.startswith(ONCE):
            return answers.moved(target_of(request, door))
        return await self._screens.notebook(request, door.name, place)

    def _admitted(self, request: web.BaseRequest) -> None:
        if self._server is not None:
            self._server.admitted(request)

    async def _unknown(self, request: web.BaseRequest, door: Door, rest: str) -> web.StreamResponse:
        """The answer to whom we do not know, the same whether or not there is such a notebook."""
        if _NAME.fullmatch(door.name) is None:
            text = "There is no notebook of this name. The list of all is at /."
            return self._refuse(request, 401, "Not signed in", text, hint="kaosctl open")
        return await self._signin.answer(request, door, rest)

    def _refuse(
        self, request: web.BaseRequest, status: int, title: str, text: str, more: str = "", **members: str
    ) -> web.Response:
        if access.wants_page(request.method, request.headers):
            return answers.page(status, title, join(element("h1", title), element("p", text), more))
        return answers.problem(status, title, text, **members)
