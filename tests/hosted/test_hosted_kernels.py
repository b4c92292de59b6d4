"""Kernels and terminals: which environment they live in, what they are told, what they see of changed files."""

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from kaosd.hosted import subprocesses

pytestmark = pytest.mark.not_quick

PREFIX = "import sys, os; print(os.path.basename(sys.prefix))"
PACKAGE = "import iniconfig; print('there')"


async def test_a_kernel_stays_in_its_environment_until_it_is_restarted(new_host, environments):
    host = new_host("shared").start()
    async with host.client() as client:
        old = await client.kernel()
        assert await client.run(old, f"kept = 1\n{PREFIX}") == "shared\n"

        host.point_to(environments["other"])
        assert "ModuleNotFoundError" in await client.run(old, PACKAGE)
        assert await client.run(old, f"print(kept)\n{PREFIX}") == "1\nshared\n"
        new = await client.kernel()
        assert await client.run(new, f"{PREFIX}\n{PACKAGE}") == "other\nthere\n"

        await client.call("POST", f"api/kernels/{old}/restart")
        assert await client.run(old, f"{PREFIX}\n{PACKAGE}") == "other\nthere\n"
        assert "NameError" in await client.run(old, "kept")


async def test_programs_of_a_kernel_come_from_its_environment(host, client, environments):
    printed = await client.run(
        await client.kernel(), "import shutil, os; print(shutil.which('python'), os.environ['VIRTUAL_ENV'])"
    )
    prefix = environments["shared"].resolve()
    assert printed == f"{prefix}/bin/python {prefix}\n"


async def test_variables_are_read_again_at_each_start(host, client):
    show = "import os; print(os.environ.get('KAOS_DATA'))"
    assert await client.run(await client.kernel(), show) == "None\n"
    host.kernel_env.write_text(json.dumps({"KAOS_DATA": "/data/1"}))
    kernel = await client.kernel()
    assert await client.run(kernel, show) == "/data/1\n"
    host.kernel_env.write_text(json.dumps({"KAOS_DATA": "/data/2"}))
    assert await client.run(kernel, show) == "/data/1\n"
    await client.call("POST", f"api/kernels/{kernel}/restart")
    assert await client.run(kernel, show) == "/data/2\n"
    host.kernel_env.unlink()


async def test_terminals_have_the_environment_and_the_variables(host, client, eventually, environments):
    host.kernel_env.write_text(json.dumps({"KAOS_DATA": "/data/terminal"}))
    name = (await client.call("POST", "api/terminals"))["name"]
    shown = host.root / "shown"
    async with client.session.ws_connect(client.url(f"terminals/websocket/{name}")) as terminal:
        await terminal.send_json(["stdin", 'echo "$KAOS_DATA $(command -v python)" > part && mv part shown\r'])
        await eventually(shown.exists)
    assert shown.read_text() == f"/data/terminal {environments['shared'].resolve()}/bin/python\n"
    host.kernel_env.unlink()


async def test_a_saved_module_takes_effect_at_the_next_cell(host, client):
    module = host.root / "fresh_module.py"
    module.write_text("def answer():\n    return 41\n")
    kernel = await client.kernel()
    assert await client.run(kernel, "import fresh_module\nstate = 'kept'\nprint(fresh_module.answer())") == "41\n"
    module.write_text("def answer():\n    return 'forty-two'\n")
    assert await client.run(kernel, "print(fresh_module.answer(), state)") == "forty-two kept\n"


async def test_only_the_kernel_of_the_notebook_is_offered(host, client):
    specs = await client.call("GET", "api/kernelspecs")
    assert specs["default"] == "python3"
    assert "start.py" in " ".join(specs["kernelspecs"]["python3"]["spec"]["argv"])


async def test_the_kernel_has_its_pictures(host, client):
    pictures = (await client.call("GET", "api/kernelspecs"))["kernelspecs"]["python3"]["resources"]
    assert {"logo-32x32", "logo-64x64", "logo-svg"} <= set(pictures)
    for name, begin in {"logo-64x64": b"\x89PNG", "logo-svg": b"<"}.items():
        async with client.session.get(f"http://localhost{pictures[name]}") as answer:
            assert (answer.status, answer.content_type.partition("/")[0]) == (200, "image")
            assert (await answer.read()).startswith(begin)


