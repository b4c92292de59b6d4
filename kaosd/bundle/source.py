"""A source bundle: where in its root it lies, which of its files make the environment, and what git is doing to it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from kaosd import encodings, globs
from kaosd.bundle.ignore import Matcher
from kaosd.bundle.store import Store
from kaosd.bundle.tree import Entry, join, lookup, split, walk
from kaosd.bundle.writing import export_tree, write_entry
from kaosd.declared import Choice, Declared, declare
from kaosd.declared import image as image_of
from kaosd.errors import BundleError

MODEL = b"model"
REQUIREMENTS = b"model/requirements.txt"
_TOP = (b"requirements.txt", b"environment.yml", b"environment.yaml", b"Pipfile.lock", b"setup.py", b"pyproject.toml")
_BINDER = (b"binder", b".binder")
_OF_DOCKERFILES = ("apt.txt", "runtime.txt", "postBuild", "start", "environment.yml", "pyproject.toml", "uv.lock")
_TEXT_MAX = 2**20  # bytes; a larger file is not read as one that makes the environment
_SMALL = 2**20  # bytes; larger files are not given to the build of a project whose code is read elsewhere
_GIT_BUSY = ("index.lock", "rebase-merge", "rebase-apply", "MERGE_HEAD")
_LINKS_MAX = 40  # as the kernel: more are a loop
_REMEMBERED = 16  # answers of `declared_of`


def find_base(root: bytes, matcher: Matcher, before: bytes | None = None) -> bytes:
    """The bundle's directory relative to *root*: b"", or the one sub-directory in kaos's shape.

    before: what it was; a bundle in kaos's shape stays what it is when another one appears. BundleError for a directory
    that is not meant to be hosted.
    """
    if is_kaos(root):
        return b""
    if before and is_kaos(os.path.join(root, before)):
        return before
    if has_environment(root):
        return b""
    found = sorted(set(_sub_directories(root, matcher)))
    if len(found) == 1:
        return found[0]
    if os.path.realpath(root) in {os.path.realpath(os.path.expanduser(b"~")), b"/"}:
        raise BundleError(
            f"source {os.fsdecode(root)} is {'the whole disk' if root == b'/' else 'your home directory'}",
            hint="name the directory of a repository in it",
        )
    return b""


def _sub_directories(root: bytes, matcher: Matcher) -> Iterator[bytes]:
    """The directories in *root* that are bundles in kaos's shape, links to them included; relative, without links."""
    top = os.path.realpath(root)
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and is_kaos(entry.path)]
    for name in names:
        inside = os.path.relpath(os.path.realpath(os.path.join(root, name)), top)
        if inside not in {b".", b".."} and not inside.startswith(b"../") and not matcher.ignored(inside, True):
            yield inside


def is_kaos(path: bytes) -> bool:
    """Whether a directory has kaos's shape: model/, or a link to a directory in it, with requirements.txt."""
    return os.path.lexists(os.path.join(path, REQUIREMENTS)) and model_of(path) is not None


def model_of(path: bytes) -> bytes | None:
    """The directory that model/ of *path* is, relative to it and without links; None when it leads out of it."""
    try:
        if stat.S_ISDIR(os.lstat(os.path.join(path, MODEL)).st_mode):
            return MODEL
    except OSError:
        return None
    inside = os.path.relpath(os.path.realpath(os.path.join(path, MODEL)), os.path.realpath(path))
    return None if inside in {b".", b".."} or inside.startswith(b"../") else inside


def has_environment(path: bytes) -> bool:
    """Whether a directory has an environment file at its top, or one of the directories for them."""
    return any(os.path.lexists(os.path.join(path, name)) for name in (*_TOP, *_BINDER))


def git_busy(root: bytes) -> bool:
    """Whether git is changing the tree that *root* lies in: an index lock, a rebase or a merge stands there."""
    directory = root
    while True:
        git = os.path.join(directory, b".git")
        if os.path.lexists(git):
            return any(os.path.lexists(os.path.join(git, os.fsencode(name))) for name in _GIT_BUSY)
        above = os.path.dirname(directory)
        if above == directory:
            return False
        directory = above


def model_tree(store: Store, tree: str | None) -> str | None:
    """The digest of the node that becomes the notebook's root: of model/ in kaos's shape, else *tree* itself."""
    if _resolve(store, tree, REQUIREMENTS) is None:
        return tree
    entry = _resolve(store, tree, MODEL, directory=True)
    return entry.digest if entry is not None else None


