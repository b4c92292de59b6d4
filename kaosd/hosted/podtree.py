"""Files of a notebook's directory in a pod: what is there, and changes that are made only where that is still so."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from typing import TYPE_CHECKING, Any

from . import bytecode
from .renaming import exchange, place
from .states import State, alike

if TYPE_CHECKING:
    from collections.abc import Iterator

_OURS = b".kaosd-"  # temporary names of kaosd begin so
_PART = b".kaosd-part"
CACHES = {  # as in kaosd/bundle/caches.py; hosts do not report them
    b"__pycache__", b".ipynb_checkpoints", b".pytest_cache", b".mypy_cache", b".ruff_cache", b".virtual_documents",
}  # fmt: skip
_READ = 1 << 20


def inside(path: bytes) -> bool:
    """Whether a path is one below the directory."""
    return bool(path) and not {b"", b".", b".."} & set(path.split(b"/"))


def state(full: bytes) -> State | None:
    """What is there, with the SHA-256 of a file's content or a link's target; None for nothing."""
    try:
        mode = os.lstat(full).st_mode
        if stat.S_ISLNK(mode):
            return State("l", hashlib.sha256(os.readlink(full)).hexdigest())
        if stat.S_ISDIR(mode):
            return State("d")
        if not stat.S_ISREG(mode):
            return State("?")
        hasher = hashlib.sha256()
        with open(full, "rb") as file:
            while part := file.read(_READ):
                hasher.update(part)
        return State("x" if mode & stat.S_IXUSR else "f", hasher.hexdigest())
    except (FileNotFoundError, NotADirectoryError):
        return None


def parts(full: bytes) -> Iterator[bytes]:
    """The content of a file, or the target of a link, in parts. Raises OSError."""
    if os.path.islink(full):
        yield os.readlink(full)
        return
    with open(full, "rb") as file:
        while part := file.read(_READ):
            yield part


def put_part(path: str, start: int, content: bytes) -> None:
    """Write *content* into a file from byte *start* on, where it then ends."""
    with open(path, "r+b" if start else "wb") as file:
        file.truncate(start)
        file.seek(start)
        file.write(content)


def everything(root: bytes) -> dict[bytes, State | None]:
    """The states of all below *root*, but of caches and of our own temporary names, which are removed."""
    return {path: state(os.path.join(root, path)) for path in _below(root, b"")}


def _below(root: bytes, directory: bytes) -> Iterator[bytes]:
    with os.scandir(os.path.join(root, directory)) as found:
        entries = list(found)
    for entry in entries:
        path = os.path.join(directory, entry.name)
        if entry.name.startswith(_OURS):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
        elif entry.name not in CACHES:
            yield path
            if entry.is_dir(follow_symlinks=False):
                yield from _below(root, path)


def make(root: bytes, change: dict[str, Any], content: bytes, part: str | None) -> dict[str, Any]:
    """Make one change if what it expects is there; see Directory.change. part: a file that holds the content."""
    path = os.fsencode(change["path"])
    if not inside(path):
        raise ValueError(f"no path of the notebook: {path!r}")
    expected = State(*change["expected"]) if change["expected"] is not None else None
    at = _blocked(root, path)
    if at is not None:
        return _found(root, at)
    full = os.path.join(root, path)
    try:
        if change["kind"] is None:
            done = _delete(full, expected)
        elif change["kind"] == "d":
            done = expected is None and _make_directory(full)
        else:
            done = _put(full, expected, change["kind"], content, part)
    except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError):
        done = False  # somebody was quicker
    return {"done": True} if done else _found(root, path)


def _found(root: bytes, path: bytes) -> dict[str, Any]:
    return {"found": state(os.path.join(root, path)), "at": os.fsdecode(path)}


def _blocked(root: bytes, path: bytes) -> bytes | None:
    """What stands in the place of a directory above *path*."""
    above = b""
    for name in path.split(b"/")[:-1]:
        above = os.path.join(above, name)
        try:
            if not stat.S_ISDIR(os.lstat(os.path.join(root, above)).st_mode):
                return above
        except FileNotFoundError:
            return None
    return None


def _make_directory(full: bytes) -> bool:
    os.makedirs(os.path.dirname(full), exist_ok=True)
    os.mkdir(full)
    return True


def _delete(full: bytes, expected: State | None) -> bool:
    """Take away what is expected; a directory with anything but caches in it stays, and that is well too."""
    if expected is None:
        return not os.path.lexists(full)
    if expected.kind == "d":
        _remove_directory(full)
        return True
    aside = _aside(full)
    os.rename(full, aside)
    if alike(state(aside), expected):
        os.unlink(aside)
        return True
    _give_back(aside, full)
    return False


def _remove_directory(full: bytes) -> None:
    names = os.listdir(full)
    if all(name in CACHES or name.startswith(_OURS) for name in names):
        for name in names:
            _remove_all(os.path.join(full, name))
        with contextlib.suppress(OSError):  # something new is in it
            os.rmdir(full)


def _remove_all(full: bytes) -> None:
    if os.path.isdir(full) and not os.path.islink(full):
        for name in os.listdir(full):
            _remove_all(os.path.join(full, name))
        os.rmdir(full)
    else:
        os.unlink(full)


def _put(full: bytes, expected: State | None, kind: str, content: bytes, part: str | None) -> bool:
    """Put a file or link where *expected* is, complete; what comes out in its place is examined."""
    os.makedirs(os.path.dirname(full), exist_ok=True)
    draft = _aside(full)
    wanted = _write(draft, kind, content, part)
    directory, name = _descriptor(full), os.path.basename(full)
    try:
        if expected is None:
            place(directory, os.path.basename(draft), name)
            bytecode.forget(directory, name)
            return True
        if not alike(state(full), expected):
            return False
        exchange(directory, os.path.basename(draft), name)
        if alike(state(draft), expected):
            bytecode.forget(directory, name)
            return True
        exchange(directory, os.path.basename(draft), name)  # an edit of the last instant goes back
        if state(draft) != wanted:
            _give_back(draft, full)  # and there was another one meanwhile
        return False
    finally:
        os.close(directory)
        if os.path.lexists(draft):
            os.unlink(draft)


def _write(draft: bytes, kind: str, content: bytes, part: str | None) -> State | None:
    if os.path.lexists(draft):
        os.unlink(draft)
    if kind == "l":
        os.symlink(content, draft)
    else:
        with open(draft, "xb") as file:
            if part is None:
                file.write(content)
            else:
                with open(part, "rb") as source:
                    while piece := source.read(_READ):
                        file.write(piece)
        if kind == "x":
            os.chmod(draft, 0o755)  # noqa: S103 - as every tool leaves it that makes programs
    if part is not None:
        os.unlink(part)
    return state(draft)


def _give_back(aside: bytes, full: bytes) -> None:
    """Put what a person has written back to its name, or beside it when that name is taken again."""
    directory = _descriptor(full)
    try:
        place(directory, os.path.basename(aside), os.path.basename(full))
    except FileExistsError:
        os.rename(aside, full + b"-unsaved")
    finally:
        os.close(directory)


def _aside(full: bytes) -> bytes:
    return os.path.join(os.path.dirname(full), _PART)


def _descriptor(full: bytes) -> int:
    return os.open(os.path.dirname(full), os.O_RDONLY | os.O_DIRECTORY)
