"""`kaosctl recovered --restore`: a copy of an edit goes back to where it was made.

It goes into the hosted work directory, never into the source directory: there it is an edit of the person, like
any other. What stands at its path until then becomes a copy itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaosd import bundle
from kaosd.display import printable
from kaosd.engines.base import Carrier
from kaosd.errors import BundleError, ConflictError, EngineError, NotFoundError
from kaosd.journal import Recovered
from kaosd.notebook.copies import Copies, place_for_copies
from kaosd.notebook.elsewhere import Elsewhere
from kaosd.notebook.kept import all_copies
from kaosd.notebook.open_documents import Splice
from kaosd.notebook.work import DOCUMENT_MAX, is_text

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook


async def restore(actor: Notebook, wanted: str) -> dict[str, Any]:
    """Bring back the copy that *wanted* names (see `choose`); what was done. NotFoundError, ConflictError."""
    name = actor.spec.name
    copy = choose(await _copies(actor), wanted)
    if copy is None:
        hint = f"`kaosctl recovered {name}` lists the copies"
        raise NotFoundError(f"notebook {name!r} has no recovered copy {wanted!r}", hint=hint)
    path = hosted_path(copy)
    async with actor.steps.writing:
        if actor.hosting.live.syncing is not None:
            hint = f"kaosctl wait {name}"
            raise ConflictError(f"notebook {name!r} is being brought up to date; try again after that", hint=hint)
        in_tab, kept = await _splice(actor, path, copy)
        if not in_tab:
            saved = await _to_disk(actor, path, Path(copy.file))
            kept = [os.fsdecode(found.file) for found in saved]
            actor.record.keep((copy.path, file) for file in kept)
    actor.record.note(f"restored {copy.path} from {copy.file}")
    actor.record.event("restored", path=copy.path, file=copy.file)
    actor.shop.news.tell()
    return {"restored": copy.path, "file": copy.file, "kept": kept, "in_tab": in_tab}


async def restore_all(actor: Notebook) -> dict[str, Any]:
    """Bring back the newest copy of every path: which were, and which could not be, with the reason."""
    newest = {copy.path: copy for copy in await _copies(actor)}
    done, failed = [], []
    for copy in newest.values():
        try:
            done.append(await restore(actor, copy.file))
        except (BundleError, ConflictError, EngineError) as error:
            failed.append({"path": copy.path, "reason": str(error)})
    return {"restored": done, "failed": failed}


async def _copies(actor: Notebook) -> tuple[Recovered, ...]:
    return await asyncio.to_thread(all_copies, actor.journal, actor.spec.name, actor.home.root / "recovered")


async def _to_disk(actor: Notebook, path: bytes, file: Path) -> Sequence[bundle.SavedCopy]:
    """Put a copy back into the directory of the host; what stood there until then is kept as one."""
    if isinstance(actor.engine, Carrier):
        host = actor.hosting.host
        files = actor.engine.files(host) if host is not None else None
        if files is None:
            raise ConflictError(f"notebook {actor.spec.name!r} has no host", hint=f"kaosctl wait {actor.spec.name}")
        await files.holds()
        elsewhere = Elsewhere(files, actor.steps.work.digests, place_for_copies(actor.home) / "work")
        return await elsewhere.put(path, file)
    work, place = actor.home.work, place_for_copies(actor.home) / "work"
    return await asyncio.to_thread(bundle.restore, actor.shop.store, work, path, file, place)


def choose(copies: tuple[Recovered, ...], wanted: str) -> Recovered | None:
    """The newest copy of the path *wanted*, or the very copy whose file it is."""
    return next((copy for copy in reversed(copies) if wanted in (copy.path, copy.file)), None)


def hosted_path(copy: Recovered) -> bytes:
    """The path of a copy below the work directory, as bytes: the end of its file's name, whatever lies above it.

    The path in the journal is the one shown to people, with what a terminal must not see escaped.
    """
    parts = copy.file.split("/")[-(copy.path.count("/") + 1) :]
    if printable("/".join(parts)) != copy.path or {"", ".", ".."} & set(parts):
        raise ConflictError(f"it is not known where {copy.file} belongs", hint="copy it by hand from there")
    return os.fsencode("/".join(parts))


async def _splice(actor: Notebook, path: bytes, copy: Recovered) -> tuple[bool, list[str]]:
    """Change the document in its tab when one is open: whether it was, and where its text until then is kept."""
    host = actor.hosting.host
    content = await asyncio.to_thread(_text, copy.file) if host is not None else None
    if host is None or content is None:
        return False, []
    documents = await actor.steps.work.documents(host)
    kept: list[str] = []

    def note(made: list[tuple[bytes, str]]) -> None:
        kept.extend(file for _, file in made)
        actor.steps.work.keep(made)

    async with Copies(actor.home, note) as copies:
        spliced = await documents.splice([Splice(path, None, content)], copies.keep)
        copies.changed(spliced.done | spliced.doubtful)
    if spliced.held:
        raise ConflictError("; ".join(spliced.held.values()), hint="close its tab, or try again when it is awake")
    return bool(spliced.done), kept


def _text(file: str) -> bytes | None:
    """The content of *file* where a document can hold it; blocking."""
    if not os.path.isfile(file) or os.path.islink(file) or os.path.getsize(file) > DOCUMENT_MAX:
        return None
    content = Path(file).read_bytes()
    return content if is_text(content) else None
