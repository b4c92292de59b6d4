"""`kaosctl open`: a notebook, or the list of all, in the browser, its token unseen by other users.

A browser is given its address as an argument, and every user of the machine can read the arguments of every process.
So the browser is given an address of the front that signs in once, for a short time, and only for our own user.
"""

from __future__ import annotations

import os
import webbrowser
from typing import Any
from urllib.parse import urlsplit

from kaosd.ctl import command_output, failure, files, status
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.failure import Failure
from kaosd.ctl.screen import Screen

VSCODE = 'in VS Code: "Select Kernel", "Existing Jupyter Server...", "Enter the URL of the running Jupyter Server"'
ELSEWHERE = "no browser here: open this address in one"


def open_notebook(
    name: str | None = None, *, only_print: bool = False, vscode: bool = False, as_json: bool = False
) -> int:
    """Open the notebook, or the page that lists all of them, and print its address with its token.

    only_print: open nothing. vscode: print what VS Code takes for an existing Jupyter server.
    """
    client = Client()
    found = status.fetch(client, None)
    url, where = _address(found, name, vscode=vscode), command_output.here()
    note = VSCODE if vscode else ""
    if not (only_print or vscode or as_json):
        note = "opened in the browser" if show(client, name) else ELSEWHERE
    said = where.flow([("dim", note)]) if note else []
    command_output.tell({"url": url}, [where.paint("", url), *said, *tunnel(url, where)], as_json=as_json)
    return 0


def show(client: Client, name: str | None) -> bool:
    """Open a notebook, or the list of all, in the browser; False where there is no browser."""
    session = os.environ.get("SSH_CONNECTION") and not os.environ.get("BROWSER")
    if session and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False  # the person sits at another machine; a browser in this terminal is not what they asked for
    path = notebook_path(name, "open") if name is not None else "/v1/open"
    return webbrowser.open(str(client.post(path)["url"]))


def tunnel(url: str, where: Screen) -> list[str]:
    """How to reach *url* from the machine that this session came from by ssh; nothing outside of such a session."""
    session = os.environ.get("SSH_CONNECTION", "").split()  # client address and port, server address and port
    front = urlsplit(url)
    if len(session) != 4 or front.port is None:
        return []
    import getpass

    command = f"ssh -N -L {front.port}:{front.hostname}:{front.port} {getpass.getuser()}@{session[2]}"
    if session[3] != "22":
        command = command.replace("ssh ", f"ssh -p {session[3]} ", 1)
    return [*where.flow([("dim", "from your own machine, first run:")]), where.paint("strong", f"    {command}")]


def _address(found: dict[str, Any], name: str | None, *, vscode: bool) -> str:
    """The address with its token: of a notebook, of its Jupyter server for *vscode*, or of the list of all."""
    daemon = found["daemon"]
    if name is None:
        if vscode:
            text = "VS Code connects to one notebook"
            raise Failure(text, hint="name it: `kaosctl open NAME --vscode`", exit_code=failure.USAGE)
        return files.index_address(daemon["state_dir"], daemon["front"])
    notebook = dict(status.notebook_of(found, name))
    if vscode:
        notebook["url"] = str(notebook["url"]).removesuffix("lab")
    return files.address(daemon["state_dir"], notebook)
