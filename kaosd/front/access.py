"""Who may come in: pure decisions about one request's headers and query.

A host sees the requests that pass here as authenticated by token and therefore skips its own cross-site checks;
so both are decided here: foreign() keeps other web sites out, admits() other users of the machine.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import unquote_plus

from multidict import CIMultiDict, CIMultiDictProxy

Headers = CIMultiDict[str] | CIMultiDictProxy[str]
COOKIE_PREFIX: Final = "kaosd-"
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
INDEX_HOST, NOTEBOOK_HOST = "localhost", "127.0.0.1"
_HOST: Final = re.compile(r"([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
DELIBERATE: Final = "X-Kaosd"  # the header of requests that change something
INDEX: Final = ""  # the scope of the daemon's own token; every other scope is a notebook's name


def is_ours(host: str, hosts: Collection[str]) -> bool:
    """Whether a browser may send *host* as Host: a loopback name, or one of *hosts*; ports do not matter.

    What a browser calls us depends on the tunnel that it comes through. Another site can lead its own name to this
    machine, but never a loopback name. hosts: names in lower case; one with a port stands for that port alone.
    """
    found = _HOST.fullmatch(host.lower())
    return found is not None and (found[1] in LOOPBACK or not {found[0], found[1]}.isdisjoint(hosts))


def port_of(host: str) -> str:
    """The port in a Host header; "" when it names none."""
    found = _HOST.fullmatch(host.lower())
    return found[2] or "" if found is not None else ""


def right_host(host: str, *, index: bool) -> str:
    """Under which host the index, or a notebook, is shown to a browser that asked at *host*; the same port.

    A page of a notebook can do whatever the person can do at its own address. So the index, from where all notebooks
    can be reached, has another one. A name that is not a loopback name is the only one that there is, and is kept.
    """
    found = _HOST.fullmatch(host.lower())
    name = found[1] if found is not None else ""
    if name not in LOOPBACK or (name == INDEX_HOST) is index:
        return host
    port = port_of(host)
    return (INDEX_HOST if index else NOTEBOOK_HOST) + (f":{port}" if port else "")


def foreign(method: str, headers: Headers, known: Collection[str]) -> str | None:
    """Why a request comes from somewhere else than our own pages or a person's own doing; None when it does not.

    known: names besides the loopback ones. A link on another site may lead here (top-level navigation), nothing else.
    """
    hosts = headers.getall("Host", [])
    if len(hosts) != 1 or not is_ours(hosts[0], known):
        return "The Host header names another address than this one."
    origin = headers.get("Origin")
    if origin is not None:
        scheme, _, place = origin.lower().partition("://")
        if scheme not in ("http", "https") or place != hosts[0].lower():
            return "The request comes from a page of another origin."
    if headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none"):
        return None
    linked = method == "GET" and headers.get("Sec-Fetch-Mode") == "navigate"
    if linked and headers.get("Sec-Fetch-Dest") == "document":
        return None
    return "The request was made by a page of another site."


def unasked(headers: Headers) -> str | None:
    """Why a request that changes something was not made on purpose by a page of ours or a program; None if it was.

    No form and no link can send the header, and a script of another site may not. foreign() has compared the origin.
    """
    if headers.get(DELIBERATE) != "1":
        return f"A request that changes something needs the header {DELIBERATE}: 1."
    if "Authorization" not in headers and "Origin" not in headers:
        return "A request that changes something needs the header Origin, or the token."
    return None


def wants_page(method: str, headers: Headers) -> bool:
    """Whether the answer will be shown to a person, as a page of its own or in a frame."""
    if method not in ("GET", "HEAD") or "text/html" not in headers.get("Accept", ""):
        return False
    return headers.get("Sec-Fetch-Dest", "document") in ("document", "iframe", "frame")


def shows_token(headers: Headers, raw_query: str, tokens: Collection[str]) -> bool:
    """Whether the request shows one of *tokens*. Takes the same time for every wrong one."""
    shown = list(_tokens_of(raw_query))
    scheme, _, credential = headers.get("Authorization", "").partition(" ")
    if scheme.lower() in ("token", "bearer"):
        shown.append(credential.strip())
    return any([_same(one, token) for one in shown for token in tokens])  # noqa: C419 - all of them


def is_token(shown: str, tokens: Collection[str]) -> bool:
    """Whether *shown* is one of *tokens*. Takes the same time for every wrong one."""
    return any([_same(shown, token) for token in tokens])  # noqa: C419 - all of them


def shows_cookie(headers: Headers, cookie: tuple[str, str]) -> bool:
    """Whether the request shows *cookie* (name, value)."""
    name, value = cookie
    return any([_same(given, value) for key, given in _cookies(headers) if key == name])  # noqa: C419 - all of them


def cookie_for(scope: str, token: str, port: str, key: str = "") -> tuple[str, str]:
    """Name and value of the cookie that stands for *token* in *scope*. key: without which it is worth nothing.

    Cookies know no ports, so other servers of this machine may see it: it is not the token itself, and worth
    nothing at another port (the one that the browser uses) or for another notebook.
    """
    name = f"{COOKIE_PREFIX}{port or 80}{'-' if scope else ''}{scope}"
    text = f"front {key} {name}"
    return name, hmac.new(token.encode(), text.encode(), hashlib.sha256).hexdigest() if token else ""


def has_token(raw_query: str) -> bool:
    """Whether the query carries a token (right or wrong)."""
    return any(True for _ in _tokens_of(raw_query))


def tokens_in(raw_query: str) -> str:
    """The part of the query that carries tokens, still percent-encoded."""
    return "&".join(part for part in raw_query.split("&") if _is_token(part))


def without_token(raw_query: str) -> str:
    """The query, still percent-encoded, without any token in it."""
    return "&".join(part for part in raw_query.split("&") if not _is_token(part))


def referer_without_token(referer: str) -> str:
    """The address of a Referer header without any token in it."""
    place, _, query = referer.partition("?")
    rest = without_token(query)
    return f"{place}?{rest}" if rest else place


def foreign_cookies(headers: Headers) -> str:
    """The Cookie header without the cookies of this front (and of others of its kind)."""
    return "; ".join(f"{key}={value}" for key, value in _cookies(headers) if not key.startswith(COOKIE_PREFIX))


def _tokens_of(raw_query: str) -> Iterable[str]:
    return (unquote_plus(part.partition("=")[2]) for part in raw_query.split("&") if _is_token(part))


def _is_token(part: str) -> bool:
    return unquote_plus(part.partition("=")[0]) == "token"


def _cookies(headers: Headers) -> Iterable[tuple[str, str]]:
    for header in headers.getall("Cookie", []):
        for part in header.split(";"):
            key, _, value = part.strip().partition("=")
            if key:
                yield key, value


def _same(given: str, expected: str) -> bool:
    same = hmac.compare_digest(given.encode(errors="replace"), expected.encode())
    return same and bool(expected)
