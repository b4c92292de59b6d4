"""`kaosctl diff NAME N M`: what differs between two deployments: files, packages, data."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kaosd import bundle
from kaosd.bundle import Store, TreeChange
from kaosd.display import printable, rfc3339
from kaosd.engines.base import Listing
from kaosd.errors import KaosError, NotFoundError
from kaosd.model import Deployment, Version
from kaosd.notebook import diffs
from kaosd.notebook.package_changes import changed
from kaosd.notebook.past import Past
from kaosd.notebook.sides import stored_side

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook

Json = dict[str, Any]
SHOWN = 8 * 2**20  # bytes of contents that one answer shows; of further files it tells the size
LISTED = 1000  # files of data that are named
Packages = dict[str, str]


async def between(actor: Notebook, first: int, last: int) -> Json:
    """What differs between the deployments *first* and *last*.

    files: as of `diffs.changed`, None when the content of one is not kept. packages: "added", "removed" and "changed",
    each a list of "name", "before", "after"; None when what an environment holds is not known. data: "files" with
    "path", "kind", "size" and how many there are in all; None when that is not known. missing: sentences that say why
    something is None. NotFoundError when there is no such deployment.
    """
    one, other = _deployment(actor, first), _deployment(actor, last)
    past = Past(actor.journal, actor.spec.name, actor.hosting.live)
    missing = list[str]()
    files = await _files(actor, past, one, other, missing)
    packages = await _packages(actor, past, one, other, missing)
    data = await _data(actor, past, one, other, missing)
    return {
        "name": actor.spec.name,
        "from": _head(one),
        "to": _head(other),
        "files": files,
        "packages": packages,
        "data": data,
        "missing": missing,
    }


def compared(before: Packages, after: Packages) -> Json:
    """What differs between two environments, by the names of their packages. Pure."""

    def rows(names: Iterable[str]) -> list[Json]:
        return [{"name": name, "before": before.get(name), "after": after.get(name)} for name in names]

    found = changed(before, after)
    return {
        "added": rows(found.added),
        "removed": rows(found.removed),
        "changed": rows(name for name, _, _ in found.changed),
    }


def _deployment(actor: Notebook, number: int) -> Deployment:
    found = next((one for one in actor.journal.deployments(actor.spec.name, 100_000) if one.number == number), None)
    if found is None:
        name = actor.spec.name
        raise NotFoundError(
            f"notebook {name!r} has no deployment {number}", hint=f"`kaosctl history {name}` lists them"
        )
    return found


def _head(one: Deployment) -> Json:
    return {
        "number": one.number,
        "at": rfc3339(one.started_at),
        "outcome": one.outcome,
        "source": str(one.source) if one.source else None,
        "data": str(one.data) if one.data else None,
    }


async def _files(
    actor: Notebook, past: Past, one: Deployment, other: Deployment, missing: list[str]
) -> list[Json] | None:
    """What differs in the source."""
    if one.source == other.source:
        return []
    if not _are_kept(past, "source", one, other, missing):
        return None
    store, digests = actor.shop.store, [each.source.digest if each.source else None for each in (one, other)]

    def show() -> list[Json]:
        changes = [change for change in bundle.diff(store, digests[0], digests[1]) if _is_content(change)]
        shown, left = list[Json](), SHOWN
        for change in changes:
            left -= sum(entry.size for entry in (change.old, change.new) if entry is not None)
            shown.append(_changed(store, change, whole=left > 0))
        return shown

    return await asyncio.to_thread(show)


def _is_content(change: TreeChange) -> bool:
    return any(entry is not None and entry.kind != "d" for entry in (change.old, change.new))


def _changed(store: Store, change: TreeChange, *, whole: bool) -> Json:
    """One file that differs; blocking. whole: with what differs in it."""
    path = printable(os.fsdecode(change.path))
    if whole:
        return diffs.changed(path, *(stored_side(store, change.path, entry) for entry in (change.old, change.new)))
    sides = [
        diffs.Side(entry.kind, entry.size, None) if entry is not None and entry.kind != "d" else None
        for entry in (change.old, change.new)
    ]
    return diffs.changed(path, *sides)


def _are_kept(past: Past, kind: str, one: Deployment, other: Deployment, missing: list[str]) -> bool:
    """Whether both versions are kept; else *missing* gets the one that is not."""
    gone = [each.number for each in (one, other) if not past.is_kept(kind, _version(each, kind))]
    missing += [f"the {kind} of deployment {number} is not kept any more" for number in gone]
    return not gone


def _version(one: Deployment, kind: str) -> Version | None:
    return one.source if kind == "source" else one.data


async def _packages(actor: Notebook, past: Past, one: Deployment, other: Deployment, missing: list[str]) -> Json | None:
    """What differs in the environments."""
    if one.source == other.source:
        return compared({}, {})
    if not isinstance(actor.engine, Listing):
        missing.append(f"the packages are in an image of {actor.spec.engine}, and only the image says what it holds")
        return None
    found = list[Packages]()
    for each in (one, other):
        packages = await _held(actor, past, each)
        if packages is None:
            missing.append(f"the environment of deployment {each.number} is not kept any more")
        else:
            found.append(packages)
    return compared(*found) if len(found) == 2 else None


async def _held(actor: Notebook, past: Past, one: Deployment) -> Packages | None:
    """What the environment of a deployment holds; None when it is not kept."""
    if one.source is None or not past.is_kept("source", one.source):
        return None
    try:
        digest = await actor.looking.environment_of(one.source)
        if (noted := await asyncio.to_thread(actor.packages.read, digest)) is not None:
            return noted
        environment = await actor.engine.built(digest)
        if environment is None or not isinstance(actor.engine, Listing):
            return None
        return (await actor.engine.contents(environment, actor.home)).packages
    except KaosError:
        return None


async def _data(actor: Notebook, past: Past, one: Deployment, other: Deployment, missing: list[str]) -> Json | None:
    """Which files of the data differ."""
    if one.data == other.data:
        return {"files": [], "total": 0}
    if not _are_kept(past, "data", one, other, missing):
        return None
    digests = [each.data.digest if each.data is not None else None for each in (one, other)]
    if any(digest is not None and digest not in actor.shop.store for digest in digests):
        missing.append("the data is linked and not copied, so that only its newest files are known")
        return None

    def show() -> Json:
        changes = [change for change in bundle.diff(actor.shop.store, digests[0], digests[1]) if _is_content(change)]
        return {"files": [_named(change) for change in changes[:LISTED]], "total": len(changes)}

    return await asyncio.to_thread(show)


def _named(change: TreeChange) -> Json:
    kind = "new" if change.old is None else "deleted" if change.new is None else "edited"
    return {
        "path": printable(os.fsdecode(change.path)),
        "kind": kind,
        "size": change.new.size if change.new is not None else None,
        "size_before": change.old.size if change.old is not None else None,
    }
