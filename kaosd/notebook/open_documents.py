"""Documents that are open in a JupyterLab tab: asks the host, and changes them there instead of on disk.

The other side of these requests is kaosd/hosted, inside the notebook's environment.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import aiohttp
import structlog

from kaosd import bounded
from kaosd.errors import DocumentHeld
from kaosd.hosted.keeping import digest
from kaosd.notebook.host_socket import HostSocket

_JSON = {"Content-Type": "application/json"}
log = structlog.get_logger(__name__)
PATIENCE = 10.0  # seconds for one answer; the host gives up on a tab after 6
TRIES = 3  # of a change that waits for the text of that very moment to be kept; who types on is then changed anyway
LARGEST = 2**26  # bytes of an answer that holds a document
LARGE = 2**16  # characters from which a change is put into words in a thread

Keep = Callable[[bytes, str], Awaitable[None]]  # a path, and the text of a person that is about to be changed


@dataclass(frozen=True, slots=True)
class Splice:
    """One document to change: its content as last deployed (None: it was not), and as it shall be."""

    path: bytes
    base: bytes | None
    incoming: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of splices, by path: those done, and those that wait, each with the reason in words.

    What is in neither is not open and must be changed on disk. doubtful: what may be done, for all that is known.
    """

    done: frozenset[bytes] = frozenset()
    doubtful: frozenset[bytes] = frozenset()
    held: Mapping[bytes, str] = field(default_factory=dict)


class InTab(NamedTuple):
    """What a tab has in a document, as the text of a file. saved: whether the file has it."""

    text: str
    saved: bool


class _Silent(Exception):
    """The host has taken a request and does not answer: what is open there may be in the middle of a change."""


class Documents:
    """The open documents of one host.

    A host that cannot be reached, or knows nothing of documents, is not an error: the disk then is the way. One that
    does not answer in time holds what was asked of it and all that was to follow, since a tab may have it open.
    """

    def __init__(self, upstream: str, base_url: str, token: str, patience: float = PATIENCE) -> None:
        self.upstream = upstream
        self._unix = upstream.removeprefix("unix:") if upstream.startswith("unix:") else None
        self._url = ("http://host" if self._unix else upstream.rstrip("/")) + base_url + "kaosd/documents"
        self._token = token
        self._patience = patience
        self._line = HostSocket(self._session, self._url + "/line")

    def keep_line(self) -> None:
        """Keep a connection open from now on, so that the next question is answered sooner; `close` ends it."""
        self._line.open()

    async def close(self) -> None:
        """End what `keep_line` started."""
        await self._line.close()

    async def open(self) -> frozenset[bytes]:
        """Paths of the documents that are open in a tab. DocumentHeld when the host does not answer in time."""
        try:
            found = await self._ask("", None)
        except _Silent as error:
            raise DocumentHeld(str(error)) from error
        return frozenset(os.fsencode(document["path"]) for document in found.get("documents", ()))

    async def text(self, path: bytes) -> InTab | None:
        """What a tab has in the document at *path*; None when none has it open. DocumentHeld when that is not told.

        A host of an older kaosd cannot be asked this; then the file is all that is known.
        """
        try:
            async with asyncio.timeout(self._patience):
                found = await self._request("text", json.dumps({"path": os.fsdecode(path)}), most=LARGEST)
        except TimeoutError as error:
            raise DocumentHeld(f"the host has not answered within {self._patience:g} s") from error
        if found.get("held"):
            raise DocumentHeld(str(found.get("reason")))
        text = found.get("text")
        return InTab(text, bool(found.get("saved"))) if found.get("open") and isinstance(text, str) else None

    async def splice(self, splices: Iterable[Splice], keep: Keep) -> Outcome:
        """Change documents in their tabs. keep: called, and waited for, before any edit of a person is touched."""
        waiting = list(splices)
        done, doubtful, held = set[bytes](), set[bytes](), dict[bytes, str]()
        try:
            while waiting:
                splice = waiting[0]
                answer = await self._change(splice, keep)
                if answer.get("held"):
                    held[splice.path] = str(answer.get("reason"))
                elif answer.get("applied"):
                    done.add(splice.path)
                elif "applied" not in answer:  # no answer of ours
                    doubtful.add(splice.path)
                del waiting[0]
        except _Silent as error:
            doubtful.add(waiting[0].path)
            held.update({splice.path: str(error) for splice in waiting})
        return Outcome(frozenset(done), frozenset(doubtful), held)

    async def _change(self, splice: Splice, keep: Keep) -> dict[str, Any]:
        """Ask for one change until nothing would be lost by a kill in between; the last answer."""
        kept = list[str]()
        for last in (*[False] * TRIES, True):  # what was typed since the last copy is kept after the change
            answer = await self._ask("apply", {**_request(splice), "kept": None if last else kept})
            before = answer.get("before")
            if isinstance(before, str) and digest(before) not in kept:
                await keep(splice.path, before)
                kept.append(digest(before))
            elif not answer.get("applied"):
                return answer
            if answer.get("applied"):
                if not answer.get("saved"):  # asking for what is there already tries to save it once more
                    await self._ask("apply", _request(replace(splice, base=splice.incoming)))
                return answer
        return answer

    async def held(self, paths: Iterable[bytes]) -> Mapping[bytes, str]:
        """Those documents that could not take a change now, each with the reason; changes nothing.

        A host of an older kaosd cannot be asked this; then nothing is known to be held.
        """
        found = dict[bytes, str]()
        for path in paths:
            try:
                answer = await self._ask("ask", {"path": os.fsdecode(path)})
            except _Silent as error:
                return found | {path: str(error)}
            if answer.get("held"):
                found[path] = str(answer.get("reason"))
        return found

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.UnixConnector(self._unix) if self._unix else aiohttp.TCPConnector()
        return bounded.session(None, connector, self._token)

    async def _ask(self, do: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """The host's answer, over the line where it is open; empty when it is none of ours."""
        try:
            async with asyncio.timeout(self._patience):
                if body is None:
                    return await self._request(do, None)
                large = sum(len(value) for value in body.values() if isinstance(value, str)) > LARGE
                question = {**body, "do": do}
                text = await asyncio.to_thread(json.dumps, question) if large else json.dumps(question)
                found = await self._line.ask(text)
                return found if found is not None else await self._request(do, text)
        except TimeoutError as error:
            log.warning("documents_silent", do=do)
            raise _Silent(f"the host has not answered within {self._patience:g} s") from error

    async def _request(self, do: str, text: str | None, most: int = bounded.ANSWER) -> dict[str, Any]:
        method, url = ("GET", self._url) if text is None else ("POST", f"{self._url}/{do}")
        data = io.BytesIO(text.encode()) if text is not None else None  # a stream, since it may be large
        try:
            async with self._session() as session, session.request(method, url, data=data, headers=_JSON) as answer:
                if answer.status != 200:
                    log.warning("documents_refused", status=answer.status, method=method)
                    return {}
                found = await bounded.json_of(answer, most)
                return found if isinstance(found, dict) else {}
        except (aiohttp.ClientError, ValueError) as error:
            log.warning("documents_unreachable", error=str(error), method=method)
            return {}


def _request(splice: Splice) -> dict[str, Any]:
    """The body of one request; a document that is not text is left to the disk by the host."""
    return {
        "path": os.fsdecode(splice.path),
        "base": None if splice.base is None else splice.base.decode("utf-8", "surrogateescape"),
        "incoming": splice.incoming.decode("utf-8", "surrogateescape"),
    }
