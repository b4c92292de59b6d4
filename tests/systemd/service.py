"""What tests ask of a kaosd that runs as a service in a guest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.daemon import until
from tests.systemd.machine import Machine

NAME = "notebook-mnist-ada"
# Speaks to a kernel of JupyterLab from within the guest: make one (and keep a value in it), or ask an old one.
CELL = """
import asyncio, sys
sys.path[:0] = sys.argv[1].split(":")
from types import SimpleNamespace
from pathlib import Path
from lab import lab

async def main():
    sockets = (Path(sys.argv[2]).parents[1] / "run").glob("*.sock")
    host = SimpleNamespace(upstream=f"unix:{max(sockets, key=lambda path: path.stat().st_mtime)}")
    order = SimpleNamespace(base_url=sys.argv[3], home=SimpleNamespace(token_file=Path(sys.argv[2]) / "token"))
    async with lab(host, order) as there:
        _, kernels = await there.request("GET", "api/kernels")
        kernel = kernels[0]["id"] if kernels else await there.new_kernel()
        print(await there.run(kernel, sys.argv[4]))

asyncio.run(main())
"""


def pid_of(machine: Machine) -> str:
    """The daemon's pid, "0" when there is none."""
    return machine.property("kaosd.service", "MainPID")


def status(machine: Machine) -> dict[str, Any]:
    """The whole status."""
    found: dict[str, Any] = json.loads(machine.run("kaosctl", "status", "--json", check=False))
    return found


def notebook(machine: Machine) -> dict[str, Any]:
    """The notebook's part of the status."""
    found: list[dict[str, Any]] = status(machine)["notebooks"]
    return next(one for one in found if one["name"] == NAME)


def live(machine: Machine) -> dict[str, Any]:
    """Wait until what is on disk now is live, which a daemon that has just started must first find out; as notebook.

    That may be stale for a moment: a directory whose watch is new is read once more by itself.
    """
    machine.run("kaosctl", "wait", NAME)
    return until(lambda: (one := notebook(machine))["state"] == "live" and one, "the status to say live")


def cell(machine: Machine, code: str, state: str = "") -> str:
    """What a cell prints in the notebook's kernel, which is made when there is none."""
    return machine.run(*cell_command(machine, code, state)).strip()


def cell_command(machine: Machine, code: str, state: str = "") -> list[str]:
    """What runs a cell in the notebook's kernel. state: the state directory, when it is not the usual one."""
    here = Path(__file__).parents[2]
    home = Path(state or machine.home / ".local" / "state" / "kaosd", "notebooks", NAME)
    return ["python", "-c", CELL, f"{here}/tests/engines:{here}", str(home), f"/{NAME}/", code]


def hosts(machine: Machine) -> list[str]:
    """The units of hosts that run now."""
    told = machine.systemctl("list-units", "--plain", "--no-legend", "--state=running", "kaos-host-*")
    return [line.split()[0] for line in told.splitlines()]
