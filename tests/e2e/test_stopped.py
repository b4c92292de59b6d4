"""A notebook is stopped, stays stopped over saves and restarts of the daemon, and starts when somebody opens it."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon

PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def test_a_stopped_notebook_stays_stopped_until_it_is_opened(own_daemon: Daemon, bundle: Path) -> None:
    daemon = own_daemon.start()
    daemon.deploy("rest", bundle)
    token, edit = daemon.token("rest"), daemon.home("rest") / "work" / "mine.txt"
    edit.write_text("made in the notebook")
    stopped = daemon.json("stop", "rest")
    assert (stopped["state"], stopped["reason"]) == ("stopped", "stopped by you")
    assert stopped["host"]["state"] == "PIPELINE_STANDBY"
    (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
    waited = daemon.ctl("wait", "rest", check=False)
    assert (waited.returncode, "stopped by you" in waited.stdout) == (1, True)
    said = daemon.ctl("stop").stdout
    assert "keep" not in said
    assert daemon.process is not None
    assert daemon.process.poll() == 0, "it returns when the daemon is down"
    daemon.start()
    found = daemon.json("status", "rest")["notebooks"][0]
    assert (found["state"], found["host"]["state"]) == ("stopped", "PIPELINE_STANDBY")
    page = urllib.request.Request(f"{daemon.url('rest')}/lab", headers={**PAGE, "Authorization": f"token {token}"})
    with pytest.raises(urllib.error.HTTPError, match="503"):  # the page that waits for it
        urllib.request.urlopen(page)
    daemon.live("rest")
    assert daemon.token("rest") == token
    assert (daemon.home("rest") / "work" / "train.py").read_text() == "ANSWER = 2\n"
    assert edit.read_text() == "made in the notebook"
    causes = [one["cause"][0] for one in daemon.json("history", "rest")["deployments"][:2]]
    assert "[opened in the browser]" in causes  # what was saved comes with that, or right after it


def test_a_restart_makes_a_new_jupyterlab_and_a_restart_of_kernels_keeps_it(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("again", bundle)
    url, token = daemon.url("again"), daemon.token("again")

    def ask(method: str, path: str) -> bytes:
        headers = {"Authorization": f"token {token}"}
        with urllib.request.urlopen(urllib.request.Request(f"{url}/{path}", method=method, headers=headers)) as answer:
            return bytes(answer.read())

    ask("POST", "api/kernels")
    assert daemon.json("restart", "again", "--kernels")["restarted"] == 1
    assert b'"id"' in ask("GET", "api/kernels")
    before = daemon.json("status", "again")["notebooks"][0]["host"]
    done = daemon.json("restart", "again", "-y")
    assert (done["outcome"], done["url"].partition("?")[0]) == ("live", f"{url}/lab")
    assert ask("GET", "api/kernels").strip() == b"[]"
    after = done["notebook"]["host"]
    assert (after["restarts"], after["since"] > before["since"]) == (before["restarts"], True)
    assert daemon.json("history", "again")["deployments"][0]["cause"] == ["[restarted by you]"]