class StoredFiles:
    """The files of a stored tree, as `declare` looks at them. seen: what was asked, with its answers."""

    def __init__(self, store: Store, tree: str | None) -> None:
        self.seen: dict[tuple[str, str], object] = {}
        self._store = store
        self._tree = tree

    def text(self, path: str) -> str | None:
        """See `declared.Files`."""
        entry = self._entry("text", path)
        if entry is None or entry.size > _TEXT_MAX:
            return None
        content = self._store.get(entry.digest)
        try:
            return encodings.text(content)
        except encodings.NotTextError:  # the engine says so when it reads the file
            return content.decode("utf-8", "surrogateescape")

    def names(self, directory: str) -> tuple[str, ...]:
        """See `declared.Files`."""
        digest = self._tree
        if directory:
            entry = _resolve(self._store, self._tree, os.fsencode(directory), directory=True)
            digest = entry.digest if entry is not None else None
        names = tuple(os.fsdecode(one.name) for one in self._store.node(digest)) if digest is not None else ()
        self.seen["names", directory] = names
        return names

    def kind(self, path: str) -> str:
        """See `declared.Files`."""
        name = os.fsencode(path)
        if not name or _resolve(self._store, self._tree, name, directory=True) is not None:
            found = "directory"
        else:
            found = "file" if _resolve(self._store, self._tree, name) is not None else ""
        self.seen["kind", path] = found
        return found

    def answers(self, seen: dict[tuple[str, str], object]) -> bool:
        """Whether all that was asked of other files has the same answers here."""
        for (question, path), answer in seen.items():
            found: object = None
            if question == "text":
                self._entry("text", path)
                found = self.seen["text", path]
            else:
                found = self.names(path) if question == "names" else self.kind(path)
            if found != answer:
                return False
        return True

    def _entry(self, question: str, path: str) -> Entry | None:
        entry = _resolve(self._store, self._tree, os.fsencode(path))
        self.seen[question, path] = entry.digest if entry is not None else None
        return entry


_known: dict[Choice, list[tuple[dict[tuple[str, str], object], Declared]]] = {}


def declared_of(store: Store, tree: str | None, choice: Choice | None = None) -> Declared:
    """What the files of *tree* declare. A save that touches none of them costs only to look them up."""
    choice = choice or Choice()
    known = _known.setdefault(choice, [])
    for seen, found in known:
        if StoredFiles(store, tree).answers(seen):
            return found
    files = StoredFiles(store, tree)
    found = declare(files, choice)
    known[:] = [(files.seen, found), *known[: _REMEMBERED - 1]]
    return found


def environment_inputs(
    store: Store,
    tree: str | None,
    patterns: tuple[str, ...] = (),
    declared: Declared | None = None,
    *,
    image: bool = False,
) -> tuple[tuple[bytes, Entry], ...]:
    """The files of *tree* that the environment is made of, sorted by path; links are replaced by what they lead to.

    *patterns* name more of them, in gitignore syntax relative to the bundle; with them all nodes are read.
    image: the environment is an image, whose build reads more files than that of a virtual environment.
    """
    declared = declared or declared_of(store, tree)
    found = {path: _resolve(store, tree, path) for path in _named(store, tree, patterns, declared, image)}
    return tuple(sorted((path, entry) for path, entry in found.items() if entry is not None))


def _named(
    store: Store, tree: str | None, patterns: tuple[str, ...], declared: Declared, image: bool
) -> Iterator[bytes]:
    yield from (os.fsencode(path) for path in declared.inputs)
    for project in declared.projects:
        if not project.live or (image and declared.dockerfile is None):  # whose code the image holds
            yield from (path for path, entry in _below(store, tree, project.path) if entry.kind != "d")
    if image:
        yield from _of_images(store, tree, declared)
    if patterns:
        yield from _matching(store, tree, _rules(patterns))


def _rules(patterns: tuple[str, ...]) -> list[globs.Rule]:
    """The rules of *patterns*, the last one first, since that decides."""
    try:
        found = [globs.gitignore(os.fsencode(pattern)) for pattern in reversed(patterns)]
    except ValueError as error:
        raise BundleError(f"environment_inputs: {error}", hint="use the syntax of .gitignore") from error
    return [rule for rule in found if rule is not None]


def _matching(store: Store, tree: str | None, rules: list[globs.Rule]) -> Iterator[bytes]:
    """Paths of the files that *rules* name, or a directory above them."""
    inside: set[bytes] = set()
    for path, entry in walk(store, tree):
        above, name = split(path)
        is_dir = entry.kind == "d"
        decided = (rule.excludes for rule in rules if rule.matches(path, name, is_dir=is_dir))
        if above not in inside and not next(decided, False):
            continue
        if is_dir:
            inside.add(path)
        else:
            yield path


