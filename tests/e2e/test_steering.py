"""What a person tells a notebook by kaosctl shows in the answer, and a recovered copy comes back."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, until
from tests.e2e.lab import Lab
from tests.e2e.test_open_document import clashed, notebook, opened


def test_the_answer_shows_what_comes_of_the_wish(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("told", bundle)
    paused = daemon.json("pause", "told")
    assert (paused["state"], paused["paused"]) == ("live", True)  # what is on disk is still served
    assert "paused by you" in daemon.ctl("status", "told").stdout
    assert daemon.json("resume", "told")["paused"] is False
    (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
    daemon.live("told")
    assert daemon.json("rollback", "told")["state"] in ("swapping", "held")


def test_a_package_that_is_added_is_written_and_then_built(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("adds", bundle)
    file = bundle / "model" / "requirements.txt"
    before, number = file.read_text(), daemon.history("adds")[0]["number"]
    answer = daemon.json("add", "adds", "ipykernel>=6")
    assert (answer["file"], answer["added"]) == ("model/requirements.txt", ["ipykernel>=6"])
    assert file.read_text() == f"{before}ipykernel>=6\n"
    daemon.live("adds")
    after = daemon.history("adds")[0]
    assert (after["number"] > number, after["cause"]) == (True, ["model/requirements.txt"])
    refused = daemon.ctl("add", "adds", "no such name", check=False)
    assert (refused.returncode, "is not a requirement" in refused.stderr) == (1, True)


def test_a_notebook_is_run_in_the_hosted_environment(daemon: Daemon, bundle: Path, tmp_path: Path) -> None:
    file, out = bundle / "model" / "run.ipynb", tmp_path / "out.ipynb"
    file.write_text(notebook("import train\nprint(train.ANSWER)", "1 / zero"))
    daemon.deploy("runs", bundle)
    (bundle / "model" / "train.py").write_text("ANSWER = 42\n")
    done = daemon.ctl("run", "runs", str(file), "-p", "zero=0", "-o", str(out), check=False)
    assert done.returncode == 1, done.stderr
    assert "[2/3]" in done.stdout
    assert "ZeroDivisionError: division by zero" in done.stdout
    executed = json.loads(out.read_text())["cells"]
    assert executed[0]["metadata"]["tags"] == ["injected-parameters"]
    assert executed[1]["outputs"][0]["text"] == ["42\n"], "what is on disk was waited for"
    assert json.loads(file.read_text())["cells"][0]["outputs"] == []
    passed = daemon.json("run", "runs", "run.ipynb", "-p", "zero=1")
    assert (passed["outcome"], [cell["number"] for cell in passed["cells"]]) == ("passed", [1, 2, 3])
    assert daemon.ctl("run", "runs", "no.ipynb", check=False).returncode == 4
    until(lambda: daemon.notebook("runs")["host"]["kernels"] == 0, "the kernels of the runs to be gone")


def test_notebooks_are_run_after_each_deployment(daemon: Daemon, bundle: Path) -> None:
    smoke = bundle / "model" / "smoke.ipynb"
    smoke.write_text(notebook("import train", "assert train.ANSWER == 1"))
    (bundle / "model" / "train.py").write_text("ANSWER = 1\n")
    table = f'[[notebook]]\nname = "smoked"\nsource = "{bundle}"\nrun_on_deploy = ["smoke.ipynb"]\n'
    daemon.config.write_text(daemon.config.read_text() + table)
    daemon.ctl("reload")

    def outcomes(wanted: str) -> bool:
        return [one["outcome"] for one in daemon.notebook("smoked")["checks"]] == [wanted]

    until(lambda: outcomes("passed"), "the first run")
    (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
    until(lambda: outcomes("failed"), "the second run")
    found = daemon.notebook("smoked")
    assert (found["state"], found["tone"], found["summary"]) == ("live", "warn", "live, smoke.ipynb failed in cell 2")
    assert found["checks"][0]["error"].startswith("AssertionError")
    newest, before = daemon.history("smoked")[:2]
    assert [one["checks"][0]["outcome"] for one in (newest, before)] == ["failed", "passed"]
    daemon.config.write_text(daemon.config.read_text().replace(table, ""))
    daemon.ctl("reload")


def test_a_recovered_copy_comes_back_and_nothing_is_lost(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("back", bundle)
    work, file = daemon.home("back") / "work" / "train.py", bundle / "model" / "train.py"
    work.write_text("ANSWER = 'mine'\n")
    file.write_text("ANSWER = 2\n")
    daemon.live("back")
    assert work.read_text() == "ANSWER = 2\n"
    done = daemon.json("recovered", "back", "--restore", "train.py")
    assert work.read_text() == "ANSWER = 'mine'\n"
    assert file.read_text() == "ANSWER = 2\n"
    assert done["in_tab"] is False
    assert [Path(kept).read_text() for kept in done["kept"]] == ["ANSWER = 2\n"]
    assert [one["file"] for one in daemon.json("recovered", "back")["recovered"]] == [done["file"], *done["kept"]]
    assert daemon.live("back")["recovered"] == 2
    again = daemon.json("recovered", "back", "--restore", done["kept"][0])
    assert (work.read_text(), Path(again["kept"][0]).read_text()) == ("ANSWER = 2\n", "ANSWER = 'mine'\n")
    assert "restored train.py from " in daemon.ctl("logs", "back", "--stage", "watch").stdout
    refused = daemon.ctl("recovered", "back", "--restore", "nothing.py", check=False)
    assert refused.returncode == 4
    assert "`kaosctl recovered back` lists the copies" in refused.stderr


def test_a_bundle_of_a_real_daemon_holds_no_token(daemon: Daemon, bundle: Path, tmp_path: Path) -> None:
    daemon.deploy("bundled", bundle)
    token = daemon.token("bundled")
    with pytest.raises(urllib.error.HTTPError):  # JupyterLab logs what is not there, with its whole address
        urllib.request.urlopen(f"{daemon.url('bundled')}/api/contents/nothing?token={token}")
    target = tmp_path / "bundle.zip"
    assert daemon.ctl("doctor", "--bundle", str(target), check=False).returncode in (0, 1)
    secrets = [token.encode(), (daemon.state / "token").read_bytes()]
    with zipfile.ZipFile(target) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    assert [name for name, content in found.items() if any(secret in content for secret in secrets)] == []
    assert {"versions.json", "status.json", "doctor.json", "kaosd.toml", "logs/daemon.log"} <= found.keys()
    assert b'"name": "bundled"' in found["status.json"]
    assert b"JupyterLab answers" in b"".join(found[name] for name in found if name.startswith("logs/bundled/"))


async def test_an_open_document_is_restored_in_its_tab(daemon: Daemon, bundle: Path) -> None:
    file = bundle / "model" / "n.ipynb"
    file.write_text(notebook("one = 0", "two = 0"))
    daemon.deploy("desk", bundle)
    lab = Lab(daemon.url("desk"), daemon.token("desk"))
    async with lab, opened(daemon, "desk", lab, "n.ipynb") as tab:
        await clashed(daemon, "desk", tab, file)
        before = await tab.cells()
        done = await asyncio.to_thread(daemon.json, "recovered", "desk", "--restore", "n.ipynb")
        assert done["in_tab"] is True
        assert await tab.cells() == {"one": "one = 0123", "two": "two = 0"}
        (kept,) = done["kept"]
        assert before["one"] in Path(kept).read_text()
    assert "one = 9" in file.read_text()
