"""The state directory is lost: the backup brings the notebook and the edits back."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.e2e.daemon import Daemon


def test_a_lost_state_directory_comes_back(own_daemon: Daemon, bundle: Path, tmp_path: Path) -> None:
    daemon, file = own_daemon.start(), tmp_path / "kaosd.backup"
    daemon.deploy("kept", bundle)
    (daemon.home("kept") / "work" / "mine.txt").write_text("made in the notebook")
    assert daemon.json("backup", str(file))["edits"] == 1
    assert file.stat().st_mode & 0o777 == 0o600
    refused = daemon.ctl("restore", str(file), check=False)
    assert (refused.returncode, "kaosd already runs" in refused.stderr) == (1, True)
    daemon.ctl("stop")
    assert daemon.process is not None
    daemon.process.wait()
    again = daemon.json("backup", str(file))  # by kaosd itself, since no daemon runs
    assert (again["edits"], again["notebooks"]) == (1, 1)
    shutil.move(daemon.state / "environments", tmp_path / "environments")  # else they are built again, which takes long
    shutil.rmtree(daemon.state)
    assert "restored" in daemon.ctl("restore", str(file)).stdout
    shutil.move(tmp_path / "environments", daemon.state / "environments")
    daemon.start()
    assert daemon.live("kept")["state"] == "live"
    assert (daemon.home("kept") / "work" / "mine.txt").read_text() == "made in the notebook"
    assert len(daemon.history("kept")) == 2
