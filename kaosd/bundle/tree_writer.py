"""Making the new version out of a survey: only nodes whose directory changed, and those above them, are written."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping

from kaosd.bundle.index import CachedDirectory
from kaosd.bundle.listing import inode_of, kind_of, pack, records, size_and_time, unsure
from kaosd.bundle.openat import directory as open_beneath
from kaosd.bundle.read_file import SAVING, Taken, take, torn
from kaosd.bundle.store import Store
from kaosd.bundle.survey import Survey
from kaosd.bundle.tree import Entry, Kind, digest_of, encode, join, split
from kaosd.bundle.writers import Writers

_KINDS: dict[bytes, Kind] = {b"f": "f", b"x": "x", b"l": "l"}


class TreeWriter:
    """One build. root: descriptor of the root. model: the directory whose links must not leave it, or None.

    store None: only names, sizes and times are digested, and nothing is read or kept. writers: see `take`.
    changed: what is new for the stat cache. saving: paths that were being written; their entries are the previous
    ones. refused: as in the survey, with the files and links that could not be taken.
    """

    def __init__(
        self,
        store: Store | None,
        writers: Writers,
        root: int,
        base: bytes,
        model: bytes | None,
        known: Mapping[bytes, CachedDirectory],
    ) -> None:
        self._store = store
        self._writers = writers
        self._root = root
        self._base = base
        self._model = model
        self._known = known
        self.changed: dict[bytes, CachedDirectory] = {}
        self.saving: list[bytes] = []
        self.progress = [0, 0]  # files and bytes read so far; another thread may look

    def run(self, survey: Survey) -> None:
        """Rebuild all that the survey calls for, from the deepest directories up."""
        depths: defaultdict[int, set[bytes]] = defaultdict(set)
        children: defaultdict[bytes, set[bytes]] = defaultdict(set)  # by parent: those that changed, came or went
        for path in survey.gone:
            children[split(path)[0]].add(split(path)[1])
        for path in survey.listings.keys() | (children.keys() - survey.gone):
            depths[_depth(path)].add(path)
        for depth in range(max(depths, default=0), _depth(self._base) - 1, -1):
            for path in depths[depth]:
                if self._rebuild(path, survey, children.get(path, set())) and path != self._base:
                    parent, name = split(path)
                    children[parent].add(name)
                    depths[depth - 1].add(parent)

    def _rebuild(self, path: bytes, survey: Survey, children: set[bytes]) -> bool:
        """Make the node of one directory; whether it is another one than before."""
        old = self._known.get(path) if path not in survey.gone else None
        listing = survey.listings.get(path) or (old.listing if old is not None else None)
        if listing is None:
            return False
        forced = survey.forced.get(path, set())
        if old is None or listing != old.listing or forced or (children and self._store is None):
            new = self._looked_at(path, listing, old, forced, survey)
        elif children:
            new = old._replace(node=self._with_children(path, old, children, survey.gone))
        else:
            return False
        if new != old:
            self.changed[path] = new
        return old is None or new.node != old.node

    def _with_children(self, path: bytes, old: CachedDirectory, children: set[bytes], gone: set[bytes]) -> str:
        """The node of a directory in which nothing but sub-directories has changed."""
        entries = list(self._nodes(old))
        for name in children:
            at = bisect_left(entries, (name,))
            there = at < len(entries) and entries[at].name == name
            child = self._child(join(path, name), gone)
            entries[at : at + there] = [Entry(name, "d", child.node, 0)] if child is not None else []
        return self._put_node(entries)

    def _looked_at(
        self, path: bytes, listing: bytes, old: CachedDirectory | None, forced: set[bytes], survey: Survey
    ) -> CachedDirectory:
        """What to know of a directory in which something may have changed."""
        headers = records(listing)
        entries = self._reusable(path, headers, old, forced, survey.gone)
        missing = [name for name, header in headers.items() if name not in entries and kind_of(header) != b"d"]
        if missing:
            self._read(path, missing, headers, entries, old, survey.reasons(path))
        node = self._put_node(entries.values())
        files = [entry for entry in entries.values() if entry.kind != "d"]
        size = sum(entry.size for entry in files)
        return CachedDirectory(node, pack(inode_of(listing), headers), len(files), size)

    def _child(self, path: bytes, gone: set[bytes]) -> CachedDirectory | None:
        """A sub-directory as it is now; None when it is gone, or cannot be read."""
        return self.changed.get(path) or (self._known.get(path) if path not in gone else None)

    def _reusable(
        self,
        path: bytes,
        headers: dict[bytes, bytes],
        old: CachedDirectory | None,
        forced: set[bytes],
        gone: set[bytes],
    ) -> dict[bytes, Entry]:
        """The entries that need no reading: sub-directories, and files whose record is the same as before."""
        same = records(old.listing) if old is not None else {}
        before = self._entries(old)
        entries = {}
        for name, header in headers.items():
            if kind_of(header) == b"d":
                known = self._child(join(path, name), gone)
                if known is not None:
                    entries[name] = Entry(name, "d", known.node, 0)
            elif name in before and header == same.get(name) and name not in forced:
                entries[name] = before[name]
        return entries

    def _entries(self, known: CachedDirectory | None) -> dict[bytes, Entry]:
        return {entry.name: entry for entry in self._nodes(known)}

    def _nodes(self, known: CachedDirectory | None) -> tuple[Entry, ...]:
        return self._store.node(known.node) if self._store is not None and known is not None else ()

    def _read(
        self,
        path: bytes,
        names: list[bytes],
        headers: dict[bytes, bytes],
        entries: dict[bytes, Entry],
        old: CachedDirectory | None,
        refused: dict[bytes, str],
    ) -> None:
        """Take *names* of a directory: fills entries and refused, and brings headers up to date."""
        before = self._entries(old)
        for name, taken in self._take(path, names, headers, before).items():
            if taken.entry is not None:
                entries[name] = taken.entry
                headers[name] = taken.header
                refused.pop(name, None)
                continue
            if name in headers:
                headers[name] = unsure(headers[name])  # looked at again next time
            if taken.refused is not None:
                refused[name] = taken.refused
                continue
            self.saving.append(join(path, name))
            if taken is SAVING:
                self._writers.later()
            entries.pop(name, None)
            previous = before.get(name)
            if previous is not None and previous.kind != "d":
                entries[name] = previous

    def _take(
        self, path: bytes, names: list[bytes], headers: dict[bytes, bytes], before: dict[bytes, Entry]
    ) -> dict[bytes, Taken]:
        if self._store is None:
            return {name: _linked(name, headers[name]) for name in names}
        inside = self._inside(path)
        taken = {}
        try:
            with open_beneath(self._root, path) as descriptor:
                for name in names:
                    where, previous = join(path, name), before.get(name)
                    one = take(
                        self._store, self._writers, descriptor, where, headers[name], inside=inside, previous=previous
                    )
                    taken[name] = one
                    self.progress[0] += 1
                    self.progress[1] += one.entry.size if one.entry is not None else 0
                return taken | torn(descriptor, headers, before, taken)
        except OSError:  # only from opening the directory: it was replaced since it was listed
            return dict.fromkeys(names, SAVING)

    def _inside(self, path: bytes) -> bytes:
        """The directory's path within the part that its links must not leave."""
        zone = self._base
        if self._model is not None and (path + b"/").startswith(self._model + b"/"):
            zone = self._model
        return path[len(zone) :].strip(b"/")

    def _put_node(self, entries: Collection[Entry]) -> str:
        return self._store.put_node(entries) if self._store is not None else digest_of(encode(sorted(entries)))


def _linked(name: bytes, header: bytes) -> Taken:
    """The entry of a file whose content is not looked at."""
    size, stamp = size_and_time(header)
    return Taken(Entry(name, _KINDS[kind_of(header)], digest_of(stamp), size), header)


def _depth(path: bytes) -> int:
    return path.count(b"/") + 1 if path else 0
