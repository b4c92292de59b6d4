"""Programs of others that reach a notebook as a Jupyter server, each in the version that the documentation names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import uv

from tests.browser.tab import write
from tests.e2e.daemon import PATIENCE, Daemon, until

ROOT = Path(__file__).parent.parent.parent
CLIENTS = ("jupyter-kernel-client", "jupyter-server-client", "jupyter-nbmodel-client")
PROGRAM = """
import asyncio, sys
from jupyter_kernel_client import JupyterKernelClient
from jupyter_nbmodel_client import NbModelClient, get_jupyter_notebook_websocket_url
from jupyter_server_client import JupyterServerClient

base, token = sys.argv[1:]
server = JupyterServerClient(base, token)
assert "n.ipynb" in [one.name for one in server.contents.list_directory("")]
assert server.kernelspecs.get_default_kernelspec_name() == "python3"

async def edit(kernel):
    address = get_jupyter_notebook_websocket_url(server_url=base, token=token, path="n.ipynb")
    async with NbModelClient(address) as notebook:
        found = notebook.execute_cell(notebook.add_code_cell("print('by a client', 6 * 7)"), kernel)
        print(found["outputs"][0]["text"].strip())
        await asyncio.to_thread(sys.stdin.read)  # the document is closed when the test has seen it saved

with JupyterKernelClient(server_url=base, token=token) as kernel:
    print(kernel.execute("6 * 7")["outputs"][0]["data"]["text/plain"], flush=True)
    asyncio.run(edit(kernel))
"""


def version_of(client: str) -> str:
    """The version that the documentation says was tested."""
    text = (ROOT / "kaosd" / "docs" / "clients.md").read_text()
    found = re.search(rf"^\| {client} ([0-9.]+) \|", text, re.MULTILINE)
    assert found is not None
    return found[1]


def test_programs_run_code_and_edit_the_shared_document(daemon: Daemon, bundle: Path, tmp_path: Path) -> None:
    write(bundle, "number = 6")
    (bundle / "model" / "requirements.txt").write_text("")
    daemon.deploy("clients", bundle)
    tool, wanted = uv.find_uv_bin(), [f"{one}=={version_of(one)}" for one in CLIENTS]
    subprocess.run([tool, "venv", "-q", "--python", sys.executable, str(tmp_path / "v")], check=True)
    python = tmp_path / "v" / "bin" / "python"
    subprocess.run([tool, "pip", "install", "-q", "--python", str(python), *wanted], check=True)
    command = [str(python), "-c", PROGRAM, daemon.url("clients"), daemon.token("clients")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        document = daemon.home("clients") / "work" / "n.ipynb"
        until(lambda: "by a client" in document.read_text() or program.poll() is not None, "the edit to be saved")
        printed, _ = program.communicate(timeout=PATIENCE)
    assert (program.returncode, printed.splitlines()) == (0, ["42", "by a client 42"])
    assert "by a client" in document.read_text()
