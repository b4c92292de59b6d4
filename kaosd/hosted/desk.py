"""The document channel: a websocket to every open page of this JupyterLab, for what only the page knows and can do.

WS <base_url>kaosd/desk. A page (page/kaosd-desk) tells which documents it has open and carries out changes of them
where documents are not shared. The server tells it when another one is to serve. Messages are JSON objects:

to the page    {"do": "hello", "server", "lab", "collaboration", "expired": pages of earlier servers must load again}
               {"do": "leaving", "why": text or ""}
               {"do": "left", "saved": {path: text}}: what the server has saved in the end
               {"do": "held", "path", "reason"}
               {"do": "read", "id", "path"} → {"id", "kind", "text", "at": last saved} or {"id", "gone": true}
               {"do": "apply", "id", "path", "of", "operations", "over"} → {"id", "saved"}, or {"id", "kind", "text"}
               when the document is not any more what it was in answer "of"; over: it holds what another page has saved
from the page  {"open": [path, …], "page": text that names this page}
               {"bring": path, "id", "kind", "base", "sure", "text"} → {"do": "brought", "id", "error"}
               {"merge": kind, "id", "base", "live", "incoming"} → {"do": "merged", "id", "operations": null when both
               changed the same lines}
"""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from . import operations
from .keeping import Kept, require
from .parsing import Unreadable, parse_notebook, parse_text, written

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANSWER = 3.0  # seconds until a page says what it holds; one that was frozen by its browser never does
_LONGEST = 6.0  # seconds for all tries of a change while the person types; the daemon waits 10 for an answer
_AWAY = 3.0  # seconds that a question waits for a page that has lost its connection; it tries again each 0.3 s
_CLOSED = (1000, 1001)  # codes with which a page closes that goes; any other means that the connection was lost
_LARGEST = 1 << 30  # bytes of a message; a notebook is sent whole, and pictures in it make it large


class Held(Exception):
    """A document is open in a page that cannot take the change now; says why."""


class AwayPage(NamedTuple):
    """A page that has lost its connection and comes back by itself, with what it has open. back: done when it has."""

    paths: frozenset[str]
    back: asyncio.Future[None]


class PageApplied(NamedTuple):
    """See rooms.Applied."""

    conflict: bool
    before: str | None
    saved: bool


