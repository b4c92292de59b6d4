"""A backup of the state: what is in it, what is not, and that a daemon goes on from it where it was."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from kaosd.bundle import Entry, Store
from kaosd.bundle.tree import EMPTY, digest_of, encode
from kaosd.errors import ConfigError, ConflictError
from kaosd.journal import Registration
from kaosd.notebook.backup_reading import read_backup
from kaosd.notebook.backup_writing import write_backup
from tests.faults.still import Mortal
from tests.faults.test_actor_model import Life


@pytest.fixture
async def life() -> AsyncIterator[Life]:
    """A notebook that is live, with edits made in it, a copy of one, and a registration."""
    place = Path(tempfile.mkdtemp(prefix="kb"))
    one = Life(place, 1)
    one.change(1)
    assert await one.actor.settled() == "live"
    home = place / "state/notebooks/n"
    (home / "work" / "0.py").write_text("mine\n")
    (home / "work" / "new").mkdir()
    (home / "work" / "new" / "made.txt").write_text("made here\n")
    (home / "work" / "link").symlink_to("/nowhere")
    (home / "work" / "2.py").unlink()
    copy = home / "recovered" / "20260101" / "work" / "1.py"
    copy.parent.mkdir(parents=True)
    copy.write_text("an older edit\n")
    one.actor.record.keep([("1.py", str(copy))])
    one.journal.register(Registration("r", {"source": "/home/ada/example"}))
    yield one
    with contextlib.suppress(Exception):
        await one.end()
    shutil.rmtree(place)


async def backed_up(life: Life) -> Path:
    """The backup, made while the daemon runs; which then ends."""
    target = life.place / "backup"
    told = write_backup(life.journal, life.store, life.place / "state", target, 2.0)
    assert (told["notebooks"], told["copies"], told["edits"]) == (1, 1, 4)
    await life.end()
    return target


def begin(life: Life) -> None:
    """A daemon starts in the restored state."""
    life.journal = Mortal(life.place / "state" / "journal.sqlite", 3.0)
    life.journal.fate = life.fate
    life.store = Store(life.place / "state" / "store")
    life.engine.hosts.clear()
    life.engine.made.clear()
    life.begin()


async def test_after_a_restore_the_notebook_is_served_with_its_edits(life: Life) -> None:
    work, source = life.place / "state/notebooks/n/work", life.source / "model"
    target, number = await backed_up(life), life.actor.record.deployment.number  # type: ignore[union-attr]
    shutil.rmtree(life.place / "state")
    told = read_backup(target, life.place / "state", force=False)
    assert (told["aside"], told["edited"]) == (None, ["n"])
    begin(life)
    assert await life.actor.settled() == "live"
    assert (work / "0.py").read_text() == "mine\n"
    assert (work / "new" / "made.txt").read_text() == "made here\n"
    assert os.readlink(work / "link") == "/nowhere"
    assert not (work / "2.py").exists()
    assert (work / "1.py").read_text() == (source / "1.py").read_text()
    (copy,) = life.journal.recovered("n")
    assert Path(copy.file).read_text() == "an older edit\n"
    assert [one.name for one in life.journal.registered()] == ["r"]
    assert life.actor.record.deployment.number > number  # type: ignore[union-attr]
    (source / "1.py").write_text("saved later\n")
    assert await life.actor.settled() == "live"
    assert (work / "1.py").read_text() == "saved later\n"
    assert (work / "0.py").read_text() == "mine\n", "an edit is still known as one"


async def test_an_edit_of_another_kind_than_what_was_deployed_comes_back(life: Life) -> None:
    """A link that leads elsewhere now, a directory where a file was, a file where a directory was."""
    model, work = life.source / "model", life.place / "state/notebooks/n/work"
    (model / "points").symlink_to("0.py")
    (model / "file").write_text("deployed\n")
    (model / "directory").mkdir()
    (model / "directory" / "x").write_text("deployed\n")
    assert await life.actor.settled() == "live"
    (work / "points").unlink()
    (work / "points").symlink_to("1.py")
    (work / "file").unlink()
    (work / "file").mkdir()
    (work / "file" / "inside").write_text("mine\n")
    shutil.rmtree(work / "directory")
    (work / "directory").write_text("mine\n")
    target = life.place / "backup"
    write_backup(life.journal, life.store, life.place / "state", target, 2.0)
    await life.end()
    shutil.rmtree(life.place / "state")
    read_backup(target, life.place / "state", force=False)
    assert os.readlink(work / "points") == "1.py"
    assert (work / "file" / "inside").read_text() == "mine\n"
    assert (work / "directory").read_text() == "mine\n"


async def test_files_that_are_one_on_disk_are_all_restored(life: Life) -> None:
    work = life.place / "state/notebooks/n/work"
    os.link(work / "0.py", work / "again.py")
    target = life.place / "backup"
    write_backup(life.journal, life.store, life.place / "state", target, 2.0)
    await life.end()
    read_backup(target, life.place / "state", force=True)
    assert [(work / name).read_text() for name in ("0.py", "again.py")] == ["mine\n"] * 2


async def test_a_file_that_gets_shorter_while_it_is_read_does_not_stop_a_backup(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = life.place / "state/notebooks/n/work"
    (work / "0.py").write_text("mine\n" * 1000)
    look = tarfile.TarFile.gettarinfo

    def shorten(self: tarfile.TarFile, name: Path, arcname: str) -> tarfile.TarInfo:
        found = look(self, name, arcname)
        if arcname.endswith("work/0.py"):
            (work / "0.py").write_text("shorter\n")
        return found

    monkeypatch.setattr(tarfile.TarFile, "gettarinfo", shorten)
    target = await backed_up(life)
    read_backup(target, life.place / "elsewhere", force=False)
    assert (life.place / "elsewhere/notebooks/n/work/0.py").read_text() == "shorter\n"


async def test_a_file_that_cannot_be_read_is_named(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    look = tarfile.TarFile.gettarinfo

    def refuse(self: tarfile.TarFile, name: Path, arcname: str) -> tarfile.TarInfo:
        if not arcname.endswith("/1.py"):
            return look(self, name, arcname)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))

    monkeypatch.setattr(tarfile.TarFile, "gettarinfo", refuse)
    with pytest.raises(ConfigError, match=r"1\.py: Permission denied"):
        write_backup(life.journal, life.store, life.place / "state", life.place / "backup", 2.0)
    assert not (life.place / "backup").exists()


@pytest.mark.parametrize("target", ["/", "."])
async def test_a_backup_to_a_directory_is_refused(life: Life, target: str) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write_backup(life.journal, life.store, life.place / "state", life.place / target, 2.0)


@pytest.mark.parametrize("way", ["edit", "deleted", "name", "path", "twice"])
async def test_no_link_of_a_backup_leads_what_is_restored_out_of_it(life: Life, way: str) -> None:
    """Its deployed tree holds a link to another directory, and something below the same name."""
    target, evil, outside = await backed_up(life), life.place / "evil", life.place / "outside"
    outside.mkdir()
    (outside / "theirs").write_text("theirs\n")
    leads, mine = os.fsencode(outside), b"evil\n"
    inner = encode((Entry(b"made", "f", digest_of(mine), len(mine)),))
    link = encode((Entry(b"a", "l", digest_of(leads), len(leads)),))
    up = b"../../../../outside/made"

    def node(name: bytes, kind: Literal["f", "d"], content: bytes) -> bytes:
        """A node with one entry, whose name is none that `encode` takes."""
        plain = b"_" * len(name)
        return encode((Entry(plain, kind, digest_of(content), len(content)),)).replace(plain, name)

    root = {
        "edit": link,
        "deleted": link,
        "name": node(up, "f", mine),
        "path": link + node(b"a/made", "f", mine).removeprefix(EMPTY),
        "twice": link + node(b"a", "d", inner).removeprefix(EMPTY),
    }[way]
    objects = [root, leads, mine, inner]
    with tarfile.open(target) as archive, tarfile.open(evil, "w") as bad:

        def add(name: str, content: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bad.addfile(info, io.BytesIO(content))

        for member in archive:
            if member.name == "manifest.json":
                manifest = json.load(archive.extractfile(member))  # type: ignore[arg-type]
                manifest["model"]["n"] = digest_of(objects[0])
                manifest["deleted"]["n"] = ["a/theirs"] if way == "deleted" else []
                add("manifest.json", json.dumps(manifest).encode())
            elif not member.name.startswith("notebooks/"):
                bad.addfile(member, archive.extractfile(member))
        for content in objects:
            add(f"objects/{digest_of(content)}", content)
        if way == "edit":
            add("notebooks/n/work/a/made", mine)
    with contextlib.suppress(ConfigError):
        read_backup(evil, life.place / "new", force=False)
    assert [path.name for path in outside.iterdir()] == ["theirs"]


async def test_a_save_of_a_file_that_was_edited_before_the_backup_keeps_a_copy(life: Life) -> None:
    target = await backed_up(life)
    read_backup(target, life.place / "state", force=True)
    begin(life)
    (life.source / "model" / "0.py").write_text("saved on disk\n")
    assert await life.actor.settled() == "live"
    assert (life.place / "state/notebooks/n/work/0.py").read_text() == "saved on disk\n"
    assert "mine\n" in [Path(one.file).read_text() for one in life.journal.recovered("n")]


async def test_a_state_that_is_there_is_set_aside_only_when_that_is_wished(life: Life) -> None:
    target = await backed_up(life)
    with pytest.raises(ConflictError, match="holds the state of a kaosd already"):
        read_backup(target, life.place / "state", force=False)
    told = read_backup(target, life.place / "state", force=True)
    assert (Path(str(told["aside"])) / "notebooks/n/work/0.py").read_text() == "mine\n"


async def test_the_copies_are_listed_where_another_directory_has_them(life: Life) -> None:
    target = await backed_up(life)
    read_backup(target, life.place / "elsewhere", force=False)
    with contextlib.closing(Mortal(life.place / "elsewhere" / "journal.sqlite", 3.0)) as journal:
        (copy,) = journal.recovered("n")
    assert copy.file.startswith(str(life.place / "elsewhere"))
    assert Path(copy.file).read_text() == "an older edit\n"


async def test_a_backup_is_private_and_holds_no_token_and_no_environment(life: Life) -> None:
    token = (life.place / "state/notebooks/n/token").read_bytes()
    target = await backed_up(life)
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as archive:
        contents = [archive.extractfile(member).read() for member in archive if member.isfile()]  # type: ignore[union-attr]
    assert contents
    assert not any(token in content for content in contents)


@pytest.mark.parametrize(
    "name", ["../outside", "notebooks/n/work/../../../../outside", "/outside", "objects/../x", "what"]
)
async def test_what_would_lead_out_is_refused_and_nothing_changes(life: Life, name: str) -> None:
    target, evil = await backed_up(life), life.place / "evil"
    with tarfile.open(target) as archive, tarfile.open(evil, "w") as bad:
        for member in archive:
            bad.addfile(member, archive.extractfile(member) if member.isfile() else None)
        info = tarfile.TarInfo(name)
        info.size = 1
        bad.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(ConfigError, match="is not a backup of kaosd"):
        read_backup(evil, life.place / "new", force=False)
    assert not (life.place / "new").exists()
    assert not (life.place / "outside").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", None])
async def test_what_is_no_backup_or_cut_off_is_refused(life: Life, content: bytes | None) -> None:
    target = await backed_up(life)
    whole = target.read_bytes()
    target.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ConfigError, match="is not a backup of kaosd"):
        read_backup(target, life.place / "state", force=True)
    assert (life.place / "state/notebooks/n/work/0.py").read_text() == "mine\n"
