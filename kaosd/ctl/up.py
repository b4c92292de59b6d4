"""`kaosctl up`: a directory becomes a hosted notebook, whether or not a daemon runs yet."""

from __future__ import annotations

import os

from kaosd.ctl import browse, deploying, failure, places, starting
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure


def up(
    directory: str = ".",
    *,
    data: str | None = None,
    name: str | None = None,
    engine: str | None = None,
    open_it: bool = False,
    as_json: bool = False,
) -> int:
    """Deploy *directory*, follow it until it is live, and print its address; the daemon is started if none runs.

    name: default: the daemon makes one from the directory, the same each time. open_it: also open the browser.
    """
    for path in filter(None, (directory, data)):
        if not os.path.isdir(places.absolute(path)):
            what = "is not a directory" if os.path.lexists(places.absolute(path)) else "does not exist"
            raise Failure(f"{path} {what}", hint="name the directory of your repository", exit_code=failure.USAGE)
    client = Client()
    starting.ensure(client)
    wanted: dict[str, object] = {"source": directory, "data": data, "name": name, "engine": engine}
    code, deployed = deploying.deploy_and_follow(client, wanted, as_json=as_json)
    if code == 0 and open_it:
        browse.show(client, deployed)
    return code
