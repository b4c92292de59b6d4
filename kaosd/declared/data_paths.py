"""Which data directories the code of a repository reads: from texts of scripts and notebooks to paths. Pure.

Only literals count that are paths of one of the usual directories (`data`, `input`, `/kaggle/input`), and only where
code reads them. What it makes or checks for itself it does not expect. What is put together of parts is not seen.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""#[^\n]*|[rRbBuUfF]{0,2}(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}"""
    r"""|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|\w+|[^\s\w]""",
    re.DOTALL,
)
_PATH = re.compile(r"((?:\./|(?:\.\./)+)?(?:data|input)|/kaggle/input)(?:/[^\x00-\x1f\x7f]{0,200})?")
_SURE = re.compile(r"(?:\.\./)+input|/kaggle/input")  # no other text looks like these
_STRING = re.compile(r"[rRuUfF]{0,2}(['\"])(?!\1\1.)(.*)\1", re.DOTALL)
_LIKELY = re.compile(
    rb"[\"'](?:[./]*(?:data|input)|/kaggle/input)|[!%][^\n]{0,200}\b(?:data|input)\b"
)  # what makes a file worth a look
_READERS = re.compile(
    r"read_(?:csv|table|excel|json|parquet|pickle|feather|hdf|fwf|stata|file)|scan_(?:csv|parquet)|loadtxt|genfromtxt"
    r"|imread|open_dataset|listdir|scandir|walk|i?glob|ImageFolder|Path"
)
_OPENERS = {"open": {"io", "gzip", "bz2", "lzma", "codecs", "Image"}, "load": {"np", "numpy", "torch", "joblib"}}
_MAKERS = re.compile(r"\w*(?:mkdir|makedirs|download|urlretrieve|extractall|unpack_archive|copytree|symlink)\w*")
_CHECKS = frozenset({"exists", "isdir", "isfile", "is_dir", "is_file", "lexists", "startswith", "endswith", "replace"})
_NAMED = re.compile(r"(?:data|input)(_?(?:dir|path|root|folder|directory))?", re.IGNORECASE)
_MADE_BY_SHELL = re.compile(
    r"^[ \t]*[!%].{0,200}?\b(?:mkdir|wget|curl|gdown|unzip|tar|ln|kaggle|git clone)\b.{0,200}?\b(data|input)\b",
    re.MULTILINE,
)
_ELSEWHERE = re.compile(r"\bchdir\b|^[ \t]*%cd\b", re.MULTILINE)
_LONGEST = 2**18  # characters of a script or a cell; people write shorter ones
_LEAVES = re.compile(r"write\w*|mkdir|touch|exists|is_\w+")  # what is asked of a Path that need not be there


@dataclass(frozen=True, slots=True)
class DataRead:
    """A path that code reads. where: the line of a script, the cell of a notebook. path: as the code has it.

    places: the directory that it is in, relative to the file's own directory, or with a leading "/" to the notebook's
    root; either will do.
    """

    where: str
    path: str
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """What one file says. made: names of data directories ("data", "input") that it makes, or copes without."""

    reads: tuple[DataRead, ...] = ()
    made: frozenset[str] = frozenset()


def worth(content: bytes) -> bool:
    """Whether a file with this *content* can say anything of data; cheap."""
    return _LIKELY.search(content) is not None


def code_of(text: str, *, notebook: bool) -> Code:
    """What the *text* of a script says, or that of a *notebook*; nothing for what is neither."""
    cells = list(_cells(text)) if notebook else [("", text)]
    parts = [(where, _Part(cell)) for where, cell in cells if len(cell) <= _LONGEST]
    makes = any(part.makes for _, part in parts)
    stays = notebook and not any(_ELSEWHERE.search(cell) for _, cell in cells)
    reads: list[DataRead] = []
    made: set[str] = set()
    for where, part in parts:
        made |= part.made
        for line, path, directory in part.reads:
            if makes and not _SURE.fullmatch(directory):
                made.add(name_of_data(directory))
                continue
            places = (directory,) if stays or directory.startswith("/") else (directory, f"/{directory}")
            reads.append(DataRead(where or f"line {line}", path, places))
    return Code(tuple(reads), frozenset(made))


