"""First program of a unit of a host's own: becomes the host, with exactly the environment that it is to have.

The person's systemd gives its own environment to all that it starts, and can only add to it. So this reads what was
written for it (argv, cwd, variables; 0600, removed at once), and executes that in its place: same process, same unit.
Standard library only, for `python -I -S`.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Execute what the file of the first argument says."""
    with open(sys.argv[1], encoding="utf-8") as file:
        command = json.load(file)
    os.unlink(sys.argv[1])
    os.chdir(command["cwd"])
    os.execve(command["argv"][0], command["argv"], command["variables"])  # noqa: S606 - that is its work


if __name__ == "__main__":
    main()
