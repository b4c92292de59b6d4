"""Looking at a root: what is there becomes a version, at a cost that follows the change and not the tree.

The first scan, and every scan that is given no path, walks everything against the stat cache. A scan that is given
the dirty paths touches only those. Either way the same version comes out.
"""

from __future__ import annotations

import contextlib
import os
import threading
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Literal

from kaosd.bundle.comparing import Comparison, ExpectedEntry
from kaosd.bundle.copying import stamp
from kaosd.bundle.ignore import Matcher, Verdict
from kaosd.bundle.index import CachedDirectory, CacheUpdate
from kaosd.bundle.openat import open_root
from kaosd.bundle.scan_result import Refused, Scan
from kaosd.bundle.source import REQUIREMENTS, find_base, git_busy, has_environment, is_kaos, model_of
from kaosd.bundle.store import Store
from kaosd.bundle.survey import Survey
from kaosd.bundle.tree import Entry, join, lookup, split
from kaosd.bundle.tree_writer import TreeWriter
from kaosd.bundle.writers import Writers
from kaosd.errors import BundleError, ContentLost, StoreError
from kaosd.model import Version

RULES = ".kaosignore"
_MANY = 1_000  # directories that changed in one look


class Scanner:
    """Looks at one root; used by one thread at a time, but for `compare`, `distrust` and what only asks.

    kind: "source", "data" (a version with content) or "link" (a version of names, sizes and mtimes only; nothing
    is read or stored). key: the name of its stat cache in the store. progress: files and bytes that the running
    scan has read so far, for other threads to look at.
    """

    def __init__(self, root: Path, store: Store, *, kind: Literal["source", "data", "link"]) -> None:
        self.key = f"{kind}:".encode() + os.path.abspath(os.fsencode(root))
        self.progress: list[int] = [0, 0]
        self._root = os.path.abspath(os.fsencode(root))
        self._store = store
        self._kind = kind
        self._known: dict[bytes, CachedDirectory] = {}
        self._tree: str | None = None
        self._files = self._bytes = 0
        self._changed = 0  # directories that the last look found to be other ones
        self._refused: dict[bytes, dict[bytes, str]] = {}
        self._saving: tuple[bytes, ...] = ()
        self._writers = Writers()
        self._comparison = Comparison(self._writers)
        self._using = threading.RLock()
        self._wanted = False  # by a look, for which a comparison stops
        self._base: bytes | None = None
        self._identity = (0, 0)
        self._rules: object = None
        self._matcher = Matcher()
        self._damages = store.damages
        self._distrusted = False  # whether somebody has missed a content
        self._trusted = False  # whether the last look went well, so that dirty paths are all that is new
        self._unsaved: CacheUpdate | None = None
        if kind != "link":
            self._tree, self._known = store.cache(self.key)
            self._keep_tree()
        self._count()
        self._was_kaos = kind == "source" and self._tree is not None and self._has_requirements()

    def _has_requirements(self) -> bool:
        """Whether the version of the last scan had kaos's shape; not when the store has lost it."""
        try:
            return lookup(self._store, self._tree, REQUIREMENTS) is not None
        except ContentLost:
            return False

    def scan(self, dirty: Collection[bytes] | None = None, closed: Collection[bytes] = ()) -> Scan:
        """Look at *dirty* paths (relative to the root), or at everything (None); durable when it returns.

        closed: of these, what the last event said to be closed or renamed, which counts where the kernel does not tell
        whether somebody is still writing it.
        What a person has to fix in the root comes back as `problem`. StoreError when the store fails; the next
        scan then walks everything.
        """
        found = self.look(dirty, closed)
        self.flush()
        return found

    def look(self, dirty: Collection[bytes] | None = None, closed: Collection[bytes] = ()) -> Scan:
        """As `scan`, but what is found can only be read: it is durable after `flush`."""
        with self._alone():
            return self._look_once(dirty, closed)

    def compare(self, stopped: Callable[[], bool] = lambda: False) -> tuple[frozenset[bytes], bool]:
        """The paths that are not what the last scan found, for what no event tells; and whether that is all.

        Another thread may call this: it ends when *stopped*, or when a scan starts, and the next call continues. It
        does nothing while there is no good look to compare with.
        """
        if not self._using.acquire(blocking=False):
            return frozenset(), False
        try:
            if not self._trusted:
                return frozenset(), False
            if not self._stands():
                return frozenset({b""}), True
            expected = ExpectedEntry(
                self._root, self._known, self._refused, set(self._saving), self._matcher, self._entry
            )
            found = self._comparison.run(expected, lambda: self._wanted or stopped())
            return frozenset(found), self._comparison.complete
        finally:
            self._using.release()

    def _look_once(self, dirty: Collection[bytes] | None, closed: Collection[bytes]) -> Scan:
        self.flush()
        trusted, self._trusted = self._trusted, False
        distrusted, self._distrusted = self._distrusted, False
        if distrusted or self._damages != self._store.damages:
            self._damages, self._known, self._tree, trusted = self._store.damages, {}, None, False
            self._count()
        self._writers.begin(closed)
        try:
            with self._store.holding():
                found = self._look(dirty if trusted else None)
        except BundleError as error:
            return self._problem(str(error))
        if self._changed > _MANY and self._kind != "link":
            self.flush()
            self._pack_together()
        self._trusted = True
        return found

    def flush(self) -> None:
        """Make durable what was found. StoreError when it cannot be; then the next scan tries again, and walks all."""
        if self._unsaved is None:
            return
        with self._alone():
            trusted, self._trusted = self._trusted, False
            self._store.flush(self._unsaved)
            self._unsaved, self._trusted = None, trusted

    def distrust(self) -> None:
        """Read everything again at the next scan, because the store has lost something; any thread may say so."""
        self._distrusted = True

    @property
    def rules(self) -> object:
        """Changes whenever the person's rules do, so that a watcher can learn again what to leave out."""
        return self._rules

    def ignored(self, path: bytes, is_dir: bool) -> bool:
        """Whether *path* is left out by the rules of the last scan; any thread may ask."""
        return self._matcher.ignored(path, is_dir)

    @property
    def top(self) -> bytes:
        """The directory that is the notebook's root, relative to the root; as of the last scan."""
        base = self._base or b""
        return self._model(base) or base

    def explain(self, path: bytes) -> tuple[bytes, Verdict] | None:
        """The path in the bundle and the verdict for an absolute *path*; None when it is not below the root."""
        inside = os.path.relpath(path, self._root)
        if inside == b".." or inside.startswith(b"../"):
            return None
        base = (self._base or b"") + b"/" if self._base else b""
        verdict = self._matcher.explain(inside, os.path.isdir(path))
        return inside.removeprefix(base), verdict

    def forget(self) -> None:
        """Drop the stat cache, so that sweeps no longer keep the tree."""
        self._store.forget([self.key])

    def _look(self, dirty: Collection[bytes] | None) -> Scan:
        try:
            root = open_root(self._root)
        except FileNotFoundError:
            self._identity = (0, 0)
            if self._kind == "data" and not self._files:
                return self._nothing()
            raise self._unusable("does not exist", "make it, or correct its path in the configuration") from None
        except OSError as error:
            raise self._unusable(f"cannot be read: {error.strerror}", "it must be a readable directory") from error
        try:
            return self._look_at(root, dirty)
        except OSError as error:
            raise self._unusable(f"cannot be read: {error.strerror}", "kaosd tries again") from error
        finally:
            os.close(root)

    def _look_at(self, root: int, dirty: Collection[bytes] | None) -> Scan:
        whole = self._prepare(root) or dirty is None
        base = self._base or b""
        survey = Survey(self._root, base, self._matcher, self._known, self._refused)
        if whole or dirty is None:
            survey.everything()
        else:
            survey.some({*dirty, *self._saving})
        model = self._model(base)
        store = None if self._kind == "link" else self._store
        build = TreeWriter(store, self._writers, root, base, model, self._known)
        self.progress = build.progress
        build.run(survey)
        self._commit(survey, build, base)
        return self._found()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While inside, no comparison runs; one that does stops."""
        self._wanted = True
        with self._using:
            self._wanted = False
            yield

    def _stands(self) -> bool:
        """Whether the root is the same directory, with the same rules, as in the last scan."""
        try:
            status = os.stat(self._root)
        except OSError:
            return self._identity == (0, 0)
        return (status.st_dev, status.st_ino) == self._identity and self._stamp_of_rules() == self._rules

    def _stamp_of_rules(self) -> object:
        try:
            return stamp(os.stat(os.path.join(self._root, os.fsencode(RULES))))
        except OSError:
            return None

    def _entry(self, path: bytes) -> Entry | None:
        """The entry of *path* in the last version; None when there is none, or it cannot be read."""
        directory, name = split(path)
        known = self._known.get(directory)
        if known is None or self._kind == "link":
            return None
        try:
            entries = self._store.node(known.node)
        except StoreError:
            return None
        at = bisect_left(entries, (name,))
        return entries[at] if at < len(entries) and entries[at].name == name else None

    def _prepare(self, root: int) -> bool:
        """Bring identity, rules and base up to date; whether one of them changed."""
        status = os.fstat(root)
        identity, rules = (status.st_dev, status.st_ino), self._stamp_of_rules()
        changed = identity != self._identity or rules != self._rules
        if changed:
            self._comparison.forget()
            self._matcher = Matcher.load(Path(os.fsdecode(self._root)), (RULES,), data=self._kind != "source")
        base = self._find_base() if self._kind == "source" else b""
        changed = changed or base != self._base
        self._identity, self._rules, self._base = identity, rules, base
        return changed

    def _find_base(self) -> bytes:
        """Where the bundle lies. BundleError when it had kaos's shape and has lost the file by which it was one.

        A file that is gone for a moment must not turn the directory above it into the notebook's root.
        """
        base = find_base(self._root, self._matcher, self._base)
        path = os.path.join(self._root, base)
        if is_kaos(path):
            self._was_kaos = True
        elif self._was_kaos and not has_environment(path):
            raise BundleError(
                f"model/requirements.txt of {os.fsdecode(self._root)} is gone, by which model/ is the notebook's root",
                hint="put it back (an empty file is fine), or make the top the root by an environment file",
            )
        return base

    def _model(self, base: bytes) -> bytes | None:
        """The directory that becomes the notebook's root, where that is not the whole bundle."""
        path = os.path.join(self._root, base)
        model = model_of(path) if self._kind == "source" and is_kaos(path) else None
        return join(base, model) if model is not None else None

    def _commit(self, survey: Survey, build: TreeWriter, base: bytes) -> None:
        """Make the build the state of this scanner, and what is left to do of it for `flush`."""
        gone = survey.gone - build.changed.keys()
        tree = (build.changed.get(base) or self._known[base]).node
        if self._kind != "link" and (build.changed or gone or tree != self._tree):
            self._unsaved = CacheUpdate(self.key, self._tree, tree, build.changed, gone)
        for path in gone:
            self._add(self._known.pop(path), -1)
            self._refused.pop(path, None)
        for path, new in build.changed.items():
            if path in self._known:
                self._add(self._known[path], -1)
            self._known[path] = new
            self._add(new, 1)
        for path, names in survey.refused.items():
            self._refused.pop(path, None)
            if names and path not in gone:
                self._refused[path] = names
        self._saving = tuple(sorted(build.saving))
        self._writers.end(self._saving)
        self._changed = len(build.changed)
        self._tree = tree
        self._keep_tree()

    def _pack_together(self) -> None:
        """Read the stat cache back: what stays would else lie spread among all that a large look needed for itself."""
        self._store.forget_nodes()
        self._tree, self._known, self._changed = None, {}, 0
        self._count()
        self._tree, self._known = self._store.cache(self.key)
        self._count()

    def _nothing(self) -> Scan:
        """A data directory that never had anything in it need not exist."""
        tree = self._store.put_node(())
        self._store.flush()
        return self._result(Version(self._name, tree), tree, None)

    def _found(self) -> Scan:
        digest = self._tree or ""
        return self._result(Version(self._name, digest), None if self._kind == "link" else self._tree, None)

    def _problem(self, sentence: str) -> Scan:
        return self._result(None, None, sentence)

    def _result(self, version: Version | None, tree: str | None, problem: str | None) -> Scan:
        refused = (
            Refused(join(directory, name), reason)
            for directory, names in self._refused.items()
            for name, reason in names.items()
        )
        return Scan(
            version=version,
            tree=tree,
            base=Path(os.fsdecode(join(self._root, self._base) if self._base else self._root)),
            files=self._files,
            bytes=self._bytes,
            refused=tuple(sorted(refused)),
            saving=self._saving,
            again=self._writers.again,
            git_busy=self._kind == "source" and git_busy(self._root),
            problem=problem,
            identity=self._identity,
        )

    @property
    def _name(self) -> str:
        return os.fsdecode(os.path.basename(self._root))

    def _unusable(self, what: str, hint: str) -> BundleError:
        return BundleError(
            f"{self._kind if self._kind != 'link' else 'data'} directory {os.fsdecode(self._root)} {what}", hint=hint
        )

    def _keep_tree(self) -> None:
        if self._tree is not None and self._kind != "link":
            self._store.in_use(self, self._tree)

    def _count(self) -> None:
        self._files = sum(known.files for known in self._known.values())
        self._bytes = sum(known.bytes for known in self._known.values())

    def _add(self, known: CachedDirectory, sign: int) -> None:
        self._files += sign * known.files
        self._bytes += sign * known.bytes
