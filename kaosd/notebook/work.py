"""The work directory of a host: brought to what is deployed three-way, and in the tabs where a document is open."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kaosd import bundle
from kaosd.bundle import Store
from kaosd.engines.base import Carrier, HostFiles
from kaosd.errors import ContentLost, DocumentHeld
from kaosd.journal import Live
from kaosd.model import Host, Version
from kaosd.notebook import data_link, deployed
from kaosd.notebook.copies import Copies, place_for_copies
from kaosd.notebook.elsewhere import Digests, Elsewhere
from kaosd.notebook.open_documents import Documents, Outcome, Splice
from kaosd.notebook.parking import Parking
from kaosd.notebook.record import bare
from kaosd.notebook.state import ActorState

Begin = Callable[[], Awaitable[None]]
ASKED_EACH = 20  # changed files up to which the host is asked for each, so that rooms without a tab are found too
PREPARED_MAX = 2**20  # bytes of contents that are kept ready
DOCUMENT_MAX = 32 * 2**20  # bytes; nobody has a larger file open as a shared document


async def begun() -> None:
    """The deployment is written down already."""


@dataclass(frozen=True, slots=True)
class _Way:
    """From the trees *bases* to *incoming*: the files that differ, and the changes of documents where they are few."""

    incoming: str | None
    bases: tuple[str | None, ...]
    changed: tuple[bundle.TreeChange, ...]
    splices: tuple[Splice, ...]

    @property
    def small(self) -> bool:
        """Whether it may be kept for a sync that may come, as far as contents are in it."""
        size = sum(len(splice.base or b"") + len(splice.incoming) for splice in self.splices)
        return size <= PREPARED_MAX


class WorkDirectory:
    """See the module; of one notebook. brought: documents that a sync which waits has changed already.

    undecided: files of which the last sync could not tell whether they were deployed or are a person's.
    """

    def __init__(self, actor: ActorState) -> None:
        self.actor = actor
        self.store = actor.shop.store
        self.brought: frozenset[bytes] = frozenset()
        self.undecided: tuple[str, ...] = ()
        self.pulled: dict[bytes, str] = {}  # what was written into the source directory, by the digest of its content
        self._unsynced: set[bytes] = set()
        self._told = deployed.read(actor.home)  # as it stands on disk
        self._prepared: tuple[Version, Live, _Way | None] | None = None
        self._documents: Documents | None = None
        self.parking = Parking(actor.home.root)
        self.digests = Digests(self.store, actor.home.root)

    async def close(self) -> None:
        """Let go of the host."""
        if self._documents is not None:
            await self._documents.close()
            self._documents = None

    async def documents(self, host: Host) -> Documents:
        """The open documents of *host*, which is asked over one connection as long as it is the same."""
        if self._documents is None or self._documents.upstream != host.upstream:
            await self.close()
            self._documents = Documents(host.upstream, f"/{self.actor.spec.name}/", self.actor.token)
        return self._documents

    async def sync(self, source: Version, host: Host | None, begin: Begin = begun) -> None:
        """Bring the work directory to the model/ content of *source*, three-way; open documents in their tabs.

        begin: writes down the deployment that this belongs to, if that is not done yet. A save of few files is there
        first, but for a copy of an edit, which is written down as one of this deployment.
        `Live.syncing` stays until the caller has written down that *source* is served: until then no caller may rely
        on what `Live.source` says of the directory.
        """
        engine = self.actor.engine
        if not isinstance(engine, Carrier):
            await self._sync_here(source, host, begin)
        elif host is not None:
            await self._sync_elsewhere(engine, source, host, begin)

    async def _sync_here(self, source: Version, host: Host | None, begin: Begin) -> None:
        """The same for a directory of this machine."""
        actor, live = self.actor, self.actor.hosting.live
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] == source and prepared[1] is live:
            way = prepared[2]
        else:
            way = await asyncio.to_thread(self._way, source, live)
        if way is None:
            return
        if len(way.changed) > ASKED_EACH:  # may take a while, and is to be seen
            await begin()
        incoming = way.incoming
        left = tuple(tree for tree in way.bases if tree not in (None, live.model_tree, incoming))
        if incoming != live.syncing:
            self.brought = frozenset()
        self.brought |= self._is_there(way)
        actor.hosting.save(syncing=incoming, left=left)
        spliced = await self._splice(host, way, begin) if host is not None else Outcome()
        self.brought |= spliced.done
        skip, place = self.brought | spliced.held.keys(), place_for_copies(actor.home) / "work"
        await actor.durable()
        report = await asyncio.to_thread(self._bring, way, place, skip, whole=not spliced.held)
        try:
            await begin()
        finally:
            self.keep([(found.path, os.fsdecode(found.file)) for found in report.recovered])
        await self._last(report.written)
        if spliced.held:  # the sync stays begun, so that the next one brings what was left out
            raise DocumentHeld("; ".join(spliced.held.values()))
        self.brought = frozenset()
        self._forget_pulled(way)
        actor.hosting.save(model_tree=incoming, left=())
        self._note(source, report, len(spliced.done))

    def _is_there(self, way: _Way) -> frozenset[bytes]:
        """The files that come in because a pull has written them: the notebook has them, with what is typed since."""
        if not self.pulled:
            return frozenset()
        new = {change.path: change.new.digest for change in way.changed if change.new is not None}
        return frozenset(path for path, digest in self.pulled.items() if new.get(path) == digest)

    def _forget_pulled(self, way: _Way) -> None:
        """After a sync: what it brought is no longer on its way from a pull."""
        for change in way.changed:
            self.pulled.pop(change.path, None)

    def _note(self, source: Version, report: bundle.SyncReport, in_tabs: int) -> None:
        """What was done, in the watch log."""
        note = self.actor.record.note
        counts = {
            "updated": len(report.written),
            "deleted": len(report.deleted),
            "kept as edited here": len(report.kept),
            "changed in open tabs": in_tabs,
        }
        words = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
        note(f"synced {source}: {words or 'nothing to change'}")
        self.undecided = bare(report.undecided)
        for path in self.undecided:
            note(f"{path} stays: what was deployed is not known any more, so it is yours or an old file")

    def take_up(self) -> None:
        """After a start of the daemon: plan a sync when the files are not from where the journal says."""
        live = self.actor.hosting.live
        known = (live.model_tree, live.syncing, *live.left)
        if live.model_tree is not None and not set(self._told) <= set(known):
            self.actor.hosting.save(syncing=live.syncing or live.model_tree, left=(*live.left, *self._told))

    def _bring(self, way: _Way, place: Path, skip: frozenset[bytes], *, whole: bool) -> bundle.SyncReport:
        """The sync on disk, between two notes of where the files come from; blocking. whole: nothing is left out."""
        home = self.actor.home
        self._tell((*way.bases, way.incoming))
        if bundle.lookup(self.store, way.incoming, data_link.NAME.encode()) is not None:
            data_link.withdraw(home.work)
        report = bundle.sync(self.store, home.work, way.bases, way.incoming, place, skip)
        if whole:
            self._tell((way.incoming,))
        return report

    def show_data(self) -> None:
        """Have the link to the data in the directory, if data is attached and nothing else has its name."""
        actor = self.actor
        target = actor.engine.data_link if actor.spec.data is not None else None
        try:
            data_link.show(actor.home.work, target.format(name=actor.spec.name) if target is not None else None)
        except OSError as error:  # a convenience; KAOS_DATA says the same
            actor.record.note(f"the link {data_link.NAME} to the data cannot be made: {error.strerror}")

    def _tell(self, trees: tuple[str | None, ...]) -> None:
        told = tuple(tree for tree in dict.fromkeys(trees) if tree is not None)
        if told != self._told:
            deployed.write(self.actor.home, told)
            self._told = told

    async def _sync_elsewhere(self, engine: Carrier, source: Version, host: Host, begin: Begin) -> None:
        """The same for a host that sees no directory of this machine; and keep *source* where all versions are.

        What may be in the directory the host itself says, and that it starts with nothing in it.
        """
        actor, files = self.actor, engine.files(host)
        incoming = await asyncio.to_thread(bundle.model_tree, self.store, source.digest)
        if files is not None:
            await self._bring_there(files, source, incoming, host, begin)
        await begin()
        await engine.record(actor.spec, source.digest, partial(bundle.export_tree, self.store, source.digest))

    async def _bring_there(
        self, files: HostFiles, source: Version, incoming: str | None, host: Host, begin: Begin
    ) -> None:
        """Bring the directory of a host, wherever it is, to *incoming*, and what is parked after that."""
        actor, holds, parked = self.actor, await files.holds(), bool(self.parking)
        if holds == (incoming or "",) and not parked:
            actor.hosting.save(model_tree=incoming)
            return
        if incoming != actor.hosting.live.syncing:
            self.brought = frozenset()
        actor.hosting.save(syncing=incoming)
        spliced, bases = Outcome(), tuple[str | None, ...]()
        if holds is not None:
            bases = tuple(tree or None for tree in holds)
            way = await asyncio.to_thread(self._between, bases, incoming)
            self.brought |= self._is_there(way)
            self._forget_pulled(way)
            spliced = await self._splice(host, way, begin)
            self.brought |= spliced.done
        skip, fresh, last = self.brought | spliced.held.keys(), holds is None, not spliced.held
        await actor.durable()
        elsewhere = Elsewhere(files, self.digests, place_for_copies(actor.home) / "work")
        try:
            report = await elsewhere.bring(bases, incoming, skip, fresh=fresh, last=last and not parked)
        finally:
            await begin()
            self.keep([(found.path, os.fsdecode(found.file)) for found in elsewhere.copies])
        if spliced.held:
            raise DocumentHeld("; ".join(spliced.held.values()))
        self.brought = frozenset()
        if parked:
            await self._put_back(files, incoming)
        actor.hosting.save(model_tree=incoming, left=())
        self._note(source, report, len(spliced.done))

    async def _put_back(self, files: HostFiles, incoming: str | None) -> None:
        """Bring the edits that were read out of the host before this one."""
        place = place_for_copies(self.actor.home) / "work"
        count, kept = await self.parking.put_back(files, self.digests, incoming, place)
        self.keep([(found.path, os.fsdecode(found.file)) for found in kept])
        await files.change([], None, [incoming or ""])
        if count:
            self.actor.record.note(f"{count} of your edits in the notebook were brought into its new host")

    async def leave(self, host: Host, why: str) -> None:
        """Before a host is replaced with all that is in it: tell its tabs *why*, and read out the edits made there."""
        files = self.actor.engine.files(host) if isinstance(self.actor.engine, Carrier) else None
        holds = await files.holds() if files is not None else None
        if files is None or holds is None:  # nobody has seen it yet
            return
        await files.leave(why)
        await self.parking.park(files, self.digests, [tree or None for tree in holds])
        await self.close()

    def give_up(self) -> None:
        """Keep edits that no host will get any more; blocking."""
        kept = self.parking.give_up(place_for_copies(self.actor.home) / "work")
        self.keep([(found.path, os.fsdecode(found.file)) for found in kept])

    async def _last(self, written: Iterable[bytes]) -> None:
        """Bring what was written to the disk: after a power cut an empty file would pass for a person's edit.

        Not while a save waits that will be brought next; then with it.
        """
        self._unsynced.update(written)
        if self._unsynced and not self.actor.source.pending:
            await asyncio.to_thread(bundle.sync_files, self.actor.home.work, self._unsynced)
            self._unsynced.clear()

    def prepare(self, source: Version) -> None:
        """Look up what a sync to *source* would bring, while a thread is at it anyway; blocking. KaosError, as sync."""
        live = self.actor.hosting.live
        if not isinstance(self.actor.engine, Carrier) and live.host is not None:
            way = self._way(source, live)
            self._prepared = (source, live, way) if way is None or way.small else None

    def _way(self, source: Version, live: Live) -> _Way | None:
        """What a sync has to bring; None when all is there; blocking."""
        incoming = bundle.model_tree(self.store, source.digest)
        bases = self._bases(live)
        if bases == (incoming,):
            return None
        return self._between(bases, incoming)

    def _between(self, bases: tuple[str | None, ...], incoming: str | None) -> _Way:
        """What differs; blocking."""
        changed = self._changed_files(bases[0], incoming)
        splices = self._splices(changed) if len(changed) <= ASKED_EACH else []
        return _Way(incoming, bases, tuple(changed), tuple(splices))

    def _bases(self, live: Live) -> tuple[str | None, ...]:
        """The trees whose content counts as ours: what was deployed last, and what interrupted syncs may have written.

        UNKNOWN among them when files may be there that are not known.
        """
        trees = [tree for tree in (live.model_tree, *live.left, live.syncing, *self._told) if tree is not None]
        if live.model_tree is None and not self._told:
            trees.append(bundle.UNKNOWN)
        return tuple(dict.fromkeys(trees))

    async def ask(self, source: Version, host: Host) -> None:
        """Raise DocumentHeld when a sync to *source* would, as far as that is known without changing anything."""
        incoming = await asyncio.to_thread(bundle.model_tree, self.store, source.digest)
        changed = await asyncio.to_thread(self._changed_files, self.actor.hosting.live.model_tree, incoming)
        documents = await self.documents(host)
        held = await documents.held(await documents.open() & {change.path for change in changed})
        if held:
            raise DocumentHeld("; ".join(held.values()))

    async def _splice(self, host: Host, way: _Way, begin: Begin) -> Outcome:
        """Change the documents that are open in a tab there; the rest is left to the disk."""
        documents = await self.documents(host)
        splices = [splice for splice in way.splices if splice.path not in self.brought]
        if len(way.changed) > ASKED_EACH:
            open_now = await documents.open() - self.brought
            splices = await asyncio.to_thread(
                self._splices, [change for change in way.changed if change.path in open_now]
            )
        if not splices:
            return Outcome()
        async with Copies(self.actor.home, self.keep) as copies:

            async def keep(path: bytes, text: str) -> None:
                await begin()
                await copies.keep(path, text)

            spliced = await documents.splice(splices, keep)
            copies.changed(spliced.done | spliced.doubtful)
        documents.keep_line()  # for the next save
        if spliced.held:
            self.actor.hosting.probe_due = 0.0  # whether the host answers at all decides what comes next
        return spliced

    def keep(self, copies: Sequence[tuple[bytes, str]]) -> None:
        """Write down copies of edits: the path and the file of each."""
        self.actor.record.keep(zip(bare(path for path, _ in copies), (file for _, file in copies), strict=True))

    def _changed_files(self, base: str | None, incoming: str | None) -> list[bundle.TreeChange]:
        """The files that differ, and will be files; blocking. What the store has lost of *base* differs."""
        changes = bundle.diff(self.store, base, incoming, set())
        return [change for change in changes if change.new is not None and change.new.kind in "fx"]

    def _splices(self, changed: Iterable[bundle.TreeChange]) -> list[Splice]:
        """Those changes that a text document can take; blocking."""
        found = []
        for change in changed:
            if change.new is None or max(change.new.size, change.old.size if change.old else 0) > DOCUMENT_MAX:
                continue
            new = self.store.get(change.new.digest)
            is_file = change.old is not None and change.old.kind in "fx"
            old = self._old(change.old.digest) if change.old is not None and is_file else None
            if is_text(new) and (old is None or is_text(old)):
                found.append(Splice(change.path, old, new))
        return found

    def _old(self, digest: str) -> bytes | None:
        """What was deployed; None when the store has lost it: then it counts as never deployed."""
        try:
            return self.store.get(digest)
        except ContentLost:
            return None


def differences(store: Store, old: str | None, new: str | None) -> tuple[bundle.TreeChange, ...] | None:
    """What differs; None when the store has lost a directory of *old*."""
    try:
        return bundle.diff(store, old, new)
    except ContentLost:
        return None


def is_text(content: bytes) -> bool:
    """Whether a shared document can hold *content*."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
