"""A person at work: saves, renames, removes, switches branches in the directories, and edits in the host as well."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

TEMPORARY = ".kaosd-"
NAMES = ["train.py", "a.txt", "b.txt", "net.py", "läs mig.md", "conf.json", "x", "pad/one", "pad/two", "pad/deep/three",
         "lib/util.py", "lib/core.py", "lib/sub/leaf.py", "odd \x01name", "nb.txt"]  # fmt: skip
MOVED = (FileNotFoundError, NotADirectoryError, IsADirectoryError)  # what is met when a sync runs meanwhile
FEWEST = 12  # files that stay, so that the guard against mass changes is not asked every time


class File(NamedTuple):
    """What is at a path: kind as in bundles (f, x, l) and content."""

    kind: str
    content: bytes


Tree = dict[str, File]


def read_tree(top: Path) -> Tree:
    """The files and links below *top*, without git's own."""
    found: Tree = {}
    for directory, names, files in os.walk(top):
        names[:] = [name for name in names if name not in (".git", "__pycache__", ".ipynb_checkpoints")]
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        for name in (*files, *links):
            full = os.path.join(directory, name)
            with contextlib.suppress(*MOVED):  # it has just been replaced: whoever compares looks again
                found[os.path.relpath(full, top)] = _read(full)
    return found


def _read(path: str) -> File:
    with contextlib.suppress(OSError):  # it is no link
        return File("l", os.fsencode(os.readlink(path)))
    with open(path, "rb") as file:
        return File("x" if os.fstat(file.fileno()).st_mode & 0o100 else "f", file.read())


