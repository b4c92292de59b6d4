"""What counts: built-in rules for temporary files of editors and tools, then the user's own in gitignore syntax.

The built-in rules judge the last part of a path only, the user's rules the whole of it. The last rule that matches
decides, so `!name` in .kaosignore brings back what a built-in rule leaves out. As in git, nothing below an ignored
directory counts, whatever the rules say about it.

Data may be called anything, so that of data only those names are left out that nothing but a tool can have made: the
built-in rules of a source would swallow `report~`, `core/__pycache__` of a corpus or `tmpA1b2C3`.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from kaosd import encodings, globs
from kaosd.errors import BundleError

TEMPORARY = b".kaosd-"  # kaosd's own names in a work directory start with this
RULES_MAX = 1 << 20  # bytes; a larger file is no rule file

_ANY = frozenset({b".git", b".hg", b".svn", b".DS_Store", b"Thumbs.db"})
_DATA_DIRECTORIES = frozenset({b".ipynb_checkpoints"})
_DIRECTORIES = _DATA_DIRECTORIES | frozenset(
    os.fsencode(name)
    for name in (
        "__pycache__", ".venv", "node_modules", ".idea", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".nox",
    )
)  # fmt: skip
# (as shown to people, as judged): files only, since a directory of such a name is more likely content
_Shapes = tuple[tuple[str, re.Pattern[bytes]], ...]
_DATA_FILES: _Shapes = (
    (".~lock.*#", re.compile(rb"\.~lock\..+#", re.DOTALL)),  # LibreOffice
    (".nfs*", re.compile(rb"\.nfs[0-9a-f]{8,}")),  # a file of NFS that is deleted while it is open
    (".goutputstream-*", re.compile(rb"\.goutputstream-[A-Za-z0-9]{6}")),
)
# of data only beside the file called as the group says
_BESIDE: _Shapes = (
    (".*.sw[a-px]", re.compile(rb"\.(.+)\.sw[a-px]", re.DOTALL)),
    (".*.kate-swp", re.compile(rb"\.(.+)\.kate-swp", re.DOTALL)),
    (".#*", re.compile(rb"\.#(.+)", re.DOTALL)),  # Emacs' lock
)
_FILES: _Shapes = (
    *_DATA_FILES,
    *_BESIDE,
    ("*~", re.compile(rb".+~", re.DOTALL)),
    ("#*#", re.compile(rb"#.+#", re.DOTALL)),
    (".~*", re.compile(rb"\.~.+", re.DOTALL)),  # JupyterLab's copy while it saves
    ("*.pyc", re.compile(rb".+\.pyc", re.DOTALL)),
    # mkstemp of emacs and sed: must look random, so that a file called tmpmodels or tmpReport counts
    ("tmpXXXXXX", re.compile(rb"tmp(?!\d{6})[A-Za-z0-9](?=[a-z]*[A-Z0-9])[A-Za-z0-9]{5}")),
    ("sedXXXXXX", re.compile(rb"sed(?!\d{6})[A-Za-z0-9](?=[a-z]*[A-Z0-9])[A-Za-z0-9]{5}")),
    # VS Code's atomic save, of files that one edits: model.ckpt.1000000 is content
    (
        "*.EDITABLE.NNNNNNN",
        re.compile(rb".+\.(?:py|ipynb|txt|md|json|ya?ml|toml|ini|cfg|csv|sh|sql|r|R)\.\d{7}", re.DOTALL),
    ),
)
# every name that a built-in rule matches starts or ends with one of these: a cheap test that most others pass
SUSPECT_FIRST = frozenset(b".#ts_nT")
SUSPECT_LAST = frozenset(b"~c0123456789")


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
    """The rules of one root; immutable apart from its cache of directories. Paths are relative to the root.

    data: the directory when it is a root of data, where fewer built-in rules hold; None for a source.
    """

    def __init__(self, rules: tuple[_Line, ...] = (), data: bytes | None = None) -> None:
        self._rules = tuple(reversed(rules))  # the last one that matches decides
        self._data = data
        self._directories: dict[bytes, Verdict] = {b"": Verdict(ignored=False)}

    @classmethod
    def load(cls, root: Path, files: tuple[str, ...] = (".kaosignore",), *, data: bool = False) -> Matcher:
        """The matcher of *root*; absent *files* give no rules. BundleError names file and line of a broken rule."""
        rules = tuple(rule for name in files for rule in _rules(root / name))
        return cls(rules, os.fsencode(root) if data else None)

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
        rule = _built_in(name, is_dir=is_dir) if self._data is None else self._tool_of_data(path, name, is_dir=is_dir)
        return Verdict(ignored=True, rule=rule, origin="built-in") if rule is not None else _COUNTS

    def _tool_of_data(self, path: bytes, name: bytes, *, is_dir: bool) -> str | None:
        """The built-in rule that leaves out *path* of data, as shown to people."""
        if name in _ANY or (is_dir and name in _DATA_DIRECTORIES):
            return os.fsdecode(name)
        if is_dir or not name.startswith(b"."):
            return None
        above = os.path.join(self._data or b"", path[: -len(name)])
        beside = (
            shown
            for shown, shape in _BESIDE
            if (found := shape.fullmatch(name)) and os.path.lexists(os.path.join(above, found[1]))
        )
        return _shape(name, _DATA_FILES) or next(beside, None)


_COUNTS = Verdict(ignored=False)


def _built_in(name: bytes, *, is_dir: bool) -> str | None:
    """The built-in rule that leaves out *name* of a source, as shown to people."""
    if name in _ANY or (is_dir and name in _DIRECTORIES):
        return os.fsdecode(name)
    if is_dir or not (name[0] in SUSPECT_FIRST or name[-1] in SUSPECT_LAST):
        return None
    return _shape(name, _FILES)


def _shape(name: bytes, shapes: _Shapes) -> str | None:
    return next((shown for shown, shape in shapes if shape.fullmatch(name)), None)


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
        try:
            return encodings.as_utf8(stream.read())
        except encodings.NotTextError as error:
            raise BundleError(f"{file} {error}") from error
