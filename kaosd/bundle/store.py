"""The content-addressed store: every content once, under its blake3 digest, shared by all roots and versions.

Small contents lie in append-only packs, large ones in files of their own; index.db says where, and is made again
from them when it is damaged. What is put is readable at once and durable after `flush`. Nothing is handed out that
was not compared with its digest: small contents each time, a large one once for as long as its file is the same.
Safe to use from several threads. One process at a time has it open.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import stat
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from weakref import WeakKeyDictionary

from kaosd.aside import discard, is_file, set_aside
from kaosd.bundle.copying import check_grown, check_same, copy, hash_file, read_all, stamp, write_all
from kaosd.bundle.durable import sync
from kaosd.bundle.index import LARGE, CacheDamagedError, CachedDirectory, CacheUpdate, Index, Spot, is_damage
from kaosd.bundle.node_cache import NodeCache
from kaosd.bundle.packs import EXHAUSTED, Packs
from kaosd.bundle.store_errors import store_error, store_errors
from kaosd.bundle.sweep import Sweeping, Swept, reachable
from kaosd.bundle.tree import Entry, decode, digest_of, encode
from kaosd.errors import ContentLost, StoreError

LARGE_FROM = 1 << 20  # bytes from which a content is a file of its own
_RESERVE = 256 << 10  # bytes kept back, so that a sweep can start when the disk is full
_GRAIN = 20_000_000  # ns; two ticks of the clock that stamps files: a change within one looks like none
_REPLACED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}  # what is opened is not our file any more
_DIGEST = 64  # characters
_TEMPORARY = "temporary-"


class Store:
    """The store below *directory*, which is made if absent (mode 0700).

    Its methods raise StoreError: disk full (what was there stays readable, and the same call works again when
    there is space), or damage (the content then counts as absent, and `damages` grows so that scanners read
    their files again and put it back). repaired: a sentence on the last damage found since opening, and when it was
    found; None when there was none.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._large = directory / "large"
        self._lock = threading.RLock()  # everything below; held shortly
        self._flushing = threading.Lock()  # one flush at a time; taken before the other
        self._sweeping = threading.Lock()  # one sweep at a time; taken before both
        self._pending: dict[str, Spot] = {}  # put, not committed
        self._nodes = NodeCache()
        self._holders = 0  # running scans and sweeps
        self._held: set[str] = set()  # what they put or met; not to be swept
        self._in_use: WeakKeyDictionary[object, str] = WeakKeyDictionary()
        self._temporary = 0
        self._verified: dict[str, tuple[int, int, int, int]] = {}  # large contents, and the file that was compared
        self.damages = 0
        self.repaired: tuple[str, float] | None = None
        with contextlib.ExitStack() as undo, store_errors("open the store", directory):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = _lock(directory)
            undo.callback(os.close, self._descriptor)
            for name in ("large", "packs"):
                if not (directory / name).is_dir():
                    discard(directory / name)
                (directory / name).mkdir(exist_ok=True, mode=0o700)
            is_gone = not os.path.lexists(directory / "index.db") and any((directory / "packs").iterdir())
            self._index = Index(directory / "index.db")
            self._index.damage = self._index.damage or ("it was gone" if is_gone else None)
            undo.callback(self._index.close)
            self._packs = Packs(directory / "packs")
            undo.callback(self._packs.close)
            try:
                self._take_stock()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._index.begin_again(str(error))
                self._take_stock()
            self._keep_reserve()
            undo.pop_all()

    def close(self) -> None:
        """Close all files; what was put and not flushed is gone."""
        with self._flushing, self._lock:
            self._packs.close()
            self._index.close()
            os.close(self._descriptor)

    def size(self) -> int:
        """Bytes that the store takes on the disk; blocking."""
        found = 0
        for directory, _, names in os.walk(self._directory):
            for name in names:
                with contextlib.suppress(OSError):  # it was swept meanwhile
                    found += os.lstat(os.path.join(directory, name)).st_blocks * 512
        return found

    # -- contents ------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> str:
        """Take *data* and return its digest; costs nothing more when it is there already."""
        digest = digest_of(data)
        try:
            with self._lock:
                if self._met(digest):
                    return digest
                if len(data) < LARGE_FROM:
                    self._pending[digest] = Spot(*self._packs.append(digest, data), len(data))
                    return digest
            return self._put_large(lambda descriptor: write_all(descriptor, data))
        except (OSError, sqlite3.Error) as error:  # not _errors: this is called for every file
            raise self._error("write to", error) from error

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

        with self._errors("write to"):
            return self._put_large(fill)

    def get(self, digest: str) -> bytes:
        """The content of *digest*, checked against it."""
        spot, data = self._small(digest)
        if data is not None:
            return data
        descriptor = self._verified_file(digest)
        try:
            return read_all(descriptor, spot.size)
        finally:
            os.close(descriptor)

    def write_to(self, digest: str, descriptor: int) -> None:
        """Write the content, checked against its digest, to an open file; of a large one the system may clone it."""
        spot, data = self._small(digest)
        if data is not None:
            write_all(descriptor, data)
            return
        source = self._verified_file(digest)
        try:
            before = os.fstat(source)
            if copy(source, descriptor) != spot.size or stamp(os.fstat(source)) != stamp(before):
                raise self._damaged(digest)
        finally:
            os.close(source)

    def check(self, digest: str) -> None:
        """ContentLost when the content is not what it must be."""
        _, data = self._small(digest)
        if data is None:
            os.close(self._verified_file(digest))

    def __contains__(self, digest: str) -> bool:
        with self._errors("read"), self._lock:
            return digest in self._pending or self._index.find(digest) is not None

    def had(self, digest: str) -> bool:
        """Whether this content is the store's, or was and is lost: who has it elsewhere may have it from here."""
        with self._errors("read"), self._lock:
            return digest in self or self._index.was_lost(digest)

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
        except (ValueError, KeyError, struct.error) as error:
            raise ContentLost(f"{digest[:12]} in {self._directory} is not a directory node") from error
        with self._lock:
            self._nodes.keep(digest, node)
        return node

    def forget_nodes(self, least: int = 0) -> bool:
        """Read nodes again from now on, if this many of their entries are kept decoded; whether they are."""
        with self._lock:
            if self._nodes.entries < least:
                return False
            self._nodes.clear()
            return True

    # -- durability ----------------------------------------------------------------------------------------

    def flush(self, update: CacheUpdate | None = None) -> None:
        """Make all that was put durable, then commit it together with a change of a stat cache."""
        with self._errors("write to"), self._flushing:
            self._flush(update)

    def _flush(self, update: CacheUpdate | None, moved: Mapping[str, Spot] = MappingProxyType({})) -> None:
        """moved: contents that now lie elsewhere. The caller holds `_flushing`."""
        with self._lock:
            self._packs.write_out()
            spots, lengths, begun = {**moved, **self._pending}, dict(self._packs.unsynced), self._packs.begun
            self._packs.begun = False
        if not spots and update is None:
            return
        self._sync(lengths, [digest for digest, spot in spots.items() if spot.pack == LARGE])
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

    def _sync(self, packs: Iterable[int], large: Collection[str]) -> None:
        """Write packs and large contents to the disk; what is not there any more is lost."""
        for pack in packs:
            if not self._packs.sync(pack):
                raise self._gone(pack)
        for digest in large:
            try:
                sync(self._large / digest)
            except OSError as error:
                if error.errno in _REPLACED:
                    raise self._damaged(digest) from error
                raise
        if large:
            sync(self._large)

    # -- stat caches ---------------------------------------------------------------------------------------

    def cache(self, root: bytes) -> tuple[str | None, dict[bytes, CachedDirectory]]:
        """The tree and the stat cache of *root* as of its last flush; None and nothing when there is none."""
        try:
            with contextlib.suppress(ContentLost), self._errors("read"), self._lock:  # then the index is another one
                return self._index.trees().get(root), self._index.cache(root)
        except CacheDamagedError:
            self._lose([], "what was known of a directory is not what was written")
        return None, {}

    def cached(self) -> frozenset[bytes]:
        """The roots that have a stat cache."""
        with self._errors("read"), self._lock:
            return frozenset(self._index.trees())

    def in_use(self, owner: object, tree: str) -> None:
        """Keep *tree* from sweeps for as long as *owner* lives, or until it names another one."""
        with self._lock:
            self._in_use[owner] = tree

    def forget(self, roots: Iterable[bytes]) -> None:
        """Drop the stat caches of roots that are not looked at any more; sweeps no longer keep their trees."""
        with self._errors("write to"), self._lock:
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
        Saves continue meanwhile: what they put or meet is held, and the rest of them is in these trees.
        """
        with self._errors("write to"), self._sweeping, self.holding():
            with self._flushing:
                discard(self._directory / "reserve")
                self._flush(None)
            with self._lock:
                roots = [*keep, *self._index.trees().values(), *self._in_use.values()]
            sweeping = Sweeping(self._lock, self._index, self._packs, self._nodes, self._large, self._held)
            live, whole = reachable(self, roots)
            swept = sweeping.drop_all_but(live, remember=not whole)
            for pack in sweeping.sparse():
                moved, lost = sweeping.copied(pack)
                with self._flushing:
                    self._flush(None, moved)
                    sweeping.remove(pack)
                if lost:
                    self._lose(lost, f"{len(lost)} contents of a pack could not be read")
            with self._lock:
                if whole:
                    self._index.forget_lost()
                self._verified = {each: seen for each, seen in self._verified.items() if each in live}
            self._keep_reserve()
        return swept

    # -- inside --------------------------------------------------------------------------------------------

    def _met(self, digest: str) -> bool:
        """Whether it is there; from now on held for the scans that are running. The caller holds the lock."""
        if self._holders:
            self._held.add(digest)
        return digest in self._pending or self._index.find(digest) is not None

    def _spot(self, digest: str) -> Spot:
        spot = self._pending.get(digest) or self._index.find(digest)
        if spot is None:
            raise ContentLost(f"content {digest[:12]} is not in {self._directory}", hint="it was swept, or never put")
        return spot

    def _small(self, digest: str) -> tuple[Spot, bytes | None]:
        """Where a content is, and the content itself, checked, if that is in a pack."""
        with self._errors("read"), self._lock:
            spot = self._spot(digest)
            data = self._packs.read(*spot) if spot.pack != LARGE else None
        if data is not None and digest_of(data) != digest:
            raise self._damaged(digest)
        return spot, data

    def _put_large(self, fill: Callable[[int], None]) -> str:
        with self._lock:
            self._temporary += 1
            self._large.mkdir(exist_ok=True, mode=0o700)  # somebody may have removed it
            temporary = self._large / f"{_TEMPORARY}{self._temporary}"
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

    def _verified_file(self, digest: str) -> int:
        """A descriptor of a large content, which was compared with its digest since its file was last changed."""
        with self._errors("read"):
            try:
                descriptor = os.open(self._large / digest, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno in EXHAUSTED:
                    raise
                raise self._damaged(digest) from error
            try:
                if self._is_verified(digest, descriptor, os.fstat(descriptor)):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            raise self._damaged(digest)

    def _is_verified(self, digest: str, descriptor: int, before: os.stat_result) -> bool:
        if self._verified.get(digest) == stamp(before):
            return True
        now = time.time_ns()
        try:
            if not stat.S_ISREG(before.st_mode) or hash_file(descriptor) != digest:
                return False
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            return False
        if before.st_ctime_ns < now - _GRAIN:  # else a change that comes now would leave the same times
            with self._lock:
                self._verified[digest] = stamp(before)
        return True

    # -- damage --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """As store_errors; a damaged index is made again, and what was wanted of it counts as lost."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise self._error(doing, error) from error

    def _error(self, doing: str, error: OSError | sqlite3.Error) -> StoreError:
        """What to raise from *error*; a damaged index is made again."""
        if not (isinstance(error, sqlite3.Error) and is_damage(error)):
            return store_error(doing, self._directory, error)
        try:
            with self._lock:
                self._index.begin_again(str(error))
                self._take_stock()
        except (OSError, sqlite3.Error) as worse:
            return store_error("make the index again in", self._directory, worse)
        return ContentLost(f"the index in {self._directory} was damaged", hint="kaosd has made it again and continues")

    def _take_stock(self) -> None:
        """Bring index and files together: take in what only the files report, forget what only the index reports."""
        lengths, ends, taken = self._packs.lengths(), self._index.ends(), self._index.packs()
        lost = [
            digest
            for pack, end in ends.items()
            if end > lengths.get(pack, -1)
            for digest, spot in self._index.spots_in(pack).items()
            if spot.offset + spot.size > lengths.get(pack, -1)
        ]
        for pack, length in lengths.items():
            if length > taken.get(pack, 0):
                lost += self._take_in(pack, taken.get(pack, 0), length)
        files = self._large_files()
        for digest in files.keys() - self._index.large() - self._pending.keys():
            self._pending[digest] = Spot(LARGE, 0, files[digest])
        lost += sorted(self._index.large() - files.keys())
        if self._index.damage is not None:
            self._lose(lost, f"its index was set aside ({self._index.damage}) and made again from the rest")
        elif lost:
            self._lose(lost, f"{len(lost)} of its contents are gone")
        self._index.drop((), taken.keys() - lengths.keys())
        self._index.damage = None

    def _take_in(self, pack: int, start: int, length: int) -> list[str]:
        """Take in what the headers of a pack report behind *start*; the contents that are damaged there."""
        lost = []
        self._packs.unsynced.setdefault(pack, length)
        for found in self._packs.contents(pack, start):
            if found.digest in self._pending or self._index.find(found.digest) is not None:
                continue
            if found.whole:
                self._pending[found.digest] = Spot(pack, found.offset, found.size)
            else:
                lost.append(found.digest)
        return lost

    def _large_files(self) -> dict[str, int]:
        """The files of large contents by digest, with their bytes; what else lies there goes."""
        files = {}
        for file in self._large.iterdir():
            name = file.name
            if self._temporary and name.startswith(_TEMPORARY):
                continue  # somebody writes it now
            if len(name) == _DIGEST and set(name) <= set("0123456789abcdef") and is_file(file):
                files[name] = file.stat().st_size
            else:
                discard(file)
        return files

    def _damaged(self, digest: str) -> ContentLost:
        """Lose a content that is not what it should be, and what else of its pack is not."""
        with self._errors("write to"), self._lock:
            spot = self._pending.get(digest) or self._index.find(digest)
            if spot is not None and spot.pack != LARGE:
                others = self._index.spots_in(spot.pack)
                others |= {each: at for each, at in self._pending.items() if at.pack == spot.pack}
            else:
                others = {}
                discard(self._large / digest)
            others.pop(digest, None)
            lost = [other for other, at in others.items() if digest_of(self._packs.read(*at)) != other]
            self._lose([digest, *lost], f"{len(lost) + 1} of its contents could not be read")
        return ContentLost(
            f"content {digest[:12]} in {self._directory} is damaged",
            hint="the next scan puts it back from the source; check the disk if this happens again",
        )

    def _gone(self, pack: int) -> ContentLost:
        """Lose a pack whose file is not there any more, although it was written to."""
        with self._lock:
            lost = [digest for digest, spot in self._pending.items() if spot.pack == pack]
            self._lose([*lost, *self._index.spots_in(pack)], f"its pack {pack} is gone")
            self._index.drop((), (pack,))
            self._packs.remove(pack)
        return ContentLost(f"pack {pack} in {self._directory} is gone", hint="the next scan puts back what it held")

    def _lose(self, lost: Collection[str], what: str) -> None:
        """Forget contents, remembering that they were here, and all stat caches.

        So all files are read again, and what is put then is not taken to be there already.
        """
        with self._lock:
            for digest in lost:
                self._nodes.drop(digest)
                self._pending.pop(digest, None)
                self._verified.pop(digest, None)
            self._index.drop(lost, lost=True)
            self._index.forget(self._index.trees())
            self.damages += 1
            self.repaired = f"{self._directory} was damaged: {what}", time.time()

    def _keep_reserve(self) -> None:
        """Best effort: without it a sweep on a full disk has to wait until a person frees some space."""
        reserve = self._directory / "reserve"
        with contextlib.suppress(OSError):
            if not is_file(reserve):
                discard(reserve)
            with reserve.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, _RESERVE)


def _lock(directory: Path) -> int:
    path = directory / "lock"
    if os.path.lexists(path) and (path.is_symlink() or not is_file(path)):
        set_aside(path, time.time())
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreError(f"{directory} is in use by another daemon", hint="stop that one first") from error
    return descriptor