class Editor:
    """Edits of one random source. model, data: the directories. work: the one in the host.

    saves: how many changes were made. hosted: what the person left in the host and is there still, by path (None:
    removed). touched: paths below model/ that changed since `rest`; loose: of these, the ones edited in the host
    while a sync may have run, so that it may have gone either way. base: model/ at the last rest.
    """

    def __init__(self, chance: random.Random, source: Path, data: Path, work: Path) -> None:
        self.chance = chance
        self.source, self.model, self.data, self.work = source, source / "model", data, work
        self.saves = self.edits = 0
        self.number = 0
        self.hosted: dict[str, bytes | None] = {}
        self.written: dict[bytes, str] = {}  # all that was ever written in the host and must not be lost
        self.recovered: dict[bytes, str] = {}  # of these, what was found among the recovered files
        self.touched: set[str] = set()
        self.loose: set[str] = set()
        self.base: Tree = {}
        self.plain = False  # whether names are such as every engine takes, and nothing is a link

    def begin(self) -> None:
        """The first state of the directories."""
        self.data.mkdir(parents=True)
        (self.source / "Dockerfile").parent.mkdir(parents=True, exist_ok=True)
        (self.source / "Dockerfile").write_text("FROM python:3.11\n")
        for name in (
            *(name for name in NAMES if not self.plain or (name.isascii() and name.isprintable())),
            "requirements.txt",
        ):
            path = self.model / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("" if name == "requirements.txt" else f"{name}\n")
        for number in range(12):
            (self.data / f"{number}.csv").write_text(f"{number}\n")
        self._git("init", "-q", "-b", "main")
        (self.source / ".git" / "info" / "exclude").write_text("*.part\n")
        self._git("add", "-A")
        self._git("commit", "-qm", "first")
        self._git("branch", "other")

    def rest(self) -> None:
        """Everything has come to rest and was found right."""
        self.base = read_tree(self.model)
        self.touched.clear()
        self.loose.clear()

    # -- in the directories --------------------------------------------------------------------------------

    def change(self, times: int) -> None:
        """Change the source, and now and then the data, *times* times."""
        before = read_tree(self.model)
        for _ in range(times):
            ways: list[Callable[[], None]] = [
                self._save, self._save, self._save_by_rename, self._save_by_rename, self._append, self._create,
                self._remove, self._rename, self._chmod, self._relink, self._replace_directory, self._take_back,
                self._change_data, self._change_data, self._file_for_directory,
            ]  # fmt: skip
            if self.plain:
                ways.remove(self._relink)
            if self.chance.random() < 0.05:
                ways = [self._switch_branch]
            self.chance.choice(ways)()
            self.saves += 1
            after = read_tree(self.model)
            self.touched |= {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
            before = after

    def _content(self) -> bytes:
        self.number += 1
        return b"source %d\n" % self.number * self.chance.choice([1, 1, 1, 1, 3, 3, 200, 200, 20_000, 120_000])

    def _files(self) -> list[str]:
        return sorted(path for path, file in read_tree(self.model).items() if path != "requirements.txt")

    def _one(self) -> Path:
        return self.model / self.chance.choice(self._files())

    def _save(self) -> None:
        path = self._one()
        if not path.is_symlink():
            path.write_bytes(self._content())

    def _save_by_rename(self) -> None:
        path = self._one()
        new = path.with_name(path.name + ".part")
        new.write_bytes(self._content())
        new.replace(path)

    def _append(self) -> None:
        path = self._one()
        if not path.is_symlink():
            with open(path, "ab") as file:
                file.write(self._content())

    def _create(self) -> None:
        path = self.model / self.chance.choice(["", "pad", "lib/sub", "new"]) / f"n{self.chance.randrange(20)}.txt"
        if not path.parent.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_dir():
                path.write_bytes(self._content())

    def _remove(self) -> None:
        if len(self._files()) > FEWEST:
            self._one().unlink()

    def _rename(self) -> None:
        path = self._one()
        path.rename(path.with_name(f"r{self.chance.randrange(9)}.txt"))

    def _chmod(self) -> None:
        path = self._one()
        if not path.is_symlink():
            path.chmod(path.stat().st_mode ^ 0o111)

    def _relink(self) -> None:
        link = self.model / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(self.chance.choice(["train.py", "a.txt", "lib"]))

    def _replace_directory(self) -> None:
        directory = self.model / "pad"
        if directory.is_dir():
            copy = self.model / "pad.part"
            shutil.copytree(directory, copy, symlinks=True)
            (copy / "one").write_bytes(self._content())
            # For a moment nothing is there, and who looks then is right to take it away.
            self.touched |= {f"pad/{path}" for path in read_tree(directory)}
            old = self.model / "old.part"
            directory.rename(old)
            copy.rename(directory)
            shutil.rmtree(old)

    def _take_back(self) -> None:
        """What a person does with a mistake: everything is as it was when all was at rest."""
        for path, file in self.base.items():
            full = self.model / path
            if file.kind in "fx" and full.is_file() and not full.is_symlink() and path != "requirements.txt":
                full.write_bytes(file.content)

    def _file_for_directory(self) -> None:
        path = self.model / "shape"
        if path.is_dir():
            shutil.rmtree(path)
            path.write_bytes(self._content())
        else:
            path.unlink(missing_ok=True)
            path.mkdir()
            (path / "inner").write_bytes(self._content())

    def _change_data(self) -> None:
        path = self.data / f"{self.chance.randrange(12)}.csv"
        path.write_bytes(self._content())

    def _switch_branch(self) -> None:
        self._git("add", "-A")
        self._git("commit", "-qm", "work", "--allow-empty")
        now = self._git("branch", "--show-current")
        self._git("checkout", "-q", "other" if now == "main" else "main")

    def _git(self, *arguments: str) -> str:
        who = ["-c", "user.name=ada", "-c", "user.email=ada@localhost", "-c", "core.quotepath=off"]
        done = subprocess.run(["git", "-C", self.source, *who, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    # -- in the host ---------------------------------------------------------------------------------------

    def edit(self, times: int, *, at_rest: bool) -> None:
        """Edit files in the host. at_rest: no sync runs, so what must become of it is known."""
        for _ in range(times):
            path = self.chance.choice([*self._files(), "own.txt", "pad/own.txt"])
            full = self.work / path
            if full.is_symlink() or full.is_dir() or not full.parent.is_dir():
                continue
            self.number += 1
            content = b"hosted %d\n" % self.number
            removes = full.is_file() and self.chance.random() < 0.2
            if not (_remove(full) if removes else _save(full, content)):
                continue  # no room, or the directory has gone: the person is told so by JupyterLab
            self._left(self.hosted.get(path))
            self.hosted[path] = None if removes else content
            if not removes:
                self.written[content] = path
            if not at_rest:
                self.loose.add(path)
            self.edits += 1

    def forge(self) -> None:
        """An edit in the host that its size and times do not tell."""
        path = self.chance.choice(self._files())
        full = self.work / path
        self.number += 1
        content = b"hosted %d\n" % self.number
        try:
            status = full.lstat()
        except MOVED:
            return
        if not stat.S_ISREG(status.st_mode) or status.st_size < len(content):
            return
        content += b" " * (status.st_size - len(content))
        if not _save(full, content, (status.st_atime_ns, status.st_mtime_ns)):
            return
        self._left(self.hosted.get(path))
        self.hosted[path], self.written[content] = content, path
        self.loose.add(path)
        self.edits += 1

    def _left(self, content: bytes | None) -> None:
        """The person has overwritten this with their own hands."""
        if content is not None:
            self.written.pop(content, None)


def _save(path: Path, content: bytes, times: tuple[int, int] | None = None) -> bool:
    """Put *content* in the place of a file in one step; False when the disk is full, or a sync takes the place away.

    times: of access and change, in ns.
    """
    new = path.with_name(f".{path.name}.part")
    try:
        new.write_bytes(content)
        if times is not None:
            os.utime(new, ns=times)
        new.replace(path)
    except OSError as error:
        if error.errno != errno.ENOSPC and not isinstance(error, MOVED):
            raise
        _remove(new)
        return False
    return True


def _remove(path: Path) -> bool:
    """Remove a file that may be gone; False when something else stands where it or its directory was."""
    try:
        path.unlink(missing_ok=True)
    except MOVED:
        return False
    return True
