"""A source bundle: where in its root it lies, which of its files make the environment, and what git is doing to it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from kaosd import globs
from kaosd.bundle.ignore import Matcher
from kaosd.bundle.store import Store
from kaosd.bundle.tree import Entry, join, lookup, split, walk
from kaosd.bundle.writing import export_tree, write_entry
from kaosd.errors import BundleError

MODEL = b"model"
REQUIREMENTS = b"model/requirements.txt"
_FIXED = (b"model/pyproject.toml", b"model/runtime.txt")
# read by the build of an image only
_OF_IMAGES = (b"Dockerfile", b".dockerignore", b"model/environment.yml", b"model/uv.lock", b"model/apt.txt")
_GIT_BUSY = ("index.lock", "rebase-merge", "rebase-apply", "MERGE_HEAD")
_LINKS_MAX = 40  # as the kernel: more are a loop


def find_base(root: bytes, matcher: Matcher) -> bytes:
    """The bundle's directory relative to *root*: b"" or the one sub-directory. BundleError names what was found."""
    if _is_bundle(root):
        return b""
    shown = os.fsdecode(root)
    if _is_directory(os.path.join(root, MODEL)):
        raise BundleError(
            f"source {shown} has model/ but no model/requirements.txt",
            hint="put one there; an empty file is fine when JupyterLab alone is enough",
        )
    with os.scandir(root) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not matcher.entry_ignored(b"", entry.name, is_dir=True)
        )
    found = [name for name in names if _is_bundle(os.path.join(root, name))]
    if len(found) == 1:
        return found[0]
    if found:
        raise BundleError(
            f"source {shown} holds {len(found)} bundles: {_listed(found)}",
            hint="name the directory of one of them as the source",
        )
    raise BundleError(
        f"source {shown} holds no model/requirements.txt, neither itself nor in one of its directories"
        f" ({_listed(names) or 'it has none'})",
        hint="kaosctl template get notebook makes a bundle to begin with",
    )


def _is_bundle(path: bytes) -> bool:
    return _is_directory(os.path.join(path, MODEL)) and os.path.lexists(os.path.join(path, REQUIREMENTS))


def _is_directory(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _listed(names: list[bytes]) -> str:
    shown = ", ".join(os.fsdecode(name) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")


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
    """The digest of the node of model/, which becomes the notebook's root; None when there is none."""
    entry = lookup(store, tree, MODEL)
    return entry.digest if entry is not None and entry.kind == "d" else None


def environment_inputs(
    store: Store, tree: str | None, patterns: tuple[str, ...] = (), *, image: bool = False
) -> tuple[tuple[bytes, Entry], ...]:
    """The files of *tree* that the environment is made of, sorted by path; links are replaced by what they lead to.

    *patterns* name more of them, in gitignore syntax relative to the bundle; with them all nodes are read.
    image: the environment is an image, whose build reads more files than that of a virtual environment.
    """
    found = {path: _resolve(store, tree, path) for path in _named(store, tree, patterns, image)}
    return tuple(sorted((path, entry) for path, entry in found.items() if entry is not None))


def _named(store: Store, tree: str | None, patterns: tuple[str, ...], image: bool) -> Iterator[bytes]:
    yield from _FIXED + _OF_IMAGES if image else _FIXED
    model = model_tree(store, tree)
    for entry in store.node(model) if model is not None else ():
        if entry.name.startswith(b"requirements") and entry.name.endswith(b".txt"):
            yield join(MODEL, entry.name)
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


def _resolve(store: Store, tree: str | None, path: bytes) -> Entry | None:
    """The file at *path*, through links within the tree; None when there is none."""
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
    return entry if entry is not None and entry.kind != "d" else None


def environment_digest(inputs: tuple[tuple[bytes, Entry], ...], *, image: bool = False) -> str:
    """The key of an environment: what its inputs are called, their kind and content, and how it is made of them."""
    hasher = blake3(b"kaosd environment 1\n" if image else b"kaosd environment 2\n")
    for path, entry in inputs:
        hasher.update(b"%d %s %s %s\n" % (len(path), path, entry.kind.encode(), entry.digest.encode()))
    return hasher.hexdigest()


def _digest_with_code(tree: str | None, owner: str) -> str:
    return blake3(f"kaosd environment with code 1\n{owner}\n{tree}\n".encode()).hexdigest()


class Inputs:
    """The environment inputs of one version, as an engine takes them.

    whole: the environment is an image; `export` writes the whole bundle.
    owner: a notebook to which the environment belongs alone, because its image holds the code: every file then is one
    of the inputs.
    """

    def __init__(
        self,
        store: Store,
        tree: str | None,
        patterns: tuple[str, ...] = (),
        *,
        whole: bool = False,
        owner: str | None = None,
    ) -> None:
        self._store = store
        self._tree = tree
        self._whole = whole
        self.files = environment_inputs(store, tree, patterns, image=whole)
        self.digest = environment_digest(self.files, image=whole) if owner is None else _digest_with_code(tree, owner)

    def export(self, target: Path) -> None:
        """Write the files below *target* (made if absent) as they lie in the bundle. StoreError when it cannot."""
        if self._whole:
            export_tree(self._store, self._tree, target)
        for path, entry in self.files if not self._whole else ():
            write_entry(self._store, target, path, entry)
