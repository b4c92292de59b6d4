"""Makes a state directory out of a backup; see backup_writing for what is in one.

The next daemon finds registrations, history and edits, builds the environments and starts the notebooks again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tarfile
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from kaosd.bundle import Store
from kaosd.bundle.openat import directory, open_root
from kaosd.bundle.tree import digest_of, encode, split, walk
from kaosd.bundle.writing import export_tree
from kaosd.errors import ConfigError, ConflictError, ContentLost
from kaosd.journal import SCHEMA, Journal
from kaosd.model import check_name
from kaosd.notebook.backup_writing import FORMAT, KEPT, MANIFEST, BackupManifest

_PARTS = (*KEPT, "work")
_PASSING = {"lock", "run", "kaosd.sock", "schema"}  # what any start of a daemon makes
_OBJECT = re.compile(r"[0-9a-f]{64}")


def read_backup(file: Path, state_dir: Path, *, force: bool) -> dict[str, object]:
    """Make *state_dir* out of the backup *file*; what is in it, for people. Blocking. The caller holds no state.

    force: a state directory that is in use is renamed first. Raises ConflictError when one is there without *force*,
    ConfigError when the file is not a backup, or one of a newer kaosd; then nothing has changed.
    """
    aside = _aside(state_dir, force=force)
    draft = state_dir.with_name(f"{state_dir.name}.restoring")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        try:
            with tarfile.open(file) as archive:
                manifest = _extract(archive, draft)
            _complete(draft, state_dir, manifest)
        except (tarfile.TarError, EOFError, ValidationError, KeyError, ValueError, OverflowError) as error:
            raise ConfigError(f"{file} is not a backup of kaosd that is whole: {error}") from error
        if aside is not None:
            os.rename(state_dir, aside)
        elif state_dir.exists():
            shutil.rmtree(state_dir)
        os.rename(draft, state_dir)
    except OSError as error:
        where = error.filename or file
        raise ConfigError(f"{where}: {error.strerror or error}", hint="nothing was restored") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    names = sorted(manifest.model)
    return {"state_dir": str(state_dir), "aside": str(aside) if aside else None, "at": manifest.at, "edited": names}


def _aside(state_dir: Path, *, force: bool) -> Path | None:
    """Where the present state directory goes; None when there is nothing in it."""
    found = set(os.listdir(state_dir)) if state_dir.is_dir() else set[str]()
    if found <= _PASSING:
        return None
    if not found.isdisjoint(("journal.sqlite", "notebooks", "store")) and not force:
        hint = "add --force: it is then renamed and kept"
        raise ConflictError(f"{state_dir} holds the state of a kaosd already", hint=hint)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    return state_dir.with_name(f"{state_dir.name}.before-restore-{stamp}")


def _extract(archive: tarfile.TarFile, draft: Path) -> BackupManifest:
    """Write all members below *draft*: files first, links last, so that no file is written through a link."""
    manifest: BackupManifest | None = None
    links: list[tuple[Path, str]] = []
    (draft / "objects").mkdir(mode=0o700)
    for member in archive:
        parts = PurePosixPath(member.name).parts
        if member.name == "manifest.json":
            manifest = MANIFEST.validate_python(json.loads(_content(archive, member)))
            _check(manifest)
        elif member.name == "journal.sqlite" or _is_object(parts):
            _write(draft / member.name, archive, member)
        elif len(parts) > 3 and parts[0] == "notebooks" and parts[2] in _PARTS and ".." not in parts:
            check_name(parts[1])
            if member.issym():
                links.append((draft / member.name, member.linkname))
            elif member.isfile():
                _write(draft / member.name, archive, member)
        else:
            raise KeyError(f"what is {member.name[:80]!r}?")
    for path, leads_to in links:
        _parent(path)
        os.symlink(leads_to, path)
    if manifest is None or not (draft / "journal.sqlite").exists():
        raise KeyError("its manifest is missing")
    return manifest


def _is_object(parts: tuple[str, ...]) -> bool:
    return len(parts) == 2 and parts[0] == "objects" and _OBJECT.fullmatch(parts[1]) is not None


def _check(manifest: BackupManifest) -> None:
    if manifest.format > FORMAT or manifest.schema > SCHEMA:
        text = f"the backup was made by a newer kaosd ({manifest.kaosd})"
        raise ConfigError(text, hint="restore it with that one")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file is not None else b""


def _write(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    _parent(path)
    source = archive.extractfile(member)
    if source is None:
        raise KeyError(f"{member.name[:80]!r} is not a file")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        shutil.copyfileobj(source, file)
        os.fchmod(file.fileno(), 0o600 | (member.mode & 0o777))
    os.utime(path, (member.mtime, member.mtime))


def _parent(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _complete(draft: Path, state_dir: Path, manifest: BackupManifest) -> None:
    """Put what was deployed into a store, and make the journal say what is true of the restored directory."""
    store = Store(draft / "store")
    with contextlib.closing(store), Journal(draft / "journal.sqlite", manifest.at) as journal:
        for path in sorted((draft / "objects").iterdir()):
            content = path.read_bytes()
            if digest_of(content) != path.name:
                raise KeyError(f"the content {path.name[:12]} is damaged")
            store.put(content)
        store.flush()
        shutil.rmtree(draft / "objects")
        for name in sorted({*journal.lives(), *manifest.model}):
            check_name(name)
            _notebook(draft, name, store, journal, manifest)
            _move_copies(journal, name, manifest.state_dir, str(state_dir))


def _notebook(draft: Path, name: str, store: Store, journal: Journal, manifest: BackupManifest) -> None:
    """The work directory of a notebook as it was: what was deployed, with the edits; and what is served: nothing."""
    home, tree = draft / "notebooks" / name, manifest.model.get(name)
    edits = home / "edits"
    work = home / "work"
    _parent(work)
    if work.is_dir():
        work.rename(edits)
    work.mkdir(mode=0o700)
    try:
        _check_tree(store, tree)
        export_tree(store, tree, work)
    except ContentLost:
        tree = None
    for path in manifest.deleted.get(name, ()):
        if path.startswith("/") or ".." in PurePosixPath(path).parts:
            raise KeyError(f"what is {path[:80]!r}?")
        _unlink(work, os.fsencode(path))
    if edits.is_dir():
        _lay_over(edits, work)
        shutil.rmtree(edits)
    if tree is not None:
        (home / "deployed").write_text(f"{tree}\nend\n")
    live, intent = journal.live(name), journal.intent(name)
    pristine = {"syncing": None, "left": (), "attaching": False, "applying": False, "host": None, "data": None}
    journal.save_live(name, replace(live, model_tree=tree, **pristine))  # type: ignore[arg-type]
    nothing = dict.fromkeys(("pinned_source", "pinned_data", "pinned_over_source", "pinned_over_data"))
    journal.save_intent(name, replace(intent, **nothing))  # type: ignore[arg-type]
    kept = {live.source.digest} if live.source is not None and live.source.digest in store else set[str]()
    journal.prune(name, "source", kept)
    journal.prune(name, "data", ())


def _check_tree(store: Store, tree: str | None) -> None:
    """ValueError for names that kaosd would not have given, through which something could be written elsewhere."""
    directories = (entry.digest for _, entry in walk(store, tree) if entry.kind == "d")
    for digest in (*([tree] if tree is not None else []), *directories):
        encode(store.node(digest))


def _unlink(work: Path, path: bytes) -> None:
    """Delete a file or link below *work* if it is there; no link above it is followed."""
    above, name = split(path)
    root = open_root(work)
    try:
        with contextlib.suppress(OSError), directory(root, above) as parent:
            os.unlink(name, dir_fd=parent)
    finally:
        os.close(root)


def _lay_over(edits: Path, work: Path) -> None:
    """Move what is below *edits* into *work*, in the place of what stands there; no link of *work* is followed."""
    for edit in sorted(edits.iterdir()):
        target = work / edit.name
        is_there = target.is_dir() and not target.is_symlink()
        if edit.is_dir() and not edit.is_symlink():
            if not is_there:
                target.unlink(missing_ok=True)
                target.mkdir()
            _lay_over(edit, target)
            continue
        if is_there:
            shutil.rmtree(target)
        os.replace(edit, target)


def _move_copies(journal: Journal, name: str, before: str, after: str) -> None:
    """Name the copies of edits where they lie now."""
    copies = journal.recovered(name)
    inside = [one for one in copies if one.file.startswith(f"{before}/")]
    moved = [replace(one, file=after + one.file.removeprefix(before)) for one in inside]
    if before != after and moved:
        journal.forget_recovered(name, copies)
        journal.note_recovered(moved)
