"""Writes a backup: one file (mode 0600) with all of the state that cannot be made again, and no secret.

    manifest.json            BackupManifest
    journal.sqlite           registrations, what people want, history, what is served
    notebooks/NAME/recovered copies of edits; parked: edits that wait for the next host
    notebooks/NAME/work      what was edited in the notebook, or is new there; deleted files are in the manifest
    objects/DIGEST           what is deployed, so that edits are known as such after a restore

Not in it: tokens, environments, data, logs, older versions. A daemon makes, reads or builds them again.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from kaosd import __version__
from kaosd.bundle import Store
from kaosd.bundle.edit_survey import EditSurvey
from kaosd.bundle.tree import encode
from kaosd.display import printable
from kaosd.errors import ConfigError, ContentLost
from kaosd.journal import SCHEMA, Journal
from kaosd.notebook import data_link

FORMAT = 1
KEPT = ("recovered", "parked")  # directories of a notebook that go into a backup as they are


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """What a backup says of itself.

    schema: of its journal. at: when it was made. state_dir: which one it is of. model: by notebook, the tree that its
    work directory was brought to; deleted: by notebook, the files of that which were deleted in the notebook.
    """

    format: int
    kaosd: str
    schema: int
    at: float
    state_dir: str
    model: dict[str, str] = field(default_factory=dict)
    deleted: dict[str, list[str]] = field(default_factory=dict)


MANIFEST = TypeAdapter(BackupManifest)


def write_backup(journal: Journal, store: Store, state_dir: Path, target: Path, at: float) -> dict[str, object]:
    """Write a backup to *target*, which is replaced atomically; what is in it, for people. Blocking.

    Raises ConfigError when it cannot be written. at: the time now.
    """
    draft = target.parent / f".{target.name}.new"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), 0o600)
                with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
                    told = _Backup(journal, store, state_dir, archive).write(at)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        named = os.fsdecode(error.filename or draft)
        if named not in (str(draft), str(target)):
            raise ConfigError(f"{printable(named)}: {error.strerror}", hint="nothing was written") from error
        text = f"{target} cannot be written: {error.strerror or error}"
        raise ConfigError(text, hint="name another one") from error
    return {"file": str(target), "bytes": target.stat().st_size, **told}


class _Backup:
    def __init__(self, journal: Journal, store: Store, state_dir: Path, archive: tarfile.TarFile) -> None:
        self._journal, self._store, self._archive = journal, store, archive
        self._state_dir = state_dir
        self._objects: set[str] = set()
        self._files = 0

    def write(self, at: float) -> dict[str, object]:
        """All parts; how much there is of each."""
        manifest = BackupManifest(FORMAT, __version__, SCHEMA, at, str(self._state_dir))
        with tempfile.TemporaryDirectory(dir=self._state_dir, prefix="backup-") as place:
            copy = Path(place) / "journal.sqlite"
            self._journal.copy_to(copy)
            self._archive.add(copy, "journal.sqlite")
        lives, copies, edits = self._journal.lives(), 0, 0
        for name in sorted({*lives, *(one.name for one in self._journal.registered())}):
            home, live = self._state_dir / "notebooks" / name, lives.get(name)
            for part in KEPT:
                copies += self._add(home / part, f"notebooks/{name}/{part}")
            if live is not None and live.model_tree is not None:
                edits += self._edits(name, home / "work", live.model_tree, manifest)
                roots = {live.model_tree, *([live.source.digest] if live.source is not None else [])}
                for root in roots:
                    self._deployed(root)
        content = json.dumps(MANIFEST.dump_python(manifest, mode="json")).encode()  # names need not be UTF-8
        info = tarfile.TarInfo("manifest.json")
        info.size, info.mode = len(content), 0o600
        self._archive.addfile(info, io.BytesIO(content))
        return {"notebooks": len(self._journal.registered()), "copies": copies, "edits": edits}

    def _add(self, top: Path, name: str) -> int:
        """The files and links below a directory; how many."""
        count = 0
        for path in _below(top):
            inside = os.path.relpath(path, top)
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                self._put(path, f"{name}/{inside}")
                count += 1
        return count

    def _edits(self, name: str, work: Path, tree: str, manifest: BackupManifest) -> int:
        """What differs in the work directory from what was deployed there; how many paths."""
        found = EditSurvey(self._store, work, lambda _path, _is_dir: False).run(tree) if work.is_dir() else ()
        if found is None:  # what was deployed is lost: everything may be an edit
            return self._add(work, f"notebooks/{name}/work")
        ours, count = data_link.is_ours(work), 0
        manifest.model[name] = tree
        for edit in found:
            path = os.fsdecode(edit.path)
            if path == data_link.NAME and ours:
                continue
            count += 1
            if edit.kind == "deleted":
                manifest.deleted.setdefault(name, []).append(path)
                continue
            with contextlib.suppress(FileNotFoundError):
                self._put(work / path, f"notebooks/{name}/work/{path}")
        return count

    def _put(self, path: str | Path, name: str) -> None:
        """A file, as much of it as there is when it is read, or a link; OSError."""
        info = self._archive.gettarinfo(path, name)
        if info.issym():
            self._archive.addfile(info)
            return
        info.type, info.linkname = tarfile.REGTYPE, ""  # also of a second name for a file that is in it already
        with (
            open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file,
            tempfile.TemporaryFile(dir=self._state_dir) as copy,
        ):
            shutil.copyfileobj(file, copy)  # its size in the archive comes before its content
            info.size = copy.tell()
            copy.seek(0)
            self._archive.addfile(info, copy)

    def _deployed(self, tree: str) -> None:
        """The contents and nodes of a tree that are not in the backup yet; what the store has lost is left out."""
        if tree in self._objects:
            return
        self._objects.add(tree)
        with contextlib.suppress(ContentLost):
            node = self._store.node(tree)
            self._object(tree, encode(node))
            for entry in node:
                if entry.kind == "d":
                    self._deployed(entry.digest)
                elif entry.digest not in self._objects:
                    self._objects.add(entry.digest)
                    with contextlib.suppress(ContentLost):
                        self._object(entry.digest, self._store.get(entry.digest))

    def _object(self, digest: str, content: bytes) -> None:
        info = tarfile.TarInfo(f"objects/{digest}")
        info.size, info.mode = len(content), 0o600
        self._archive.addfile(info, io.BytesIO(content))


def _below(top: Path) -> Iterator[str]:
    """The regular files and links below a directory."""
    for directory, names, files in os.walk(top):
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        for name in (*files, *links):
            path = os.path.join(directory, name)
            if stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFREG, stat.S_IFLNK):
                yield path