def test_pictures_of_another_ipykernel_and_what_stands_in_their_way_are_replaced(new_host):
    host = new_host()
    kernel = host.jupyter / "data" / "kernels" / "python3"
    (kernel / "logo-32x32.png" / "inner").mkdir(parents=True)
    (kernel / "logo-64x64.png").symlink_to(host.place / "gone")
    (kernel / "logo-svg.svg").write_text("old")
    host.start()
    assert (kernel / "logo-32x32.png").read_bytes().startswith(b"\x89PNG")
    assert (kernel / "logo-64x64.png").read_bytes().startswith(b"\x89PNG")
    assert (kernel / "logo-svg.svg").read_text() != "old"
    assert not (host.place / "gone").exists()


async def test_kernels_listen_on_no_port(host, client):
    kernel = await client.kernel()
    assert await client.run(kernel, "print(1)") == "1\n"
    (connection,) = [json.loads(file.read_text()) for file in (host.jupyter / "runtime").glob(f"*{kernel}.json")]
    assert connection["transport"] == "ipc"
    assert Path(connection["ip"]).parent == host.socket.parent
    await client.call("POST", f"api/kernels/{kernel}/restart")
    assert await client.run(kernel, "print(2)") == "2\n"
    await client.call("DELETE", f"api/kernels/{kernel}")
    assert not list(host.socket.parent.glob(f"{kernel[-12:]}*"))


BUNDLES = Path(__file__).parents[2] / "kaosd" / "docs" / "bundles.md"


async def test_the_ways_to_git_that_the_help_names_read_the_repository_and_change_nothing(host, client):
    source = host.place / "project"
    log, diff = re.findall(r"^(!git .*)$", BUNDLES.read_text(), re.MULTILINE)
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    source.mkdir()
    (source / "tracked.py").write_text("value = 1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "the first commit"]):
        subprocess.run([*git, *words], check=True)
    (host.root / "tracked.py").write_text("value = 2\n")

    def state():
        return {path: (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in source.rglob("*")}

    before = state()
    kernel = await client.kernel()
    assert "the first commit" in await client.run(kernel, log.replace("~/projects/churn", str(source)))
    shown = await client.run(kernel, diff.replace("~/projects/churn", str(source)))
    assert re.sub("\x1b[^m]*m", "", shown).splitlines()[-2:] == ["-value = 1", "+value = 2"]
    assert state() == before
    (host.root / "tracked.py").unlink()


CHILDREN = """
import multiprocessing
def say(number): print(f"child {number}")
for number in range(3):
    process = multiprocessing.get_context("fork").Process(target=say, args=(number,))
    process.start()
    process.join()
    print(process.exitcode)
"""
PORTS = """
import os, glob
held = {os.readlink(path) for path in glob.glob("/proc/self/fd/*") if os.path.islink(path)}
lines = [line.split() for table in ("tcp", "tcp6") for line in open(f"/proc/self/net/{table}").readlines()[1:]]
print([line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in held])
"""


async def test_a_kernel_listens_at_no_port_and_hears_its_children_all_the_same(host, client, eventually):
    kernel = await client.kernel()
    printed = await client.run(kernel, CHILDREN)
    assert sorted(printed.split("\n")) == ["", "0", "0", "0", "child 0", "child 1", "child 2"]
    assert await client.run(kernel, PORTS) == "[]\n"
    names = await client.run(kernel, "print(dir())")
    assert "kaosd" not in names
    assert "runpy" not in names

    def pipes():
        return [path.name for path in host.place.iterdir() if path.name.endswith("-0")]

    before = len(pipes())
    assert before >= 1
    await client.call("DELETE", f"api/kernels/{kernel}")
    await eventually(lambda: len(pipes()) < before)


def test_an_ipykernel_that_does_it_in_another_way_is_left_alone():
    thread = SimpleNamespace(_pipe_port=1, schedule=None)
    assert subprocesses.move(thread, "ipc:///x") is False
    assert vars(thread) == {"_pipe_port": 1, "schedule": None}
