"""Edits made in a notebook whose files this machine does not see: the same answers, by requests to its host."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kaosd.engines.base import Carrier, HostFiles
from kaosd.engines.process import ProcessEngine
from kaosd.model import Host
from kaosd.notebook import Notebook, differing
from kaosd.notebook.pulling import Wish, pull
from kaosd.notebook.resetting import reset
from tests.deployed import deployed_actor, write  # noqa: F401 - a fixture
from tests.test_elsewhere import Directory, laid


class Away(ProcessEngine):
    """An engine whose hosts have their directory elsewhere."""

    directory: HostFiles

    def files(self, host: Host) -> HostFiles | None:
        assert host.upstream
        return self.directory


def unused(*_: Any, **__: Any) -> None:
    raise AssertionError("nobody asks this of an engine to look at edits")


for name in ("reach", "examine", "record", "carry", "renew", "repos", "clear"):
    setattr(Away, name, unused)


@pytest.fixture
async def away(actor: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Notebook]:
    """The same notebook, with its files in a directory that only its host sees."""
    engine = Away(tmp_path / "environments")
    tree = actor.hosting.live.model_tree
    assert tree is not None
    os.rename(actor.home.work, tmp_path / "there")
    actor.home.work.mkdir()
    engine.directory = Directory(tmp_path / "there", (tree,))
    assert isinstance(engine, Carrier)
    actor.engine = engine
    actor.hosting.save(host=Host(f"unix:{tmp_path}/nobody", "e", "s", 1.0, {}))
    yield actor
    await engine.close()


async def test_they_are_listed_shown_pulled_and_taken_back(away: Notebook, tmp_path: Path) -> None:
    there, model = tmp_path / "there", (away.spec.source or Path()) / "model"
    assert away.edits.counts is None
    write(there, "train.py", "ANSWER = 2\n")
    write(there, "deep/new.py", "new\n")
    write(there, "noise.log", "left out by .kaosignore")
    (there / "requirements.txt").unlink()
    found = await differing.diff(away, None)
    assert [(one["kind"], one["path"]) for one in found["files"]] == [
        ("new", "deep/new.py"),
        ("deleted", "requirements.txt"),
        ("edited", "train.py"),
    ]
    assert found["files"][2]["hunks"][0]["lines"] == ["-ANSWER = 1", "+ANSWER = 2"]
    assert away.edits.counts == {"edited": 1, "new": 1, "deleted": 1}
    await pull(away, Wish(("deep", "requirements.txt")))
    assert (model / "deep" / "new.py").read_text() == "new\n"
    assert not (model / "requirements.txt").exists()
    done = await reset(away, ["train.py", "requirements.txt", "deep/new.py"], dry_run=False)
    assert [one["action"] for one in done["files"]] == ["removed", "restored", "restored"]
    assert laid(there) == {
        "deep/": "",
        "noise.log": "left out by .kaosignore",
        "requirements.txt": "",
        "train.py": "ANSWER = 1\n",
    }
    kept = {one.path: Path(one.file).read_text() for one in away.journal.recovered("n")}
    assert kept == {"train.py": "ANSWER = 2\n", "deep/new.py": "new\n"}
    assert away.edits.counts == {"edited": 0, "new": 0, "deleted": 0}


async def test_nothing_is_asked_of_such_a_host_unless_a_person_asks(away: Notebook) -> None:
    directory = away.engine.directory  # type: ignore[attr-defined]
    away.edits.rest()
    await away.edits.freshen()
    assert directory.asked == []
    await away.edits.look()
    assert away.edits.counts is not None
    away.hosting.save(model_tree="0" * 64)  # deployed since
    assert away.edits.counts is None