class Desk:
    """All pages of one server."""

    def __init__(self, lab: str, collaboration: str | None) -> None:
        self.pages: list[Page] = []
        self._away: dict[str, AwayPage] = {}  # by what names the page
        self.hello = {
            "do": "hello",
            "server": uuid.uuid4().hex,
            "lab": lab,
            "collaboration": collaboration,
            "expired": False,
        }

    def expire(self) -> None:
        """Pages of earlier servers cannot continue with this one: they hand over what they have, and load again."""
        if not self.hello["expired"]:
            self.hello["expired"] = True
            self.tell(self.hello)

    def open(self) -> dict[str, int]:
        """The documents that are open, each with the number of pages that have it."""
        lists = [page.paths for page in self.pages] + [page.paths for page in self._away.values()]
        paths = [path for found in lists for path in found]
        return {path: paths.count(path) for path in paths}

    def lost(self, page: str, paths: frozenset[str]) -> None:
        """The connection to a page was lost, as while a daemon starts again."""
        self._away[page] = AwayPage(paths, asyncio.get_running_loop().create_future())

    def returned(self, page: str) -> None:
        """A page has told what it has open."""
        if (away := self._away.pop(page, None)) is not None:
            away.back.set_result(None)

    async def having(self, path: str) -> list[Page]:
        """The pages that have *path* open.

        One that is away is waited for: it could save over what is written to the file meanwhile, without seeing it, and
        what it saves would be replaced. One that does not come back soon is forgotten.
        """
        waited = {page: away.back for page, away in self._away.items() if path in away.paths}
        if waited:
            await asyncio.wait(waited.values(), timeout=_AWAY)
            for page, back in waited.items():
                if page in self._away and self._away[page].back is back:
                    del self._away[page]
        return [page for page in self.pages if path in page.paths]

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message to all pages."""
        for page in self.pages:
            page.tell(message)

    async def tell_at_last(self, message: dict[str, Any]) -> None:
        """Send a message to all pages; done when it is on its way, before the server ends."""
        for page in self.pages:
            await page.tell_at_last(message)

    async def ask(self, path: str) -> None:
        """Raises Held when a page that has *path* open does not say what it holds; nothing is changed."""
        for page in await self.having(path):
            found = await page.ask(do="read", path=path)
            if "error" in found:
                raise Held(f"its tab cannot change it: {found['error']}")

    async def text(self, path: str) -> str | None:
        """What the page holds that has *path* open, as the text of a file; of several the one that saved last.

        None when none has it open. Raises Held when a page does not say.
        """
        pages = await self.having(path)
        ordered = await _saved_last_first(pages, path) if len(pages) > 1 else pages
        return await _text(ordered[0], path) if ordered else None

    async def apply(self, path: str, base: str | None, incoming: str, kept: Kept = None) -> list[PageApplied]:
        """Bring the change base→incoming to *path* in every page that has it open; empty when none has.

        Raises Held, after the pages got the notice; Unreadable when *incoming* is not a document of the kind; Unkept
        when a page holds edits that are not *kept*.
        """
        pages = await self.having(path)
        if len(pages) > 1:
            return await self._apply_to_all(pages, path, base, incoming, kept)
        found = [await _apply_in_time(page, path, base, incoming, kept) for page in pages]
        applied = [change for change in found if change is not None]
        if not applied and any(path in away.paths for away in self._away.values()):  # it was lost meanwhile
            return await self.apply(path, base, incoming, kept)
        return applied

    async def _apply_to_all(
        self, pages: list[Page], path: str, base: str | None, incoming: str, kept: Kept
    ) -> list[PageApplied]:
        """Bring the change to pages that do not share the document, and to each what the others hold.

        Whoever saved last is asked first, so that it saves over nothing that it does not know; each one after it gets
        what is on disk then, and in the end all hold the same.
        """
        applied = list[PageApplied]()
        held = list[tuple[Page, str]]()
        for page in await _saved_last_first(pages, path):
            change = await _apply_in_time(page, path, base, incoming, kept, over=bool(held))
            if change is None:
                continue
            applied.append(change)
            text = await _text(page, path)
            if text is not None:
                held.append((page, text))
                incoming = text
        for page, text in held[:-1]:
            if text != incoming:
                await _apply_in_time(page, path, text, incoming, kept, over=True)
        return applied


class Page(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """One open page."""

    auth_resource = "contents"
    max_message_size = _LARGEST

    def initialize(self, desk: Desk, bring: Any) -> None:
        """bring: see handover.bring."""
        self._desk = desk
        self._bring = bring
        self.paths: frozenset[str] = frozenset()
        self._name = ""
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}

    @ws_authenticated
    async def get(self, *arguments: Any, **named: Any) -> None:
        """Become a websocket, for those whom the server knows."""
        await super().get(*arguments, **named)

    def open(self, *_arguments: str, **_named: str) -> None:
        """A page came."""
        super().open()
        self._desk.pages.append(self)
        self.tell(self._desk.hello)

    async def on_message(self, message: str | bytes) -> None:
        """The page said something."""
        said = json.loads(message)
        if "open" in said:
            self.paths = frozenset(path for path in said["open"] if isinstance(path, str))
            self._name = str(said.get("page", ""))
            self._desk.returned(self._name)
        elif "bring" in said:
            error = await self._bring(*(said.get(key) for key in ("bring", "kind", "base", "sure", "text")))
            self.tell({"do": "brought", "id": said["id"], "error": error})
        elif "merge" in said:
            merged = _merged(said["merge"], said["base"], said["live"], said["incoming"])
            self.tell({"do": "merged", "id": said["id"], "operations": merged})
        else:
            asked = self._asked.get(said.get("id"))
            if asked is not None and not asked.done():
                asked.set_result(said)

    def on_close(self) -> None:
        """The page went."""
        super().on_close()
        if self in self._desk.pages:
            self._desk.pages.remove(self)
        if self._name and self.paths and self.close_code not in _CLOSED:
            self._desk.lost(self._name, self.paths)
        for asked in self._asked.values():
            if not asked.done():
                asked.set_result({"gone": True})

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message, unless the page has just gone."""
        try:
            self.write_message(json.dumps(message))
        except WebSocketClosedError:
            self.log.debug("A page has gone")

    async def tell_at_last(self, message: dict[str, Any]) -> None:
        """Send a message, unless the page has just gone; done when it is on its way."""
        try:
            await self.write_message(json.dumps(message))
        except WebSocketClosedError:
            self.log.debug("A page has gone")

    async def ask(self, **message: Any) -> dict[str, Any]:
        """The page's answer; what was merely to be read is waited for a while only. Raises Held."""
        number = next(self._numbers)
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        self.tell({**message, "id": number})
        try:
            return await asyncio.wait_for(asked, _ANSWER if message["do"] == "read" else None)
        except asyncio.TimeoutError:  # noqa: UP041 (another one in Python 3.9)
            raise Held("its tab does not answer; look at the tab, or close it") from None
        finally:
            del self._asked[number]


