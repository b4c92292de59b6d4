"""Answers of our own: pages and problem documents, with the headers that keep them safe in a browser."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import web

from kaosd.front.markup import Markup, element, join
from kaosd.front.views import View

_PAGES = Path(__file__).parent / "pages"
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Ccircle cx='8' cy='8' r='6' fill='%230b57c2'/%3E%3C/svg%3E"
)
_SAFE = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
}
_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'self'"


def page(status: int, title: str, content: Markup) -> web.Response:
    """A page that stays as it is."""
    return _html(status, f"{title} · kaosd", content)


def live_page(status: int, view: View, state: str, *, handover: bool) -> web.Response:
    """A page that follows *state*, the address of its view. handover: it is loaded again when the host answers."""
    parts = [element("div", part, id=name, aria_live=_spoken(name)) for name, part in view.parts.items()]
    lost = "kaosd does not answer. This page continues by itself when it does."
    content = join(*parts, element("p", lost, id="lost", class_="quiet", role="status", hidden=True))
    return _html(status, view.title, content, data_state=state, data_tag=view.tag, data_handover=handover)


def console() -> web.Response:
    """The list of all notebooks: its script draws what the daemon answers."""
    none = element("p", "This page needs JavaScript. ", element("code", "kaosctl status"), " shows the same.")
    parts = [
        element("header", "kaosd"),
        element("main", element("noscript", none), id="app"),
        element("dialog", element("div", id="inside"), id="sheet", aria_labelledby="sheet-title"),
        element("dialog", id="question", aria_labelledby="asked"),
        element("p", id="said", role="status"),
    ]
    return _whole(200, "Notebooks · kaosd", join(*parts), ("page.css", "console.css"), "console.js", class_="console")


def problem(status: int, title: str, detail: str, **more: str) -> web.Response:
    """An RFC 9457 problem document."""
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail} | more
    return web.json_response(document, status=status, content_type="application/problem+json", headers=_SAFE)


def document(content: dict[str, Any], status: int = 200) -> web.Response:
    """A JSON document for a page of ours; a problem document where *status* says so."""
    kind = "application/json" if status < 400 else "application/problem+json"
    return web.json_response(content, status=status, content_type=kind, headers=_SAFE)


def plain(text: str, kind: str) -> web.Response:
    """A text of the content type *kind*."""
    return web.Response(body=text.encode(), headers={**_SAFE, "Content-Type": kind})


def not_allowed(method: str) -> web.Response:
    """The refusal of another method than *method*."""
    refusal = problem(405, "Method not allowed", f"Only {method} can be used here.")
    refusal.headers["Allow"] = method
    return refusal


def stream() -> web.StreamResponse:
    """The head of a stream of events."""
    return web.StreamResponse(headers=_SAFE | {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})


def moved(target: str, status: int = 303) -> web.Response:
    """Send a browser to *target*, without telling it where it came from."""
    return web.Response(status=status, headers=_SAFE | {"Location": target})


def sign_in(status: int, content: Markup) -> web.Response:
    """The page with the form that asks for a token.

    Without a referrer a browser would say that the form comes from nowhere (Origin: null).
    """
    response = _html(status, "Sign in · kaosd", content, forms="'self'")
    response.headers["Referrer-Policy"] = "same-origin"
    return response


async def read(request: web.BaseRequest, most: int) -> bytes | None:
    """The body of a request; None when it has more than *most* bytes."""
    found = bytearray()
    async for chunk in request.content.iter_any():
        found += chunk
        if len(found) > most:
            return None
    return bytes(found)


def leading_on(target: str) -> web.Response:
    """A page that leads to *target* at once."""
    refresh = element("meta", http_equiv="refresh", content=f"0;url={target}")
    link = element("p", element("a", "Continue", href=target))
    return _html(200, "kaosd", link, refresh=refresh)


def _spoken(part: str) -> str | bool:
    """Whether a screen reader tells a change by itself: where the notebook stands, but not every log line."""
    return "polite" if part == "headline" else False


def _html(
    status: int,
    title: str,
    content: Markup,
    *,
    refresh: Markup | None = None,
    forms: str = "'none'",
    **follow: str | bool,
) -> web.Response:
    """A page with the name of the program above it. follow: of its body, for the script that keeps it up to date."""
    parts = join(element("header", "kaosd"), element("main", content))
    more = [element("noscript", element("meta", http_equiv="refresh", content="5"))] if follow else []
    more += [refresh] if refresh is not None else []
    script = "page.js" if follow else ""
    return _whole(status, title, parts, ("page.css",), script, more=join(*more), forms=forms, **follow)


def _whole(
    status: int,
    title: str,
    content: Markup,
    styles: tuple[str, ...],
    script: str,
    *,
    more: Markup = Markup(),  # noqa: B008 - immutable
    forms: str = "'none'",
    **attributes: str | bool,
) -> web.Response:
    """A document with its styles and its script in it, and the policy that lets nothing else in.

    more: of the head. attributes: of the body.
    """
    nonce = secrets.token_urlsafe(12)
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width"),
        element("title", title),
        element("link", rel="icon", href=_ICON),
        *(element("style", _asset(name), nonce=nonce) for name in styles),
        more,
    ]
    ran = element("script", _asset(script), type="module", nonce=nonce) if script else Markup()
    body = element("body", content, ran, **attributes)
    text = "<!doctype html>\n" + element("html", element("head", *head), body, lang="en")
    loaded = f"connect-src 'self'; img-src data:; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'"
    policy = f"{_POLICY}; form-action {forms}; {loaded}"
    headers = _SAFE | {"Content-Security-Policy": policy}
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=headers)


@cache
def _asset(name: str) -> Markup:
    return Markup((_PAGES / name).read_text("utf-8"))
