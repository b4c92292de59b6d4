"""Which headers a request takes along to the host, and which an answer brings back."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit, urlunsplit

from multidict import CIMultiDict

from kaosd.front.access import COOKIE_PREFIX, Headers, foreign_cookies, has_token, referer_without_token

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# What a host may not say, because it would hold for the pages of all notebooks; cookies are looked at one by one.
_OF_THE_ORIGIN = frozenset(
    {
        "alt-svc",
        "clear-site-data",
        "nel",
        "report-to",
        "service-worker-allowed",
        "set-cookie",
        "strict-transport-security",
    }
)
# Replaced by us, or believed by hosts when we alone may say it; the handshake of a websocket is made anew.
_OURS = frozenset(
    {
        "authorization",
        "cookie",
        "expect",
        "forwarded",
        "referer",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
        "x-scheme",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
    }
)


def to_host(headers: Headers, token: str, remote: str) -> CIMultiDict[str]:
    """The headers of a request from *remote* as the host sees them: authenticated, and without our own secrets.

    Host stays as the browser sent it, so that the host's own checks and addresses hold.
    """
    passed = _end_to_end(headers, _OURS)
    cookies = foreign_cookies(headers)
    if cookies:
        passed["Cookie"] = _text(cookies)
    if "Referer" in headers:
        passed["Referer"] = _text(referer_without_token(headers["Referer"]))
    passed["Authorization"] = f"token {token}"
    passed["X-Forwarded-For"] = remote
    passed["X-Forwarded-Host"] = headers["Host"]
    passed["X-Forwarded-Proto"] = "http"
    return passed


@dataclass(frozen=True, slots=True)
class Back:
    """What holds for the answer to one request on its way back. name: of the notebook.

    asked: the address that was asked for. tokens: the part of its query with tokens, "" when a redirect keeps none.
    cookie: what the browser is given to sign in with, "" for nothing.
    """

    name: str
    asked: str
    tokens: str = ""
    cookie: str = ""


def to_client(headers: Headers, back: Back) -> CIMultiDict[str]:
    """The headers of a host's answer as the client sees them: nothing in it concerns more than the notebook."""
    passed = _end_to_end(headers, _OF_THE_ORIGIN)
    for cookie in headers.getall("Set-Cookie", []):
        if _is_of(cookie, back.name):
            passed.add("Set-Cookie", _text(cookie))
    if back.cookie:
        passed.add("Set-Cookie", back.cookie)
    if back.tokens and "Location" in passed:
        passed["Location"] = with_tokens(passed["Location"], back)
    return passed


def with_tokens(location: str, back: Back) -> str:
    """Where a redirect leads: within the notebook a program that showed the token in its address continues with it."""
    try:
        there, here = urlsplit(urljoin(back.asked, location)), urlsplit(back.asked)
        parts = urlsplit(location)
    except ValueError:
        return location
    inside = (there.scheme, there.netloc) == (here.scheme, here.netloc) and there.path.startswith(f"/{back.name}/")
    if not inside or has_token(parts.query):
        return location
    return urlunsplit(parts._replace(query=f"{parts.query}&{back.tokens}" if parts.query else back.tokens))


def _is_of(cookie: str, name: str) -> bool:
    """Whether a Set-Cookie header stays within the notebook *name*, and is none of ours."""
    pair, *attributes = cookie.split(";")
    paths = [
        value.strip() for key, _, value in (one.partition("=") for one in attributes) if key.strip().lower() == "path"
    ]
    path = paths[-1] if paths else ""  # the last one counts
    within = not path.startswith("/") or path == f"/{name}" or path.startswith(f"/{name}/")
    return within and not pair.partition("=")[0].strip().startswith(COOKIE_PREFIX)


def _end_to_end(headers: Headers, dropped: frozenset[str]) -> CIMultiDict[str]:
    named = {name.strip().lower() for value in headers.getall("Connection", []) for name in value.split(",")}
    left_out = _HOP_BY_HOP | dropped | named
    return CIMultiDict((name, _text(value)) for name, value in headers.items() if name.lower() not in left_out)


def _text(value: str) -> str:
    """A header's value as it can be sent: what was not UTF-8 is taken for Latin-1, which HTTP once meant."""
    if value.isascii():
        return value
    sent = value.encode(errors="surrogateescape")
    try:
        return sent.decode()
    except UnicodeDecodeError:
        return sent.decode("latin-1")
