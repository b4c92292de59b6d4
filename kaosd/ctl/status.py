"""`kaosctl status`: what there is, how it is, and what to do where it is not well."""

from __future__ import annotations

import json
import sys
import time

from kaosd.ctl import failure, picture, screen
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    class Shown(TypedDict):
        """The arguments of `show`."""

        name: str | None
        watch: bool
        verbose: bool
        as_json: bool


def plain(arguments: list[str]) -> Shown | None:
    """The arguments of `show` where they are simple; None: let argparse have them, and its help and its errors."""
    names = [argument for argument in arguments if not argument.startswith("-")]
    options = {argument for argument in arguments if argument.startswith("-")}
    if len(names) > 1 or not options <= {"--json", "--watch", "-v", "--verbose"}:
        return None
    return {
        "name": names[0] if names else None,
        "watch": "--watch" in options,
        "verbose": not options.isdisjoint(("-v", "--verbose")),
        "as_json": "--json" in options,
    }


def show(name: str | None = None, *, watch: bool = False, verbose: bool = False, as_json: bool = False) -> int:
    """Print the status of all notebooks or of one; 1 when one of them is failed or stale."""
    client = Client()
    if watch:
        from kaosd.ctl.watching import keep_showing

        return keep_showing(
            client, lambda: fetch(client, name), detail=name is not None, verbose=verbose, as_json=as_json
        )
    status = fetch(client, name)
    if as_json:
        sys.stdout.write(json.dumps(status, indent=2) + "\n")
    else:
        lines = picture.draw(status, time.time(), screen.of(sys.stdout), detail=name is not None, verbose=verbose)
        sys.stdout.write("\n".join(lines) + "\n")
    return exit_code(status)


def fetch(client: Client, name: str | None) -> dict[str, Any]:
    """The status object; with *name* that notebook's only. Failure (not found) when there is no such notebook."""
    status: dict[str, Any] = client.get("/v1/status")
    if name is None:
        return status
    return {**status, "notebooks": [notebook_of(status, name)]}


def notebook_of(status: dict[str, Any], name: str) -> dict[str, Any]:
    """The object of notebook *name*; Failure (not found), with the name that was perhaps meant, when it is absent."""
    for notebook in status["notebooks"]:
        if notebook["name"] == name:
            found: dict[str, Any] = notebook
            return found
    raise no_such_notebook(name, [notebook["name"] for notebook in status["notebooks"]])


def no_such_notebook(name: str, names: list[str]) -> Failure:
    """The failure for a notebook that does not exist among *names*."""
    from difflib import get_close_matches

    close = get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]}?" if close else "`kaosctl notebook list` shows what there is"
    return Failure(f"there is no notebook {name!r}", hint=hint, exit_code=failure.NOT_FOUND, code="not_found")


def exit_code(status: dict[str, Any]) -> int:
    """0 when every notebook is well."""
    bad = any(notebook["state"] in ("failed", "stale") for notebook in status["notebooks"])
    return failure.FAILED if bad else 0
