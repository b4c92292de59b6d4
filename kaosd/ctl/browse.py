"""`kaosctl open`: a notebook, or the list of all, in the browser, its token seen by nobody else.

A browser is given its address as an argument, and every user of the machine can read the arguments of every
process. So the browser is given a file instead: a page of mode 0600 beside the token itself, which holds nothing
but the way on. It is written anew each time and goes with the notebook.
"""

from __future__ import annotations

import html
import os
import tempfile
import webbrowser
from urllib.parse import urlsplit

from kaosd.ctl import files, output, status
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure
from kaosd.ctl.screen import Screen

PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0;url={url}">
<title>{name}</title>
<a href="{url}">{name}</a>
"""


def open_notebook(name: str | None = None, *, only_print: bool = False, as_json: bool = False) -> int:
    """Open the notebook, or the page that lists all of them.

    Where there is no browser, or with *only_print*, the address with its token is printed.
    """
    found = status.fetch(Client(), None)
    state = found["daemon"]["state_dir"]
    if name is None:
        url, place = files.index_address(state, found["daemon"]["front"]), state
    else:
        url, place = files.address(state, status.notebook_of(found, name)), f"{state}/notebooks/{name}"
    if only_print or as_json or not show(place, name or "kaosd", url):
        where = output.here()
        output.tell({"url": url}, [where.paint("", url), *tunnel(url, where)], as_json=as_json)
    return 0


def show(place: str, name: str, url: str) -> bool:
    """Open *url* in the browser, by a page in the directory *place*; False where there is no browser."""
    return webbrowser.open(f"file://{_page(place, name, url)}")


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


def _page(place: str, name: str, url: str) -> str:
    """Write the page into the directory *place*; its path."""
    target = f"{place}/open.html"
    try:
        descriptor, new = tempfile.mkstemp(dir=os.path.dirname(target))  # of mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(PAGE.format(url=html.escape(url), name=html.escape(name)))
        os.replace(new, target)
    except OSError as error:
        text = f"the page for the browser cannot be written to {target}: {error.strerror}"
        raise Failure(text, hint="`kaosctl open --print` prints the address") from None
    return target
