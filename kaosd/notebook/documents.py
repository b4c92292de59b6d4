"""Documents that are open in a JupyterLab tab: asks the host, and changes them there instead of on disk.

The other side of these requests is kaosd/hosted, inside the notebook's environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import structlog

log = structlog.get_logger(__name__)
TIMEOUT = aiohttp.ClientTimeout(total=10)


@dataclass(frozen=True, slots=True)
class Splice:
    """One document to change: its content as last deployed (None: it was not), and as it shall be."""

    path: bytes
    base: bytes | None
    incoming: bytes


@dataclass(frozen=True, slots=True)
class Spliced:
    """A document that was changed in its tab. before: its text until then, where that held edits of a person."""

    path: bytes
    before: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of splices: those done, and those that wait, each with the reason in words.

    What is in neither is not open and must be changed on disk.
    """

    done: tuple[Spliced, ...] = ()
    held: Mapping[bytes, str] = field(default_factory=dict)


class Documents:
    """The open documents of one host. Errors of the host are no errors here: the disk then is the way."""

    def __init__(self, upstream: str, base_url: str, token: str) -> None:
        self._unix = upstream.removeprefix("unix:") if upstream.startswith("unix:") else None
        self._url = ("http://host" if self._unix else upstream.rstrip("/")) + base_url + "kaosd/documents"
        self._token = token

    async def open(self) -> frozenset[bytes]:
        """Paths of the documents that are open in a tab."""
        async with self._session() as session:
            found = await self._ask(session, "GET", self._url)
        return frozenset(os.fsencode(document["path"]) for document in found.get("documents", ()))

    async def splice(self, splices: Iterable[Splice]) -> Outcome:
        """Change documents in their tabs."""
        done, held = [], {}
        async with self._session() as session:
            for splice in splices:
                answer = await self._ask(session, "POST", self._url + "/apply", _request(splice))
                if answer.get("held"):
                    held[splice.path] = str(answer.get("reason"))
                if not answer.get("applied"):
                    continue
                done.append(Spliced(splice.path, answer.get("before")))
                if not answer.get("saved"):  # asking for what is there already tries to save it once more
                    again = _request(replace(splice, base=splice.incoming))
                    await self._ask(session, "POST", self._url + "/apply", again)
        return Outcome(tuple(done), held)

    async def held(self, paths: Iterable[bytes]) -> Mapping[bytes, str]:
        """Those documents that could not take a change now, each with the reason; changes nothing.

        A host of an older kaosd cannot be asked this; then nothing is known to be held.
        """
        found = {}
        async with self._session() as session:
            for path in paths:
                answer = await self._ask(session, "POST", self._url + "/ask", {"path": os.fsdecode(path)})
                if answer.get("held"):
                    found[path] = str(answer.get("reason"))
        return found

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.UnixConnector(self._unix) if self._unix else aiohttp.TCPConnector()
        headers = {"Authorization": f"token {self._token}"}
        return aiohttp.ClientSession(connector=connector, headers=headers, timeout=TIMEOUT)

    async def _ask(
        self, session: aiohttp.ClientSession, method: str, url: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            async with session.request(method, url, json=body) as answer:
                if answer.status != 200:
                    log.warning("documents_refused", status=answer.status, method=method)
                    return {}
                found = await answer.json()
                return found if isinstance(found, dict) else {}
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.warning("documents_unreachable", error=str(error), method=method)
            return {}


def _request(splice: Splice) -> dict[str, Any]:
    """The body of one request; a document that is no text is left to the disk by the host."""
    return {
        "path": os.fsdecode(splice.path),
        "base": None if splice.base is None else splice.base.decode("utf-8", "surrogateescape"),
        "incoming": splice.incoming.decode("utf-8", "surrogateescape"),
    }
