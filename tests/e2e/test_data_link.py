"""Data is where code looks for it: below `data` in the notebook's directory, unless the bundle has that name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.e2e.daemon import Daemon


def test_the_data_is_below_the_notebooks_directory(daemon: Daemon, bundle: Path, tmp_path: Path) -> None:
    data = tmp_path / "d"
    data.mkdir()
    (data / "x.csv").write_text("1\n")
    daemon.deploy("found", bundle)
    work = daemon.home("found") / "work"
    assert not os.path.lexists(work / "data")
    daemon.deploy("found", bundle, data)
    assert (work / "data/x.csv").read_text() == "1\n"
    (data / "x.csv").write_text("2\n")
    daemon.live("found")
    assert (work / "data/x.csv").read_text() == "2\n"
    assert daemon.json("recovered", "found")["recovered"] == []


def test_a_bundle_that_has_the_name_keeps_it(daemon: Daemon, bundle: Path, tmp_path: Path) -> None:
    data, own = tmp_path / "d", bundle / "model/data"
    data.mkdir()
    (data / "x.csv").write_text("attached\n")
    daemon.deploy("named", bundle, data)
    work = daemon.home("named") / "work"
    own.mkdir()
    (own / "x.csv").write_text("of the bundle\n")
    daemon.live("named")
    assert (work / "data/x.csv").read_text() == "of the bundle\n"
    assert (data / "x.csv").read_text() == "attached\n"
    shutil.rmtree(own)
    daemon.live("named")
    assert (work / "data/x.csv").read_text() == "attached\n"
    killed = daemon.json("notebook", "kill", "named", "-y")
    assert not [path for path in killed.get("kept") or () if "work-" in path]
