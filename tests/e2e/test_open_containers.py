"""Documents that are open in a tab of a JupyterLab in a container: with jupyter-collaboration, and without it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import daemon_of, make_bundle
from tests.e2e.daemon import Daemon, until
from tests.e2e.lab import Lab
from tests.e2e.test_open_document import notebook, opened, page, typed_while_saves_strike
from tests.engines.containers import Containers

pytestmark = pytest.mark.timeout(900)  # an image is built in each
ALONE = "pycrdt<0.10\n"  # excludes every jupyter-collaboration that shares documents with us


@pytest.fixture(scope="module")
def daemon(docker_containers: Containers) -> Iterator[Daemon]:
    """A daemon whose notebooks live in containers."""
    with daemon_of(docker_containers) as found:
        yield found


async def test_no_keystroke_is_lost_in_a_container_that_shares_documents(daemon: Daemon, bundle: Path) -> None:
    helper = make_bundle(bundle.parent / "helper")
    daemon.deploy("helper", helper, None, "--engine", "process")
    file = bundle / "model" / "n.ipynb"
    file.write_text(notebook("one = 0", "two = 0"))
    daemon.deploy("shared", bundle)
    python = daemon.home("helper") / "environment" / "bin" / "python"
    async with Lab(daemon.url("shared"), daemon.token("shared")) as lab:
        assert (await lab.get("kaosd/documents"))["shared"] is True
        async with opened(daemon, "shared", lab, "n.ipynb", python) as tab:
            await typed_while_saves_strike(daemon, "shared", tab, file)


async def test_a_change_waits_for_a_tab_of_a_container_that_shares_nothing(daemon: Daemon, bundle: Path) -> None:
    (bundle / "model" / "requirements.txt").write_text(ALONE)
    (bundle / "Dockerfile").write_text("FROM python:3.11\nCOPY . /model\nRUN pip install -r /model/requirements.txt\n")
    daemon.deploy("alone", bundle)
    file = bundle / "model" / "train.py"
    async with Lab(daemon.url("alone"), daemon.token("alone")) as lab:
        assert (await lab.get("kaosd/documents"))["shared"] is False
        async with page(lab, "train.py") as tab:
            file.write_text("ANSWER = 2\n")
            for _ in range(2):  # read, and once more when what is typed there has been kept
                read = await tab.receive_json()
                assert (read["do"], read["path"]) == ("read", "train.py")
                await tab.send_json({"id": read["id"], "kind": "file", "text": "ANSWER = 1\nmine = 1\n"})
            change = await tab.receive_json()
            assert (change["do"], change["of"], change["operations"]) == ("apply", read["id"], [["text", 9, 10, "2"]])
            await tab.send_json({"id": change["id"], "saved": True})
            await asyncio.to_thread(daemon.live, "alone")

            file.write_text("ANSWER = 3\n")  # and now the tab sleeps
            shown = await asyncio.to_thread(
                until, lambda: (one := daemon.notebook("alone"))["state"] == "held" and one, "the hold"
            )
            assert "train.py: its tab does not answer" in shown["reason"]
            assert await lab.read("train.py") == "ANSWER = 1\n"  # nobody wrote below the tab
        await asyncio.to_thread(daemon.live, "alone")
        assert await lab.read("train.py") == "ANSWER = 3\n"
