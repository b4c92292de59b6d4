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


def test_code_that_reads_what_will_not_be_there_is_told(daemon: Daemon, bundle: Path, tmp_path: Path) -> None:
    data, code = tmp_path / "d", bundle / "model/reads.py"
    data.mkdir()
    (data / "x.csv").write_text("1\n")
    code.write_text("import pandas\npandas.read_csv('data/x.csv')\n")
    said = daemon.deploy("reads", bundle)
    (told,) = daemon.notebook("reads")["warnings"]
    assert told.startswith("model/reads.py (line 2) reads data/x.csv, which is not in the source directory")
    assert "kaosctl up -d DIR" in told
    assert "model/reads.py (line 2) reads data/x.csv" in " ".join(said.split())
    daemon.deploy("reads", bundle, data)
    assert daemon.notebook("reads")["warnings"] == []
    code.write_text("import pandas\npandas.read_csv('../input/x.csv')\n")
    daemon.live("reads")
    (told,) = daemon.notebook("reads")["warnings"]
    assert "reads ../input/x.csv, which is not there: the attached data is at data/" in told
    code.write_text("")
    daemon.live("reads")
    assert daemon.notebook("reads")["warnings"] == []