@contextmanager
def _telling(page: Page, path: str) -> Iterator[None]:
    """Tell the page what holds a change of *path*. Raises Held."""
    try:
        yield
    except (asyncio.TimeoutError, Held) as error:  # noqa: UP041 (another one in Python 3.9)
        reason = str(error) or "its tab has not taken the change in time"
        page.tell({"do": "held", "path": path, "reason": reason})
        raise Held(reason) from None


async def _saved_last_first(pages: list[Page], path: str) -> list[Page]:
    found = []
    for page in pages:
        with _telling(page, path):
            found.append((await page.ask(do="read", path=path), page))
    return [page for _, page in sorted(found, key=lambda one: one[0].get("at") or "", reverse=True)]


async def _text(page: Page, path: str) -> str | None:
    """What a page holds, as the text of a file; None when the document is not open there any more."""
    found = await page.ask(do="read", path=path)
    if "text" not in found:
        return None
    return written(parse_notebook(found["text"])) if found["kind"] == "notebook" else found["text"]


async def _apply_in_time(
    page: Page, path: str, base: str | None, incoming: str, kept: Kept, *, over: bool = False
) -> PageApplied | None:
    """See _apply. Raises Held, after the page got the notice."""
    with _telling(page, path):
        return await asyncio.wait_for(_apply(page, path, base, incoming, kept, over=over), _LONGEST)


async def _apply(
    page: Page, path: str, base: str | None, incoming: str, kept: Kept, *, over: bool
) -> PageApplied | None:
    """Try until the document is what the change was made for; None when it is not open there any more."""
    found = await page.ask(do="read", path=path)
    while not found.get("gone"):
        if "error" in found:
            raise Held(f"its tab cannot change it: {found['error']}")
        change, text = _change(found["kind"], base, found["text"], incoming)
        before = text if change.touches_edits else None
        require(before, kept)
        found = await page.ask(do="apply", path=path, of=found["id"], operations=change.operations, over=over)
        if "saved" in found:
            return PageApplied(change.conflict, before, found["saved"])
    return None


def _merged(kind: str, base: str, live: str, incoming: str) -> list[operations.Operation] | None:
    """What brings *live* up to *incoming*; None when something of it would be replaced, or one is not a document."""
    try:
        change, _ = _change(kind, base, live, incoming)
    except Unreadable:
        return None
    return None if change.conflict else change.operations


def _change(kind: str, base: str | None, live: str, incoming: str) -> tuple[operations.Change, str]:
    """What to do in the page, as far as it can, and its document as the text of a file. Raises Unreadable."""
    parse: Any = _notebook if kind == "notebook" else parse_text
    new = parse(incoming)
    try:
        old = None if base is None else parse(base)
    except Unreadable:
        old = None
    if kind == "notebook":
        document = _notebook(live)
        change = operations.of_notebook(old, document, new)
        return change._replace(operations=operations.for_page(change.operations)), written(document)
    return operations.of_text(old, live, new), live


def _notebook(text: str) -> dict[str, Any]:
    """See parse_notebook; without what the server notes in it for a page that reads it, and takes out of it again."""
    notebook = parse_notebook(text)
    for cell in notebook["cells"]:
        cell["metadata"].pop("trusted", None)
    return notebook
