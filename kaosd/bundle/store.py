"""The content-addressed store: every content once, under its blake3 digest, shared by all roots and versions.

Small contents lie in append-only packs, large ones in files of their own; index.db says where. What is put is
readable at once and durable after `flush`; a killed writer leaves only what the next opening removes. Safe to use
from several threads. One process at a time has it open.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from weakref import WeakKeyDictionary

from kaosd.bundle.copying import check_grown, check_same, copy, hash_file, read_all, write_all
from kaosd.bundle.decoded import Decoded
from kaosd.bundle.durable import sync
from kaosd.bundle.failing import store_error, store_errors
from kaosd.bundle.index import LARGE, CacheUpdate, Index, Known, Spot
from kaosd.bundle.packs import Packs
from kaosd.bundle.sweep import Sweeping, Swept, reachable
from kaosd.bundle.tree import Entry, decode, digest_of, encode
from kaosd.errors import ContentLost, StoreError

LARGE_FROM = 1 << 20  # bytes from which a content is a file of its own
_RESERVE = 256 << 10  # bytes kept back, so that a sweep can begin when the disk is full


class Store:
    """The store below *directory*, which is made if absent (mode 0700).

    Its methods raise StoreError: disk full (what was there stays readable, and the same call works again when
    there is space), or damage (the content then counts as absent, and `damages` grows so that scanners read
    their files again and put it back).
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._large = directory / "large"
        self._lock = threading.RLock()  # everything below; held shortly
        self._flushing = threading.Lock()  # one flush at a time; taken before the other
        self._sweeping = threading.Lock()  # one sweep at a time; taken before both
        self._pending: dict[str, Spot] = {}  # put, not committed
        self._nodes = Decoded()
        self._holders = 0  # running scans and sweeps
        self._held: set[str] = set()  # what they put or met; not to be swept
        self._in_use: WeakKeyDictionary[object, str] = WeakKeyDictionary()
        self._temporary = 0
        self.damages = 0
        with contextlib.ExitStack() as undo, store_errors("open the store", directory):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = _lock(directory)
            undo.callback(os.close, self._descriptor)
            for name in ("large", "packs"):
                (directory / name).mkdir(exist_ok=True, mode=0o700)
            self._index = Index(directory / "index.db")
            undo.callback(self._index.close)
            self._packs = Packs(directory / "packs", self._index.packs())
            self._remove_leftovers()
            self._keep_reserve()
            undo.pop_all()

    def close(self) -> None:
        """Close all files; what was put and not flushed is gone."""
        with self._flushing, self._lock:
            self._packs.close()
            self._index.close()
            os.close(self._descriptor)

    # -- contents ------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> str:
        """Take *data* and return its digest; costs nothing more when it is there already."""
        digest = digest_of(data)
        try:
            with self._lock:
                if self._met(digest):
                    return digest
                if len(data) < LARGE_FROM:
                    self._pending[digest] = Spot(*self._packs.append(data), len(data))
                    return digest
            return self._put_large(lambda descriptor: write_all(descriptor, data))
        except (OSError, sqlite3.Error) as error:  # not store_errors: this is called for every file
            raise store_error("write to", self._directory, error) from error

    def put_file(self, descriptor: int, before: os.stat_result, *, grows: bool = False) -> str:
        """Take the whole content of an open file, whose fstat was *before*; its digest.

        ChangingError when its size, times or inode are not the same afterwards (nothing is taken then). grows: of a
        file that only grows what there was of it *before* is taken, however much follows.
        """
        check = check_grown if grows else check_same
        if before.st_size < LARGE_FROM:
            data = read_all(descriptor, before.st_size)
            check(descriptor, before, len(data))
            return self.put(data[: before.st_size])

        def fill(target: int) -> None:
            check(descriptor, before, copy(descriptor, target))
            os.ftruncate(target, before.st_size)

        with store_errors("write to", self._directory):
            return self._put_large(fill)

    def get(self, digest: str) -> bytes:
        """The content of *digest*, checked against it."""
        with self._lock:
            spot = self._spot(digest)
            with self._absent_is_damage(digest):
                data = self._packs.read(*spot) if spot.pack != LARGE else (self._large / digest).read_bytes()
        if digest_of(data) != digest:
            raise self._damaged(digest)
        return data

    def write_to(self, digest: str, descriptor: int) -> None:
        """Write the content to an open file; of a large one only the size is checked, so that it can be cloned."""
        with self._lock:
            spot = self._spot(digest)
            source = -1
            if spot.pack == LARGE:
                with self._absent_is_damage(digest):
                    source = os.open(self._large / digest, os.O_RDONLY | os.O_CLOEXEC)
        if source < 0:
            write_all(descriptor, self.get(digest))
            return
        try:
            if copy(source, descriptor) != spot.size:
                raise self._damaged(digest)
        finally:
            os.close(source)

    def __contains__(self, digest: str) -> bool:
        with self._lock:
            return digest in self._pending or self._index.find(digest) is not None

    # -- nodes ---------------------------------------------------------------------------------------------

    def put_node(self, entries: Collection[Entry]) -> str:
        """Take a directory node and return its digest."""
        node = tuple(sorted(entries))
        digest = self.put(encode(node))
        with self._lock:
            self._nodes.keep(digest, node)
        return digest

    def node(self, digest: str) -> tuple[Entry, ...]:
        """The entries of a directory node, sorted by name."""
        with self._lock:
            known = self._nodes.find(digest)
        if known is not None:
            return known
        try:
            node = decode(self.get(digest))
        except ValueError as error:
            raise ContentLost(f"{digest[:12]} in {self._directory} is no directory node") from error
        with self._lock:
            self._nodes.keep(digest, node)
        return node

    def forget_nodes(self, least: int = 0) -> bool:
        """Read nodes anew from now on, if this many of their entries are kept decoded; whether they are."""
        with self._lock:
            if self._nodes.entries < least:
                return False
            self._nodes.clear()
            return True

    # -- durability ----------------------------------------------------------------------------------------

    def flush(self, update: CacheUpdate | None = None) -> None:
        """Make all that was put durable, then commit it together with a change of a stat cache."""
        with self._flushing, store_errors("write to", self._directory):
            self._flush(update)

    def _flush(self, update: CacheUpdate | None, moved: Mapping[str, Spot] = MappingProxyType({})) -> None:
        """moved: contents that now lie elsewhere. The caller holds `_flushing`."""
        with self._lock:
            self._packs.write_out()
            spots, lengths, begun = {**moved, **self._pending}, dict(self._packs.unsynced), self._packs.begun
            self._packs.begun = False
        if not spots and update is None:
            return
        for pack in lengths:
            self._packs.sync(pack)
        large = [digest for digest, spot in spots.items() if spot.pack == LARGE]
        for digest in large:
            sync(self._large / digest)
        if large:
            sync(self._large)
        if begun:
            sync(self._directory / "packs")
        with self._lock:
            self._index.commit(spots, lengths, update)
            for digest in spots:
                self._pending.pop(digest, None)
            if not self._pending:
                self._pending.clear()  # an empty dictionary keeps the room of all that it once held
            for pack, length in lengths.items():
                if self._packs.unsynced[pack] == length:
                    del self._packs.unsynced[pack]

    # -- stat caches ---------------------------------------------------------------------------------------

    def cache(self, root: bytes) -> tuple[str | None, dict[bytes, Known]]:
        """The tree and the stat cache of *root* as of its last flush; None and nothing when there is none."""
        with self._lock, store_errors("read", self._directory):
            return self._index.trees().get(root), self._index.cache(root)

    def cached(self) -> frozenset[bytes]:
        """The roots that have a stat cache."""
        with self._lock, store_errors("read", self._directory):
            return frozenset(self._index.trees())

    def in_use(self, owner: object, tree: str) -> None:
        """Keep *tree* from sweeps for as long as *owner* lives, or until it names another one."""
        with self._lock:
            self._in_use[owner] = tree

    def forget(self, roots: Iterable[bytes]) -> None:
        """Drop the stat caches of roots that are not looked at any more; sweeps no longer keep their trees."""
        with self._lock, store_errors("write to", self._directory):
            self._index.forget(roots)

    # -- sweeping ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """While inside, no sweep removes what has been put, or found to be there already, since entering."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    self._held.clear()

    def sweep(self, keep: Iterable[str]) -> Swept:
        """Drop all that is not reachable from the trees *keep*, from what roots hold now, or from running scans.

        Rewrites packs that are mostly dead. May be killed at any instant: nothing that is kept is ever in danger.
        Saves go on meanwhile: what they put or meet is held, and the rest of them is in these trees.
        """
        with self._sweeping, self.holding(), store_errors("write to", self._directory):
            with self._flushing:
                (self._directory / "reserve").unlink(missing_ok=True)
                self._flush(None)
            with self._lock:
                roots = [*keep, *self._index.trees().values(), *self._in_use.values()]
            sweeping = Sweeping(self._lock, self._index, self._packs, self._nodes, self._large, self._held)
            swept = sweeping.drop_all_but(reachable(self, roots))
            for pack in sweeping.sparse():
                moved = sweeping.copied(pack)
                with self._flushing:
                    self._flush(None, moved)
                    sweeping.remove(pack)
            self._keep_reserve()
        return swept

    # -- inside --------------------------------------------------------------------------------------------

    def _met(self, digest: str) -> bool:
        """Whether it is there; from now on held for the scans that are running. The caller holds the lock."""
        if self._holders:
            self._held.add(digest)
        return digest in self._pending or self._index.find(digest) is not None

    def _spot(self, digest: str) -> Spot:
        with store_errors("read", self._directory):
            spot = self._pending.get(digest) or self._index.find(digest)
        if spot is None:
            raise ContentLost(f"content {digest[:12]} is not in {self._directory}", hint="it was swept, or never put")
        return spot

    def _put_large(self, fill: Callable[[int], None]) -> str:
        with self._lock:
            self._temporary += 1
            temporary = self._large / f"temporary-{self._temporary}"
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fill(descriptor)
            digest = hash_file(descriptor)
            with self._lock:
                if not self._met(digest):
                    temporary.rename(self._large / digest)
                    self._pending[digest] = Spot(LARGE, 0, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
        return digest

    @contextlib.contextmanager
    def _absent_is_damage(self, digest: str) -> Iterator[None]:
        try:
            with store_errors("read", self._directory):
                yield
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise self._damaged(digest) from error
            raise

    def _damaged(self, digest: str) -> ContentLost:
        """Forget a content that is not what it should be, what else of its pack is not, and all stat caches.

        So all files are read again, and what is put then is not taken to be there already.
        """
        with self._lock, store_errors("write to", self._directory):
            spot = self._pending.pop(digest, None) or self._index.find(digest)
            others = self._index.spots_in(spot.pack) if spot is not None and spot.pack != LARGE else {}
            lost = [other for other, at in others.items() if not self._is_whole(other, at)]
            for each in (digest, *lost):
                self._nodes.drop(each)
            self._index.drop([digest, *lost])
            self._index.forget(self._index.trees())
            self.damages += 1
        return ContentLost(
            f"content {digest[:12]} in {self._directory} is damaged",
            hint="the next scan puts it back from the source; check the disk if this happens again",
        )

    def _is_whole(self, digest: str, spot: Spot) -> bool:
        try:
            return digest_of(self._packs.read(*spot)) == digest
        except OSError:
            return False

    def _remove_leftovers(self) -> None:
        known = self._index.large()
        for file in self._large.iterdir():
            if file.name not in known:
                file.unlink()

    def _keep_reserve(self) -> None:
        """Best effort: without it a sweep on a full disk has to wait until a person frees some space."""
        with contextlib.suppress(OSError), (self._directory / "reserve").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _RESERVE)


def _lock(directory: Path) -> int:
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreError(f"{directory} is in use by another daemon", hint="stop that one first") from error
    return descriptor
