"""Signing in: the page that asks for a token, its form, and one-time addresses.

The form is below the address that it opens, as JupyterLab's is: /NAME/login. It says the same whether or not there
is such a notebook.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

import structlog
from aiohttp import web

from kaosd.front import access, answers
from kaosd.front.markup import Markup, element, join
from kaosd.front.once import OneTime, another_user

log = structlog.get_logger("kaosd.front")
LOGIN: Final = "login"
ONCE: Final = "once/"
_FORM = 16 * 1024  # bytes
_FORM_SECONDS = 10.0
_PRINTABLE = re.compile("[!-~]+")
_PAGES = re.compile("(?:lab|tree|notebooks|doc|edit|consoles|terminals)(?:/.*)?")  # of JupyterLab


@dataclass(frozen=True, slots=True)
class Door:
    """What opens one scope. name: of the notebook, "" for the console. home: the path that the cookie is for.

    tokens: each of them opens it. cookie: name and value of the one that a signed-in browser shows.
    """

    name: str
    home: str
    tokens: tuple[str, ...]
    cookie: tuple[str, str]


class SignIn:
    """Lets browsers in. once: the one-time addresses."""

    def __init__(self, once: OneTime) -> None:
        self._once = once

    async def answer(self, request: web.BaseRequest, door: Door, place: str) -> web.StreamResponse:
        """The answer to a request that shows nothing that opens *door*. place: its path below the door's home."""
        page = access.wants_page(request.method, request.headers)
        back = _back_to(request, door, place)
        own = place.removeprefix("kaosd/") if door.name else place
        if own.startswith(ONCE) and page and request.method == "GET":
            return await self._redeem(request, door, own.removeprefix(ONCE))
        if place == LOGIN and request.method == "POST":
            return await self._form(request, door)
        if not page and door.name and _PAGES.fullmatch(place) and _shows_nothing(request):
            # as JupyterLab answers: VS Code learns the server's address from this, and takes it for a whole one
            host = request.headers["Host"]
            return answers.moved(f"http://{host}/{door.name}/{LOGIN}?{urlencode({'next': back})}", status=302)
        return self.refusal(request, door, back)

    def refusal(self, request: web.BaseRequest, door: Door, back: str, wrong: str = "") -> web.Response:
        """The page that asks for the token, or what a program gets. wrong: what was wrong with the last try."""
        command = f"kaosctl open {door.name}" if door.name else "kaosctl open"
        if access.wants_page(request.method, request.headers) or wrong:
            response = answers.sign_in(401, _content(door, back, command, wrong))
        else:
            text = "This address opens with its token, or in a browser that was signed in with it."
            response = answers.problem(401, "Not signed in", text, hint=command)
        response.headers["WWW-Authenticate"] = 'Bearer realm="kaosd"'
        return response

    async def _form(self, request: web.BaseRequest, door: Door) -> web.Response:
        """Take the token out of the form; it is in no address and no log."""
        form = await _read(request)
        if form is None or request.content_type != "application/x-www-form-urlencoded":
            return answers.problem(400, "Bad request", "This is not the form of the sign-in page.")
        back = _inside(form.get("next", ""), door)
        shown = _token_in(form.get("token", "") or form.get("password", ""))
        if not access.is_token(shown, door.tokens):
            return self.refusal(request, door, back, "This token does not open this address.")
        return signed_in(request, back, door)

    async def _redeem(self, request: web.BaseRequest, door: Door, code: str) -> web.Response:
        target = target_of(request, door)
        transport = request.transport
        if transport is not None:
            ends = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
            other = await asyncio.to_thread(another_user, *ends)
            if other is not None:
                log.warning("one_time_address_refused", reason="opened by another user of this machine", uid=other)
                return self.refusal(request, door, target, "This address was made for another user of this machine.")
        if not self._once.redeem(door.name, code):
            return self.refusal(request, door, target, "This address was used already, or it is too old.")
        return signed_in(request, target, door)