def _of_images(store: Store, tree: str | None, declared: Declared) -> Iterator[bytes]:
    """What the build of an image reads besides."""
    yield b".dockerignore"
    if declared.dockerfile is None:
        yield from (os.fsencode(path) for path in declared.scripts.paths)
    else:
        yield os.fsencode(declared.dockerfile)
        folder = os.fsencode(declared.folder)
        yield from (join(folder, name.encode()) for name in _OF_DOCKERFILES)
        names = StoredFiles(store, tree).names(declared.folder)
        yield from (
            join(folder, os.fsencode(name))
            for name in names
            if name.startswith("requirements") and name.endswith(".txt")
        )


def _below(store: Store, tree: str | None, path: str) -> Iterator[tuple[bytes, Entry]]:
    """Everything below the directory *path*, links to it followed, with its path in the bundle."""
    entry = _resolve(store, tree, os.fsencode(path), directory=True) if path else None
    digest = tree if not path else entry.digest if entry is not None else None
    yield from walk(store, digest, os.fsencode(path))


def _resolve(store: Store, tree: str | None, path: bytes, *, directory: bool = False) -> Entry | None:
    """The file (or *directory*) at *path*, through links within the tree; None when there is none."""
    pending = path.split(b"/")[::-1]
    reached: list[bytes] = []
    links = 0
    while pending:
        name = pending.pop()
        if name == b"..":
            del reached[-1:]
        elif name not in {b"", b"."}:
            reached.append(name)
            entry = lookup(store, tree, b"/".join(reached))
            if entry is not None and entry.kind == "l":
                links += 1
                if links > _LINKS_MAX:
                    return None
                reached.pop()
                pending.extend(store.get(entry.digest).split(b"/")[::-1])
    entry = lookup(store, tree, b"/".join(reached))
    return entry if entry is not None and (entry.kind == "d") == directory else None


def environment_digest(
    inputs: tuple[tuple[bytes, Entry], ...], declared: Declared | None = None, owner: str = "", *, image: bool = False
) -> str:
    """The key of an environment: what its inputs are called, their kind and content, and how it is made of them.

    declared: adds the settings that chose, and the projects whose code is read in the work directory of *owner*.
    """
    hasher = blake3(b"kaosd environment 1\n" if image else b"kaosd environment 2\n")
    for path, entry in inputs:
        hasher.update(b"%d %s %s %s\n" % (len(path), path, entry.kind.encode(), entry.digest.encode()))
    if declared is not None and declared.choice != Choice():
        hasher.update(f"{declared.choice}\n".encode("utf-8", "surrogateescape"))
    if image and declared is not None and declared.dockerfile is None:
        hasher.update(image_of(declared).text.encode("utf-8", "surrogateescape"))
    if declared is not None and any(project.live for project in declared.projects):
        facts = (owner, declared.projects, declared.packages)
        hasher.update(f"{facts}\n".encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()


def _digest_of_owner(environment: str, owner: str) -> str:
    return blake3(f"kaosd environment of one notebook 1\n{owner}\n{environment}\n".encode()).hexdigest()


class StoredInputs:
    """The environment inputs of one version, as an engine takes them.

    whole: the environment is an image; `export` writes the whole bundle.
    owner: a notebook to which the environment belongs alone, because others cannot be given it.
    work: the work directory of the notebook, where the code of its local projects is read.
    """

    def __init__(
        self,
        store: Store,
        tree: str | None,
        patterns: tuple[str, ...] = (),
        *,
        whole: bool = False,
        owner: str | None = None,
        choice: Choice | None = None,
        work: Path | None = None,
    ) -> None:
        self._store = store
        self._tree = tree
        self._whole = whole
        self.work = work
        self.declared = declared_of(store, tree, choice)
        self.files = environment_inputs(store, tree, patterns, self.declared, image=whole)
        digest = environment_digest(self.files, self.declared, str(work), image=whole)
        self.digest = digest if owner is None else _digest_of_owner(digest, owner)

    def export(self, target: Path) -> None:
        """Write the files below *target* (made if absent) as they lie in the bundle. StoreError when it cannot."""
        if self._whole:
            export_tree(self._store, self._tree, target)
        for path, entry in self._code() if not self._whole else ():
            write_entry(self._store, target, path, entry)
        for path, entry in self.files if not self._whole else ():
            write_entry(self._store, target, path, entry)

    def _code(self) -> Iterator[tuple[bytes, Entry]]:
        """The code of local projects: a build looks for packages in it, and so may need all but large data."""
        for project in self.declared.projects:
            for path, entry in _below(self._store, self._tree, project.path) if project.live else ():
                if entry.size <= _SMALL:
                    yield path, entry
