"""What counts: built-in rules for the droppings of editors and tools, then the person's own in gitignore syntax.

The built-in rules judge the last part of a path only, the person's rules the whole of it. The last rule that
matches decides, so `!name` in .kaosignore brings back what a built-in rule leaves out. As in git, nothing below
an ignored directory counts, whatever the rules say about it.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from kaosd import globs
from kaosd.errors import BundleError

TEMPORARY = b".kaosd-"  # kaosd's own names in a work directory begin with this
RULES_MAX = 1 << 20  # bytes; a larger file is no rule file

_ANY = frozenset({b".git", b".hg", b".svn", b".DS_Store", b"Thumbs.db"})
_DIRECTORIES = frozenset(
    os.fsencode(name)
    for name in (
        "__pycache__", ".ipynb_checkpoints", ".venv", "node_modules", ".idea",
        ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".nox",
    )
)  # fmt: skip
# (as shown to people, as judged): files only, since a directory of such a name is more likely content
_FILES: tuple[tuple[str, bytes], ...] = (
    ("4913", rb"4913"),  # vim asks with it whether it may write here
    ("*~", rb".+~"),
    (".*.sw[a-px]", rb"\..+\.sw[a-px]"),
    (".*.kate-swp", rb"\..+\.kate-swp"),
    (".#*", rb"\.#.+"),
    ("#*#", rb"#.+#"),
    (".~*", rb"\.~.+"),  # JupyterLab's copy while it saves, LibreOffice's lock
    (".goutputstream-*", rb"\.goutputstream-.+"),
    (".nfs*", rb"\.nfs.+"),
    ("*.part", rb".+\.part"),
    ("*.crdownload", rb".+\.crdownload"),
    ("*.pyc", rb".+\.pyc"),
    # mkstemp of emacs and sed: must look random, so that a file called tmpmodels or tmpReport counts
    ("tmpXXXXXX", rb"tmp(?!\d{6})[A-Za-z0-9](?=[a-z]*[A-Z0-9])[A-Za-z0-9]{5}"),
    ("sedXXXXXX", rb"sed(?!\d{6})[A-Za-z0-9](?=[a-z]*[A-Z0-9])[A-Za-z0-9]{5}"),
    # VS Code's atomic save, of files that one edits: model.ckpt.1000000 is content
    ("*.EDITABLE.NNNNNNN", rb".+\.(?:py|ipynb|txt|md|json|ya?ml|toml|ini|cfg|csv|sh|sql|r|R)\.\d{7}"),
)
_FILE = re.compile(b"|".join(pattern for _, pattern in _FILES), re.DOTALL)
# every name that a built-in rule matches begins or ends with one of these: a cheap test that most others pass
SUSPECT_FIRST = frozenset(b".#4ts_nT")
SUSPECT_LAST = frozenset(b"~tdc0123456789")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a path is left out, and by which rule: its text, "built-in" or its file, and its line there."""

    ignored: bool
    rule: str | None = None
    origin: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    """A rule, and where it stands."""

    text: str
    origin: str
    number: int
    rule: globs.Rule


class Matcher:
    """The rules of one root; immutable apart from its cache of directories. Paths are relative to the root."""

    def __init__(self, rules: tuple[_Line, ...] = ()) -> None:
        self._rules = tuple(reversed(rules))  # the last one that matches decides
        self._directories: dict[bytes, Verdict] = {b"": Verdict(ignored=False)}

    @classmethod
    def load(cls, root: Path, files: tuple[str, ...] = (".kaosignore",)) -> Matcher:
        """The matcher of *root*; absent *files* are no rules. BundleError names file and line of a broken rule."""
        return cls(tuple(rule for name in files for rule in _rules(root / name)))

    @property
    def only_built_in(self) -> bool:
        """Whether no name counts or not by anything but the built-in rules."""
        return not self._rules

    def entry_ignored(self, parent: bytes, name: bytes, *, is_dir: bool) -> bool:
        """Like `ignored` for *name* in *parent*, when the caller knows that parent itself counts."""
        return self._entry(parent + b"/" + name if parent else name, is_dir=is_dir).ignored

    def ignored(self, path: bytes, is_dir: bool) -> bool:
        """Whether *path*, or a directory above it, is left out of the bundle."""
        return self.explain(path, is_dir).ignored

    def explain(self, path: bytes, is_dir: bool) -> Verdict:
        """The verdict on *path* with the rule that decided; the topmost ignored directory above it wins."""
        path = path.strip(b"/")
        above = self._directory(path.rpartition(b"/")[0])
        if above.ignored:
            return above
        return self._directory(path) if is_dir else self._entry(path, is_dir=False)

    def _directory(self, path: bytes) -> Verdict:
        known = self._directories.get(path)
        if known is None:
            above = self._directory(path.rpartition(b"/")[0])
            known = above if above.ignored else self._entry(path, is_dir=True)
            if len(self._directories) > 10_000:
                self._directories = {b"": Verdict(ignored=False)}
            self._directories[path] = known
        return known

    def _entry(self, path: bytes, *, is_dir: bool) -> Verdict:
        name = path.rpartition(b"/")[2]
        if name.startswith(TEMPORARY):  # never content, whatever a rule says
            return Verdict(ignored=True, rule=".kaosd-*", origin="built-in")
        for line in self._rules:
            if line.rule.matches(path, name, is_dir=is_dir):
                return Verdict(line.rule.excludes, line.text, line.origin, line.number)
        if _built_in(name, is_dir=is_dir):
            return Verdict(ignored=True, rule=_built_in_rule(name), origin="built-in")
        return Verdict(ignored=False)


def _built_in(name: bytes, *, is_dir: bool) -> bool:
    if name in _ANY or is_dir:
        return name in _ANY or name in _DIRECTORIES
    return (name[0] in SUSPECT_FIRST or name[-1] in SUSPECT_LAST) and _FILE.fullmatch(name) is not None


def _built_in_rule(name: bytes) -> str:
    """The rule that `_built_in` followed, as shown to people."""
    for text, pattern in _FILES:
        if re.fullmatch(pattern, name, re.DOTALL):
            return text
    return os.fsdecode(name)


def _rules(file: Path) -> list[_Line]:
    found = []
    for number, line in enumerate(_read(file).split(b"\n"), 1):
        text = os.fsdecode(line.strip())
        try:
            rule = globs.gitignore(line.removesuffix(b"\r"))
        except ValueError as error:
            raise BundleError(
                f"{file}, line {number}: {text!r} is not a valid rule: {error}",
                hint="correct the line or put # before it; the syntax is that of .gitignore",
            ) from error
        if rule is not None:
            found.append(_Line(text, str(file), number, rule))
    return found


def _read(file: Path) -> bytes:
    """The content of a rule file, b"" when there is none; never hangs on a FIFO."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}", hint="make it readable or remove it") from error
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > RULES_MAX:
            raise BundleError(f"{file} is not a file of ignore rules", hint="remove it")
        return stream.read()