def _shows_nothing(request: web.BaseRequest) -> bool:
    """Whether a program asks without any credentials."""
    query = request.raw_path.partition("?")[2]
    shown = "Authorization" in request.headers or "Sec-Fetch-Site" in request.headers or access.has_token(query)
    return request.method == "GET" and not shown


def target_of(request: web.BaseRequest, door: Door) -> str:
    """Where a one-time address leads."""
    return _inside(_next(request), door)


def signed_in(request: web.BaseRequest, target: str, door: Door) -> web.Response:
    """Give a browser the cookie and send it on to *target*.

    Who came from another site (the index has another name than the notebooks) would not show the cookie behind a
    redirect, which belongs to that site still. A page of ours that leads on is a start of its own.
    """
    linked = request.headers.get("Sec-Fetch-Site") == "cross-site"
    response = answers.leading_on(target) if linked else answers.moved(target)
    response.headers.add("Set-Cookie", cookie_header(door))
    return response


def cookie_header(door: Door) -> str:
    """The Set-Cookie header that signs in."""
    name, value = door.cookie
    return f"{name}={value}; HttpOnly; Path={door.home}; SameSite=Strict"


def _back_to(request: web.BaseRequest, door: Door, place: str) -> str:
    """Where the person wanted to go, without a token in it."""
    path, _, query = request.raw_path.partition("?")
    rest = access.without_token(query)
    wanted = f"{path}?{rest}" if rest else path
    if place == LOGIN:
        wanted = _next(request)
    if request.method != "GET" or ONCE in place:
        wanted = ""
    return _inside(wanted, door)


def _next(request: web.BaseRequest) -> str:
    """Where the address says that the person wanted to go."""
    return next(iter(parse_qs(request.raw_path.partition("?")[2]).get("next", ())), "")


def _inside(wanted: str, door: Door) -> str:
    """*wanted* if it is a path that *door* opens, else where people start."""
    inside = wanted.startswith(door.home) and _PRINTABLE.fullmatch(wanted) and wanted != f"{door.home}{LOGIN}"
    return wanted if inside else f"{door.home}lab" if door.name else door.home


def _content(door: Door, back: str, command: str, wrong: str) -> Markup:
    what = "this notebook" if door.name else "the list of notebooks"
    described = "wrong" if wrong else "how"
    token = element(
        "input", type="password", name="token", id="token", required=True, autofocus=True, autocomplete="off",
        spellcheck="false", aria_describedby=described, aria_invalid="true" if wrong else False,
    )  # fmt: skip
    form = element(
        "form",
        element("label", "Token or address", for_="token"),
        element("div", token, element("button", "Sign in", class_="main"), class_="field"),
        element("p", wrong, id="wrong", class_="wrong", role="alert") if wrong else "",
        element("input", type="hidden", name="next", value=back),
        method="post", action=f"{door.home}{LOGIN}", class_="signin",
    )  # fmt: skip
    return join(
        element("h1", "Sign in"),
        element("p", f"Paste the token of {what}, or the address that holds it."),
        form,
        element(
            "p", element("code", command), " in a terminal signs this browser in and prints the address.", id="how"
        ),
    )


def _token_in(pasted: str) -> str:
    """The token in what was pasted: the token itself, or an address with it."""
    text = pasted.strip()
    if "token=" not in text:
        return text
    try:
        return parse_qs(urlsplit(text).query).get("token", [""])[0].strip()
    except ValueError:
        return ""


async def _read(request: web.BaseRequest) -> dict[str, str] | None:
    """The fields of a form; None when it is too large, too slow or not one."""
    try:
        async with asyncio.timeout(_FORM_SECONDS):
            body = await answers.read(request, _FORM)
        fields = parse_qs((body or b"").decode("ascii"), max_num_fields=10)
    except (TimeoutError, ValueError):
        return None
    return None if body is None else {name: values[0] for name, values in fields.items()}
