"""The directory of a host in a pod, over the host's own HTTP interface; the other side is kaosd/hosted/podfiles.py."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp

from kaosd import bounded
from kaosd.engines.base import EditOutcome, FileEdit
from kaosd.engines.pachyderm.serving import Serving
from kaosd.errors import EngineError, HostUnreachable
from kaosd.hosted.states import State

INLINE = 4 << 20  # bytes of a content that goes with its change; a larger one is sent before, in parts of that size
BATCH = 16 << 20  # bytes of contents in one request
LISTING = 1 << 28  # bytes of an answer that reports all files
CHANGES = 2000  # changes in one request
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=60.0)


class PodFiles:
    """See `HostFiles`. All that is asked goes to the server that `holds` found; another one is an error."""

    def __init__(self, session: aiohttp.ClientSession, serving: Serving) -> None:
        self._session = session
        self._serving = serving
        self._server = ""

    async def holds(self) -> tuple[str, ...] | None:
        """See `HostFiles`."""
        async with self._asked("GET", "", b"") as answer:
            told = await bounded.json_of(answer)
        self._server = told["server"]
        return tuple(told["trees"]) if told["trees"] is not None else None

    async def look(self, paths: Sequence[bytes] | None) -> dict[bytes, State | None]:
        """See `HostFiles`."""
        names = [os.fsdecode(path) for path in paths] if paths is not None else None
        async with self._asked("POST", "/look", json.dumps({"paths": names}).encode()) as answer:
            found = (await bounded.json_of(answer, LISTING))["states"]
        return {os.fsencode(path): State(*one) if one is not None else None for path, one in found.items()}

    async def read(self, path: bytes, file: BinaryIO) -> str:
        """See `HostFiles`."""
        hasher = hashlib.sha256()
        async with self._asked("POST", "/read", json.dumps({"path": os.fsdecode(path)}).encode()) as answer:
            async for part in answer.content.iter_chunked(1 << 20):
                hasher.update(part)
                await asyncio.to_thread(file.write, part)
        return hasher.hexdigest()

    async def change(
        self, edits: Sequence[FileEdit], before: Sequence[str] | None, after: Sequence[str] | None
    ) -> list[EditOutcome]:
        """See `HostFiles`."""
        outcomes: list[EditOutcome] = []
        batches = list(_batches(edits)) or [[]]
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            outcomes += await self._send(batch, before if number == 0 else None, after if last else None)
            if len(outcomes) < sum(map(len, batches[: number + 1])) or (outcomes and not outcomes[-1].done):
                break
        return outcomes

    async def leave(self, why: str) -> None:
        """See `HostFiles`."""
        async with self._asked("POST", "/leave", json.dumps({"why": why}).encode()):
            pass

    async def _send(
        self, edits: Sequence[FileEdit], before: Sequence[str] | None, after: Sequence[str] | None
    ) -> list[EditOutcome]:
        """One request, and before it the large contents that belong to it."""
        changes, body = [], io.BytesIO()
        for number, edit in enumerate(edits):
            large = edit.size > INLINE
            if large:
                await self._parts(number, edit)
            elif edit.kind not in (None, "d"):
                for part in await asyncio.to_thread(list, edit.chunks(INLINE)):
                    body.write(part)
            changes.append(
                {
                    "path": os.fsdecode(edit.path),
                    "expected": edit.expected,
                    "kind": edit.kind,
                    "size": 0 if large else edit.size,
                    "part": number if large else None,
                }
            )
        head = {"server": self._server, "before": before, "changes": changes, "after": after}
        async with self._asked("POST", "/change", json.dumps(head).encode() + b"\n" + body.getvalue()) as answer:
            told = await bounded.json_of(answer, LISTING)
        if told["server"] != self._server:
            text = f"the host of {self._serving.notebook} has started again while its code was brought"
            raise EngineError(text, retryable=True)
        return [_outcome(one) for one in told["outcomes"]]

    async def _parts(self, number: int, edit: FileEdit) -> None:
        """Send a large content."""
        chunks, start = edit.chunks(INLINE), 0
        while (part := await asyncio.to_thread(next, chunks, None)) is not None:
            async with self._asked("POST", f"/part?name={number}&start={start}", part):
                start += len(part)

    @asynccontextmanager
    async def _asked(self, method: str, path: str, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """The host's answer. HostUnreachable when there is none, or it is none of ours."""
        known = self._serving
        url = f"{known.upstream}{known.base_url}kaosd/pod{path}"
        try:
            token = await asyncio.to_thread(Path(known.token_file).read_text)
            headers = {"Authorization": f"token {token}"}
            data = io.BytesIO(body) if body else None
            async with self._session.request(method, url, data=data, headers=headers, timeout=_TIMEOUT) as answer:
                answer.raise_for_status()
                yield answer
        except TimeoutError as error:
            raise HostUnreachable(
                f"the host of {known.notebook} at {known.upstream} does not answer in time"
            ) from error
        except (OSError, aiohttp.ClientError, KeyError, TypeError, ValueError) as error:
            text = f"the code cannot be brought to the host of {known.notebook} at {known.upstream}: {error}"
            raise HostUnreachable(text) from error


def _batches(edits: Sequence[FileEdit]) -> Iterator[list[FileEdit]]:
    batch: list[FileEdit] = []
    size = 0
    for edit in edits:
        inline = edit.size if edit.size <= INLINE else 0
        if batch and (size + inline > BATCH or len(batch) >= CHANGES):
            yield batch
            batch, size = [], 0
        batch.append(edit)
        size += inline
    if batch:
        yield batch


def _outcome(told: dict[str, Any]) -> EditOutcome:
    if told.get("done"):
        return EditOutcome(done=True)
    found = told["found"]
    return EditOutcome(done=False, at=os.fsencode(told["at"]), found=State(*found) if found is not None else None)
