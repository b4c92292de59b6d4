"""A file that is written to all the time does not push what a person wants back out of the history."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.daemon import Daemon, until


def test_a_log_is_one_line_of_the_history_and_the_way_back_stays(own_daemon: Daemon, bundle: Path) -> None:
    daemon = own_daemon
    daemon.environ["KAOSD_KEEP_VERSIONS"] = "3"
    daemon.start()
    daemon.deploy("n", bundle)
    code, work = bundle / "model" / "train.py", daemon.home("n") / "work"
    for number in (2, 3):
        code.write_text(f"ANSWER = {number}\n" * number)
        daemon.live("n")
        until(lambda: daemon.history("n")[0]["outcome"] == "live", "the end of the deployment")
        (bundle / "model" / f"{number}.py").write_text("another save in between\n")
        daemon.live("n")
    wanted = next(one for one in daemon.history("n") if one["cause"] == ["model/train.py"])
    log = bundle / "model" / "run.log"
    for step in range(40):
        with open(log, "a") as file:
            file.write(f"step {step}\n")
        until(lambda: (work / "run.log").exists() and (work / "run.log").read_text() == log.read_text(), "the line")
    daemon.live("n")
    past = daemon.history("n")
    floods = [one for one in past if one["cause"] == ["model/run.log"]]
    assert len(floods) < 20
    assert {one["number"]: one["outcome"] for one in past}[wanted["number"]] == "live"
    offered = [one["number"] for one in past if one["can_roll_back"]]
    assert wanted["number"] in offered
    assert floods[0]["number"] not in offered  # it is what is served
    words = daemon.ctl("__complete", "rollback", "n", "").stdout.splitlines()
    assert [int(line.partition("\t")[0]) for line in words[1:]] == offered
    daemon.ctl("rollback", "n", str(wanted["number"]))
    until(lambda: daemon.notebook("n")["source"]["live"] == wanted["source"], "the version before")
    assert (work / "train.py").read_text() == "ANSWER = 3\n" * 3
    gone = daemon.ctl("rollback", "n", "999", check=False)
    assert gone.returncode == 4
    assert "you can go back to " in gone.stderr
