"""Which headers a request takes along to the host, and which an answer brings back."""

from __future__ import annotations

from multidict import CIMultiDict

from kaosd.front.access import Headers, foreign_cookies, referer_without_token

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


def to_client(headers: Headers) -> CIMultiDict[str]:
    """The headers of a host's answer as the client sees them."""
    return _end_to_end(headers, frozenset())


def _end_to_end(headers: Headers, dropped: frozenset[str]) -> CIMultiDict[str]:
    named = {name.strip().lower() for value in headers.getall("Connection", []) for name in value.split(",")}
    left_out = _HOP_BY_HOP | dropped | named
    return CIMultiDict((name, _text(value)) for name, value in headers.items() if name.lower() not in left_out)


def _text(value: str) -> str:
    """A header's value as it can be sent: what was no UTF-8 is taken for Latin-1, which HTTP once meant."""
    if value.isascii():
        return value
    sent = value.encode(errors="surrogateescape")
    try:
        return sent.decode()
    except UnicodeDecodeError:
        return sent.decode("latin-1")