def name_of_data(directory: str) -> str:
    """How `Code.made` calls a directory."""
    return posixpath.basename(directory)


def _cells(text: str) -> Iterator[tuple[str, str]]:
    """The code cells of a notebook."""
    try:
        cells = json.loads(text)["cells"]
        for number, cell in enumerate(cells, 1):
            source = "".join(cell["source"]) if cell["cell_type"] == "code" else ""
            if not source.startswith("%%") or source.startswith(("%%time", "%%capture")):
                yield f"cell {number}", source
    except (ValueError, TypeError, KeyError, RecursionError):
        return


class _Part:
    """The code of one script or cell. reads: line, path and directory of each; made: see `Code`.

    makes: it makes some directory, which may be that of the data.
    """

    def __init__(self, text: str) -> None:
        found = [(match[0], match.start()) for match in _TOKEN.finditer(text) if not match[0].startswith("#")]
        self._tokens = [token for token, _ in found]
        self.reads: list[tuple[int, str, str]] = []
        self.made = {match[1] for match in _MADE_BY_SHELL.finditer(text)}
        self.makes = any(self._makes_one(at) for at in range(len(found)))
        for at, (token, start) in enumerate(found):
            path = _path(token)
            if path is None:
                continue
            directory = posixpath.normpath(path[1])
            if self._is_checked(at):
                self.made.add(name_of_data(directory))
            elif self._is_read(at, directory, path[0]):
                self.reads.append((text.count("\n", 0, start) + 1, path[0], directory))

    def _token(self, at: int) -> str:
        return self._tokens[at] if 0 <= at < len(self._tokens) else ""

    def _makes_one(self, at: int) -> bool:
        """Whether token *at* makes a directory, and not one that is known to be another."""
        if not _MAKERS.fullmatch(self._tokens[at]):
            return False
        given = self._token(at + 2) if self._token(at + 1) == "(" else ""
        return _STRING.fullmatch(given) is None or _path(given) is not None

    def _is_checked(self, at: int) -> bool:
        """Whether the code asks if the path at token *at* is there, or makes it."""
        called = self._token(at - 2) if self._token(at - 1) == "(" else ""
        if called in _CHECKS or _MAKERS.fullmatch(called):
            return True
        return (
            self._token(at + 1) == ")" and self._token(at + 2) == "." and bool(_LEAVES.fullmatch(self._token(at + 3)))
        )

    def _is_read(self, at: int, directory: str, path: str) -> bool:
        before, name, dot, of = (self._token(at - number) for number in (1, 2, 3, 4))
        is_compared = before == "=" and name in {"=", "!"}
        if is_compared or self._token(at + 1) in {"in", "not"} or self._tokens[at + 1 : at + 3] == ["=", "="]:
            return False
        if _SURE.fullmatch(directory):
            return True
        if before == "=":
            named = _NAMED.fullmatch(name)
            return named is not None and ("/" in path or named[1] is not None) and dot not in {"(", ",", "."}
        if before != "(":
            return False
        if name in _OPENERS:
            is_known = of in _OPENERS[name] if dot == "." else name == "open"
            return is_known and not self._writes(at)
        return _READERS.fullmatch(self._reader(at - 2)) is not None

    def _reader(self, at: int) -> str:
        """The function whose call ends at token *at*: of `read_csv(os.path.join(` that is read_csv."""
        if self._tokens[max(at - 2, 0) : at + 1] == ["path", ".", "join"]:
            at -= 4 if self._token(at - 3) == "." else 2
            return self._token(at - 2) if self._token(at - 1) == "(" else ""
        return self._token(at)

    def _writes(self, at: int) -> bool:
        """Whether the call of `open` with the path at token *at* does not open a file that is there."""
        rest = self._tokens[at + 1 : at + 6]
        call = rest[: rest.index(")")] if ")" in rest else rest
        return any(re.fullmatch(r"['\"][rbt+]*[wax][rbt+]*['\"]", token) for token in call)


def _path(token: str) -> re.Match[str] | None:
    """The path of a data directory that a token is, if it is one: the whole, and the directory."""
    string = _STRING.fullmatch(token)
    return _PATH.fullmatch(string[2]) if string is not None else None
