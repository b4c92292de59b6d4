"""Edits made in a notebook come home, or are taken back: the rule as a table, and real directories byte for byte."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kaosd.bundle import State
from kaosd.bundle.source_writing import ChangedMeanwhile, write_below
from kaosd.bundle.tree import Entry
from kaosd.errors import BundleError, ConflictError, NotFoundError
from kaosd.notebook import Notebook, differing, edit_counts
from kaosd.notebook.pulling import Wish, decide, pull
from kaosd.notebook.resetting import reset
from tests.deployed import deploy, deployed_actor, sync, write  # noqa: F401 - a fixture

ONE, TWO, THREE = State("f", "1"), State("f", "2"), State("f", "3")
DIRECTORY = State("d")

RULE = {  # base, ours, theirs, named, force
    "changed here": (ONE, TWO, ONE, False, False, "write"),
    "new here": (None, TWO, None, False, False, "write"),
    "changed in both": (ONE, TWO, THREE, True, False, "conflict"),
    "changed in both, by force": (ONE, TWO, THREE, False, True, "overwrite"),
    "changed here, deleted on disk": (ONE, TWO, None, True, False, "conflict"),
    "changed here, deleted on disk, by force": (ONE, TWO, None, True, True, "overwrite"),
    "new in both": (None, TWO, THREE, True, False, "conflict"),
    "on disk already": (ONE, TWO, TWO, False, False, "same"),
    "deleted here, not named": (ONE, None, ONE, False, False, "unnamed"),
    "deleted here, not named, by force": (ONE, None, ONE, False, True, "unnamed"),
    "deleted here, named": (ONE, None, ONE, True, False, "delete"),
    "deleted here, changed on disk": (ONE, None, TWO, True, False, "conflict"),
    "deleted here, changed on disk, by force": (ONE, None, TWO, True, True, "overwrite"),
    "deleted in both": (ONE, None, None, False, False, "same"),
    "nothing left to write": (ONE, ONE, ONE, True, False, "same"),
    "nothing left to write, changed on disk": (ONE, ONE, TWO, True, True, "unchanged"),
    "a directory on disk, by force": (ONE, TWO, DIRECTORY, True, True, "conflict"),
    "only executable on disk": (ONE, TWO, State("x", "1"), True, False, "write"),
}


@pytest.mark.parametrize("case", RULE)
def test_what_a_pull_does_with_a_file(case: str) -> None:
    base, ours, theirs, named, force, expected = RULE[case]
    assert decide(base, ours, theirs, named=named, force=force) == expected


def model(actor: Notebook) -> Path:
    assert actor.spec.source is not None
    return actor.spec.source / "model"


def actions(answer: dict[str, Any]) -> dict[str, str]:
    return {one["path"]: one["action"] for one in answer["files"]}


async def edits(actor: Notebook) -> dict[str, int]:
    counts: dict[str, int] = (await differing.edits(actor))["counts"]
    return counts


async def test_edits_are_pulled_and_the_save_that_follows_is_known(actor: Notebook) -> None:
    work, disk = actor.home.work, model(actor)
    (disk / "train.py").chmod(0o640)
    write(work, "train.py", "ANSWER = 2\n")
    write(work, "deep/er/analysis.ipynb", "{}")
    (work / "link").symlink_to("train.py")
    (work / "requirements.txt").unlink()
    assert actions(await pull(actor, Wish(dry_run=True))) == {
        "deep/er/analysis.ipynb": "write",
        "link": "write",
        "requirements.txt": "unnamed",
        "train.py": "write",
    }
    assert (disk / "train.py").read_text() == "ANSWER = 1\n"
    await pull(actor, Wish())
    assert (disk / "train.py").read_text() == "ANSWER = 2\n"
    assert (disk / "train.py").stat().st_mode & 0o777 == 0o640
    assert (disk / "deep/er/analysis.ipynb").read_text() == "{}"
    assert os.readlink(disk / "link") == "train.py"
    assert (disk / "requirements.txt").exists()  # nobody has named it
    assert [path.name for path in disk.rglob(".kaosd-*")] == []
    deploy(actor)
    assert await edits(actor) == {"edited": 0, "new": 0, "deleted": 1}
    assert not (actor.home.root / "recovered").exists()
    assert actions(await pull(actor, Wish(("requirements.txt",)))) == {"requirements.txt": "delete"}
    assert not (disk / "requirements.txt").exists()
    assert actor.record.recovered == 0


async def test_what_was_changed_in_both_is_refused_and_nothing_is_written(actor: Notebook) -> None:
    work, disk = actor.home.work, model(actor)
    write(work, "train.py", "here\n")
    write(work, "new.py", "new\n")
    write(disk, "train.py", "on disk\n")
    with pytest.raises(ConflictError, match=r"train\.py was changed in the notebook and on disk") as refused:
        await pull(actor, Wish())
    assert "--force" in refused.value.hint
    assert not (disk / "new.py").exists()
    assert (disk / "train.py").read_text() == "on disk\n"
    answer = await pull(actor, Wish(force=True))
    assert actions(answer) == {"new.py": "write", "train.py": "overwrite"}
    assert (disk / "train.py").read_text() == "here\n"
    kept = list(actor.journal.recovered("n"))
    assert [(one.path, Path(one.file).read_text()) for one in kept] == [("train.py", "on disk\n")]
    assert answer["files"][1]["kept"] == kept[0].file
    assert actor._copy() is None  # the tab tells only of copies that nobody has asked for


async def test_a_link_that_leads_out_stays_where_it_is(actor: Notebook) -> None:
    (actor.home.work / "out").symlink_to("/etc/passwd")
    (actor.home.work / "up").symlink_to("../up")
    assert actions(await pull(actor, Wish())) == {"out": "refused", "up": "refused"}
    assert sorted(path.name for path in model(actor).iterdir()) == ["requirements.txt", "train.py"]


async def test_nothing_is_done_while_a_deployment_is_written(actor: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit_counts, "PATIENCE", 0.05)
    write(actor.home.work, "train.py", "mine\n")
    actor.hosting.save(syncing=actor.hosting.live.model_tree)
    for wish in (pull(actor, Wish()), reset(actor, [], dry_run=False)):
        with pytest.raises(ConflictError, match="brought up to date"):
            await wish
    assert (model(actor) / "train.py").read_text() == "ANSWER = 1\n"
    assert (actor.home.work / "train.py").read_text() == "mine\n"


async def test_outputs_are_stripped_on_disk_and_stay_in_the_notebook(actor: Notebook) -> None:
    cell = {"cell_type": "code", "id": "a", "source": "1", "metadata": {}, "outputs": [], "execution_count": None}
    printed = {**cell, "source": "2", "outputs": [{"output_type": "stream", "name": "stdout", "text": "2"}]}
    book: dict[str, Any] = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    write(model(actor), "a.ipynb", json.dumps(book))
    deploy(actor)
    write(actor.home.work, "a.ipynb", json.dumps({**book, "cells": [printed]}))
    await pull(actor, Wish(strip=True))
    on_disk = json.loads((model(actor) / "a.ipynb").read_text())
    assert on_disk["cells"] == [{**cell, "source": "2"}]
    await sync(actor)
    hosted = json.loads((actor.home.work / "a.ipynb").read_text())
    assert hosted["cells"] == [printed]
    assert actor.record.recovered == 0
    assert await edits(actor) == {"edited": 1, "new": 0, "deleted": 0}  # the outputs
    assert actions(await pull(actor, Wish(strip=True))) == {"a.ipynb": "same"}


async def test_a_sync_after_a_pull_leaves_what_was_typed_since(actor: Notebook) -> None:
    write(actor.home.work, "train.py", "pulled\n")
    await pull(actor, Wish())
    write(actor.home.work, "train.py", "pulled\ntyped since\n")
    await sync(actor)
    assert (actor.home.work / "train.py").read_text() == "pulled\ntyped since\n"
    assert (actor.record.recovered, actor.steps.work.pulled) == (0, {})
    write(model(actor), "train.py", "changed on disk\n")
    await sync(actor)  # now it gives way, and is kept
    assert (actor.home.work / "train.py").read_text() == "changed on disk\n"
    assert actor.record.recovered == 1


async def test_the_deployed_version_comes_back_and_the_edits_are_kept(actor: Notebook) -> None:
    work = actor.home.work
    write(work, "train.py", "mine\n")
    write(work, "new.py", "new\n")
    (work / "requirements.txt").unlink()
    before = {path: (work / path).read_text() for path in ("train.py", "new.py")}
    expected = {"train.py": "restored", "requirements.txt": "restored", "new.py": "stays"}
    assert actions(await reset(actor, [], dry_run=True)) == expected
    assert {path: (work / path).read_text() for path in before} == before
    assert actions(await reset(actor, [], dry_run=False)) == expected
    assert (work / "train.py").read_text() == "ANSWER = 1\n"
    assert (work / "requirements.txt").read_text() == ""
    assert (work / "new.py").read_text() == "new\n"
    assert actor.edits.counts == {"edited": 0, "new": 1, "deleted": 0}
    answer = await reset(actor, ["new.py"], dry_run=False)
    assert actions(answer) == {"new.py": "removed"}
    assert not (work / "new.py").exists()
    kept = {one.path: (one.file, Path(one.file).read_text()) for one in actor.journal.recovered("n")}
    assert {path: text for path, (_, text) in kept.items()} == {"train.py": "mine\n", "new.py": "new\n"}
    assert answer["files"][0]["kept"] == kept["new.py"][0]
    assert actor.edits.counts == {"edited": 0, "new": 0, "deleted": 0}
    with pytest.raises(NotFoundError, match=r"train\.py is not edited"):
        await reset(actor, ["train.py"], dry_run=False)


@pytest.fixture
def tree(actor: Notebook, tmp_path: Path) -> tuple[Notebook, Path, Path]:
    top, outside = tmp_path / "top", tmp_path / "outside"
    top.mkdir()
    outside.mkdir()
    return actor, top, outside


async def test_nothing_outside_of_the_source_is_written(tree: tuple[Notebook, Path, Path]) -> None:
    actor, top, outside = tree
    store = actor.shop.store
    entry = Entry(b"a", "f", store.put(b"x"), 1)
    (top / "away").symlink_to(outside)
    (top / "file").write_text("")
    for path in (b"away/a", b"file/a", b"away/b/a"):
        with pytest.raises(BundleError, match="is not a directory"):
            write_below(store, top, path, entry, None)
    assert list(outside.iterdir()) == []
    (top / "link").symlink_to(outside / "a")
    with pytest.raises(ChangedMeanwhile):
        write_below(store, top, b"link", entry, None)
    write_below(store, top, b"made/for/it/a", entry, None)
    assert (top / "made/for/it/a").read_bytes() == b"x"
    assert sorted(path.name for path in top.iterdir()) == ["away", "file", "link", "made"]


async def test_a_change_of_the_last_instant_stays(tree: tuple[Notebook, Path, Path]) -> None:
    actor, top, _ = tree
    store = actor.shop.store
    entry = Entry(b"a", "f", store.put(b"pulled"), 6)
    (top / "a").write_text("typed just now")
    seen = State("f", store.put(b"seen before"))
    for new, expected in ((entry, seen), (entry, None), (None, seen), (None, None)):
        with pytest.raises(ChangedMeanwhile):
            write_below(store, top, b"a", new, expected)
    assert [(path.name, path.read_text()) for path in top.iterdir()] == [("a", "typed just now")]
    with pytest.raises(ChangedMeanwhile):
        write_below(store, top, b"gone", entry, seen)


async def test_a_directory_that_cannot_be_written_is_said(actor: Notebook, tmp_path: Path) -> None:
    entry = Entry(b"a", "f", actor.shop.store.put(b"x"), 1)
    long = b"n" * 300
    with pytest.raises(BundleError, match=r"cannot be written below .*: File name too long"):
        write_below(actor.shop.store, tmp_path, long, entry, None)
