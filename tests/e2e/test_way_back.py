"""What went wrong and was taken back is not the last word: history, status and pages tell the present truth."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Stalled
from tests.e2e.daemon import Daemon, until

WRONG = "no-such-package-of-anybody==9.9\n"


def words(daemon: Daemon, name: str) -> tuple[list[str], dict[str, Any]]:
    """The outcomes of the last two deployments, the newest first, and the newest one."""
    past = daemon.history(name)
    return [one["outcome"] for one in past[:2]], past[0]


def page(daemon: Daemon, name: str) -> str:
    address = f"{daemon.url(name)}/kaosd/?token={daemon.token(name)}"
    with urllib.request.urlopen(address) as answer:
        found: str = answer.read().decode()
    return found


def assert_told(daemon: Daemon, name: str, outcome: str, *files: str) -> None:
    """The way back is a deployment of its own, and nothing that is shown speaks of the failure any more."""
    shown = daemon.live(name)
    assert words(daemon, name)[0] == ["live", outcome]
    newest = words(daemon, name)[1]
    assert (newest["cause"], newest["action"], newest["error"]) == (["[reverted]", *files], "none", None)
    assert (newest["source"], newest["data"]) == (shown["source"]["live"], shown["data"]["live"])
    assert shown["deployment"]["number"] == newest["number"]
    assert shown["build"] is None or shown["build"]["state"] == "JOB_SUCCESS"  # None: its environment was there
    assert shown["host"]["state"] == "PIPELINE_RUNNING"
    told = daemon.ctl("status", name).stdout
    assert "JOB_FAILURE" not in told
    assert " failed" not in told
    assert "no-such-package" not in page(daemon, name)


def test_a_failed_build_that_is_taken_back(own_daemon: Daemon, bundle: Path) -> None:
    daemon = own_daemon.start()
    daemon.deploy("n", bundle)
    requirements = bundle / "model" / "requirements.txt"
    requirements.write_text(WRONG)
    assert daemon.json("wait", "n")["outcome"] == "failed"
    assert daemon.notebook("n")["build"]["state"] == "JOB_FAILURE"
    requirements.write_text("")
    assert_told(daemon, "n", "failed", "model/requirements.txt")
    daemon.stop()
    daemon.start()
    assert_told(daemon, "n", "failed", "model/requirements.txt")
    requirements.write_text(WRONG)  # the same mistake again is told again
    assert daemon.json("wait", "n")["outcome"] == "failed"
    assert daemon.notebook("n")["state"] == "failed"
    daemon.kill()
    requirements.write_text("")  # taken back while no daemon runs
    daemon.start()
    daemon.live("n")
    assert daemon.history("n")[0]["outcome"] == "live"
    assert daemon.notebook("n")["build"]["state"] == "JOB_SUCCESS"


def test_a_cancelled_build_that_is_taken_back(daemon: Daemon, bundle: Path, stalled: Stalled) -> None:
    daemon.deploy("cancelled", bundle)
    requirements = bundle / "model" / "requirements.txt"
    requirements.write_text(stalled.line)
    until(lambda: daemon.notebook("cancelled")["state"] == "building", "the build")
    daemon.ctl("cancel", "cancelled")
    until(lambda: daemon.history("cancelled")[0]["outcome"] == "cancelled", "its end")
    requirements.write_text("")
    assert_told(daemon, "cancelled", "cancelled", "model/requirements.txt")


def test_a_failed_build_beside_a_change_of_data_that_came(daemon: Daemon, bundle: Path, data: Path) -> None:
    """The deployment of data and a broken requirement has failed, and does not run for ever."""
    daemon.deploy("beside", bundle, data)
    (bundle / "model" / "requirements.txt").write_text(WRONG)
    assert daemon.json("wait", "beside")["outcome"] == "failed"
    (data / "features" / "one.csv").write_text("9,9\n")
    assert daemon.json("wait", "beside")["outcome"] == "failed"
    newest = until(lambda: (one := daemon.history("beside")[0])["finished_at"] and one, "the end of the deployment")
    assert (newest["outcome"], newest["data"]) == ("failed", daemon.notebook("beside")["data"]["live"])
    assert "no-such-package" in newest["error"]
    (bundle / "model" / "requirements.txt").write_text("")
    assert_told(daemon, "beside", "failed", "model/requirements.txt")
