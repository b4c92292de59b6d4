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

from kaosd.ctl import files, output, status
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure

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
    if only_print or as_json or not webbrowser.open(f"file://{_page(place, name or 'kaosd', url)}"):
        output.tell({"url": url}, [output.here().paint("", url)], as_json=as_json)
    return 0


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
