"""Edits made in a hosted notebook come home or are taken back, also those that are only in a tab so far."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.e2e.daemon import Daemon, until
from tests.e2e.lab import Lab
from tests.e2e.test_open_document import notebook, opened, page


def counts(daemon: Daemon, name: str, **expected: int) -> bool:
    """Whether the status counts these edits."""
    wanted = {"edited": 0, "new": 0, "deleted": 0, **expected}
    return bool(daemon.notebook(name)["edits"] == wanted)


def done(daemon: Daemon, *arguments: str) -> dict[str, str]:
    """What pull or reset did, by path."""
    return {one["path"]: one["action"] for one in daemon.json(*arguments, "-y")["files"]}


def sources(file: Path) -> dict[str, str]:
    cells = json.loads(file.read_text())["cells"]
    return {cell["id"]: "".join(cell["source"]) for cell in cells}


def kept(daemon: Daemon, name: str) -> dict[str, Any]:
    return {one["path"]: one["reason"] for one in daemon.json("recovered", name)["recovered"]}


async def test_files_come_home_and_the_save_that_follows_changes_nothing(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("home", bundle)
    model, work = bundle / "model", daemon.home("home") / "work"
    async with Lab(daemon.url("home"), daemon.token("home")) as lab:
        await lab.write("train.py", "ANSWER = 2\n")
        await lab.write("analysis.py", "MORE = 1\n")
    await asyncio.to_thread(until, lambda: counts(daemon, "home", edited=1, new=1), "the count")
    shown = daemon.ctl("diff", "home").stdout
    assert "-ANSWER = 1\n+ANSWER = 2\n" in shown
    assert "+++ b/model/analysis.py" in shown
    before = {path: (path.stat().st_ino, path.read_text()) for path in (work / "train.py", work / "analysis.py")}
    assert done(daemon, "pull", "home") == {"analysis.py": "write", "train.py": "write"}
    assert (model / "train.py").read_text() == "ANSWER = 2\n"
    assert (model / "analysis.py").read_text() == "MORE = 1\n"
    assert daemon.live("home")["recovered"] == 0
    await asyncio.to_thread(until, lambda: counts(daemon, "home"), "nothing to be left")
    assert {path: (path.stat().st_ino, path.read_text()) for path in before} == before  # nobody has written them
    assert daemon.json("diff", "home", "1", "2")["files"][0]["path"] == "model/analysis.py"
    (work / "train.py").unlink()
    (model / "other.py").write_text("")
    daemon.live("home")
    await asyncio.to_thread(until, lambda: counts(daemon, "home", deleted=1), "the deletion to be seen")
    daemon.ctl("redeploy", "home", "--force")
    assert not (work / "train.py").exists()
    assert done(daemon, "reset", "home") == {"train.py": "restored"}
    assert (work / "train.py").read_text() == "ANSWER = 2\n"
    assert counts(daemon, "home")


async def test_what_is_in_a_tab_comes_home_and_can_be_taken_back(daemon: Daemon, bundle: Path) -> None:
    file = bundle / "model" / "n.ipynb"
    file.write_text(notebook("one = 0", "two = 0"))
    daemon.deploy("tab", bundle)
    work = daemon.home("tab") / "work" / "n.ipynb"
    lab = Lab(daemon.url("tab"), daemon.token("tab"))
    async with lab, opened(daemon, "tab", lab, "n.ipynb") as tab:
        await tab.order("type", cell="one", after="one = 0", text="123", pause=0)
        assert await tab.answer() == {"typed": "one = 0123"}
        await tab.cells()
        assert await asyncio.to_thread(done, daemon, "pull", "tab", "n.ipynb") == {"n.ipynb": "write"}
        assert sources(file) == {"one": "one = 0123", "two": "two = 0"}
        await asyncio.to_thread(daemon.live, "tab")
        assert await tab.cells() == {"one": "one = 0123", "two": "two = 0"}
        assert daemon.notebook("tab")["recovered"] == 0
        await tab.order("type", cell="two", after="two = 0", text="99", pause=0)
        assert await tab.answer() == {"typed": "two = 099"}
        await tab.cells()
        await asyncio.to_thread(until, lambda: "099" in work.read_text(), "the tab to be saved")
        shown = (await asyncio.to_thread(daemon.ctl, "diff", "tab")).stdout
        assert "  cell 2   code   edited\n  @@ -1,1 +1,1 @@\n  -two = 0\n  +two = 099\n" in shown
        assert await asyncio.to_thread(done, daemon, "reset", "tab") == {"n.ipynb": "restored"}
        assert await tab.cells() == {"one": "one = 0123", "two": "two = 0"}
        await asyncio.to_thread(until, lambda: counts(daemon, "tab"), "nothing to be left")
    assert kept(daemon, "tab") == {"n.ipynb": "reset"}
    copy = daemon.json("recovered", "tab")["recovered"][0]["file"]
    assert sources(Path(copy))["two"] == "two = 099"
    assert [one["outcome"] for one in daemon.history("tab")] == ["live"] * len(daemon.history("tab"))


async def test_a_page_that_does_not_share_its_document_is_asked_what_it_holds(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("page", bundle)
    async with Lab(daemon.url("page"), daemon.token("page")) as lab:
        await lab.write("train.py", "ANSWER = 2\n")
        async with page(lab, "train.py") as tab:
            pulling = asyncio.create_task(asyncio.to_thread(done, daemon, "pull", "page", "train.py"))
            asked = await tab.receive_json()
            assert (asked["do"], asked["path"]) == ("read", "train.py")
            text = "ANSWER = 3  # not saved yet\n"
            await tab.send_json({"id": asked["id"], "kind": "text", "text": text, "at": "2026-12-01T00:00:00Z"})
            assert await pulling == {"train.py": "write"}
            assert (bundle / "model" / "train.py").read_text() == text
            await asyncio.to_thread(daemon.live, "page")
            assert await lab.read("train.py") == "ANSWER = 2\n"  # the page has what is newer, and saves it itself
    assert kept(daemon, "page") == {}
