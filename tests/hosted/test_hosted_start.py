"""A host as it comes up: who may reach it, what it keeps to itself, how it ends."""

import json
import os
import re
import socket
import stat
from pathlib import Path

import pytest
from aiohttp import WSServerHandshakeError

pytestmark = pytest.mark.not_quick

STAMPED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z .*")


def open_files_with(directory, text):
    """Files below *directory* that hold *text* and that others than the owner may read."""
    found = [path for path in directory.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
    return [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_the_socket_is_for_its_owner_only(host):
    mode = host.socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


async def test_the_token_is_needed(client):
    for path in ("api/status", "api/contents", "kaosd/documents"):
        async with client.session.get(client.url(path), headers={"Authorization": "token wrong"}) as answer:
            assert answer.status == 403
        assert await client.call("GET", path)
    refused = {"headers": {"Authorization": ""}, "json": {"path": "a", "base": None, "incoming": ""}}
    async with client.session.post(client.url("kaosd/documents/apply"), **refused) as answer:
        assert answer.status == 403
    with pytest.raises(WSServerHandshakeError) as failed:
        await client.session.ws_connect(client.url("kaosd/documents/line"), headers={"Authorization": "token wrong"})
    assert failed.value.status == 403


async def test_a_host_name_of_the_front_is_accepted(client):
    headers = {"Host": "workstation.example:8890"}
    async with client.session.get(client.url("api/status"), headers=headers) as answer:
        assert answer.status == 200


async def test_the_token_is_in_no_argument_and_no_variable(host, client, eventually):
    kernel = await client.kernel()
    await client.call("POST", "api/terminals")
    printed = await client.run(kernel, "import os; print(sorted(os.environ))\nprint(list(os.environ.values()))")
    assert "PATH" in printed
    assert client.token not in printed
    await eventually(lambda: len(host.descendants()) >= 2)
    for pid in (host.process.pid, *host.descendants()):
        for name in ("cmdline", "environ"):
            assert client.token.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()


async def test_the_home_of_the_person_stays_as_it_was(host, client):
    assert await client.run(await client.kernel(), "print(1)") == "1\n"
    assert list(host.home.iterdir()) == []


async def test_no_file_with_the_token_is_readable_for_others(host, client):
    assert not list(host.jupyter.rglob("*open.html"))
    assert open_files_with(host.jupyter, client.token) == []
    assert list(host.root.iterdir()) == []


async def test_the_persons_own_jupyter_stays_outside(new_host):
    host = new_host(JUPYTER_CONFIG_PATH="/nonexistent", JUPYTER_TOKEN="mine", JUPYTER_NO_CONFIG="1")
    marker = host.place / "loaded"
    config = host.home / ".jupyter" / "jupyter_server_config.py"
    startup = host.home / ".ipython" / "profile_default" / "startup" / "00-mine.py"
    kernel_spec = host.home / ".local" / "share" / "jupyter" / "kernels" / "mine" / "kernel.json"
    for file, text in {
        config: f"open({str(marker)!r}, 'w').write('server')\nc.ServerApp.base_url = '/mine/'\n",
        startup: f"mine = 1\nopen({str(marker)!r}, 'w').write('kernel')\n",
        kernel_spec: json.dumps({"argv": ["true"], "display_name": "mine", "language": "none"}),
    }.items():
        file.parent.mkdir(parents=True)
        file.write_text(text)
    host.start()
    async with host.client() as client:
        kernel = await client.kernel()
        assert "NameError" in await client.run(kernel, "mine")
        assert list((await client.call("GET", "api/kernelspecs"))["kernelspecs"]) == ["python3"]
        async with client.session.get(client.url("api/status"), headers={"Authorization": "token mine"}) as answer:
            assert answer.status == 403
    assert not marker.exists()


async def test_every_line_of_the_log_has_a_time_and_no_token(new_host, eventually):
    host = new_host().start()
    async with host.client() as client:
        async with client.session.get(client.url(f"api/status?x={client.token}"), headers={"Authorization": ""}) as no:
            assert no.status == 403
        host.link.unlink()
        host.link.symlink_to(host.place / "gone")
        async with client.session.post(client.url("api/kernels"), json={"name": "python3"}):
            await eventually(lambda: "leads to no environment" in host.log.read_text())
    host.terminate()
    lines = host.log.read_text().splitlines()
    assert all(STAMPED.fullmatch(line) for line in lines)
    assert any("I ServerApp Serving notebooks" in line for line in lines)
    assert any("leads to no environment" in line for line in lines)  # said by the starter, below the interpreter
    assert any("[token]" in line for line in lines)
    assert not any(client.token in line for line in lines)


async def test_sigterm_ends_server_and_kernels(new_host, eventually):
    host = new_host().start()
    async with host.client() as client:
        kernel = await client.kernel()
        pid = int(await client.run(kernel, "import os; print(os.getpid())"))
    assert pid in host.descendants()
    assert host.terminate() == 0
    await eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert not host.socket.exists() or not accepts(host.socket)


def accepts(path):
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


async def test_cookies_outlive_a_restart_even_after_kill(new_host):
    host = new_host().start()
    secret = (host.jupyter / "data" / "cookie_secret").read_bytes()
    host.process.kill()
    host.process.wait()
    host.start()
    assert (host.jupyter / "data" / "cookie_secret").read_bytes() == secret


async def test_checkpoints_lie_outside_the_root_by_folder(host, client):
    for folder in ("one", "two"):
        (host.root / folder).mkdir()
        (host.root / folder / "same.txt").write_text(folder)
        await client.call("POST", f"api/contents/{folder}/same.txt/checkpoints")
    for folder in ("one", "two"):
        (host.root / folder / "same.txt").write_text("changed")
        await client.call("POST", f"api/contents/{folder}/same.txt/checkpoints/checkpoint")
        assert (host.root / folder / "same.txt").read_text() == folder
        assert os.listdir(host.root / folder) == ["same.txt"]
        assert os.listdir(host.place / "checkpoints" / folder) == ["same-checkpoint.txt"]


async def test_a_deleted_file_is_gone(host, client):
    (host.root / "old.txt").write_text("x")
    await client.call("DELETE", "api/contents/old.txt")
    assert not (host.root / "old.txt").exists()
    assert not list(host.home.rglob("old.txt"))


async def test_the_page_saves_often_and_asks_nobody_for_news(client):
    settings = (await client.call("GET", "lab/api/settings"))["settings"]
    plugins = {plugin["id"]: plugin for plugin in settings}
    documents = plugins["@jupyterlab/docmanager-extension:plugin"]["schema"]["properties"]
    notification = plugins["@jupyterlab/apputils-extension:notification"]["schema"]["properties"]
    assert documents["autosaveInterval"]["default"] == 5
    assert (notification["fetchNews"]["default"], notification["checkForUpdates"]["default"]) == ("false", False)
    async with client.session.get(client.url("lab")) as page:
        text = await page.text()
    config = json.loads(re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', text, re.DOTALL)[1])
    assert "@jupyterlab/apputils-extension:announcements" in config["disabledExtensions"]
    assert config["news"] == {"disabled": True}
    assert config["quitButton"] is False
    assert (await client.call("GET", "lab/api/update"))["notification"] is None


async def test_without_collaboration_no_document_is_shared(new_host):
    host = new_host("other").start()
    (host.root / "a.txt").write_text("x")
    async with host.client() as client:
        assert await client.call("GET", "kaosd/documents") == {"shared": False, "documents": []}
        answer = await client.call("POST", "kaosd/documents/apply", {"path": "a.txt", "base": "x", "incoming": "y"})
        assert answer == {"applied": False, "reason": "a.txt is not open"}
        assert await client.run(await client.kernel(), "print(6 * 7)") == "42\n"


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_token_is_refused(new_host, text):
    host = new_host()
    Path(host.order["token_file"]).write_text(text)
    with pytest.raises(AssertionError, match="is empty: a host without a token would be open to everybody"):
        host.start()
