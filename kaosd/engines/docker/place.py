"""The files of one host: what its container mounts, and where. Everything lies in the notebook's home.

A directory of each host's own holds what differs between hosts and between versions of kaosd, always seen at the same
path inside, so that what one host writes for its kernels into the shared Jupyter directory serves the next one too.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kaosd.engines.base import Home, Order
from kaosd.model import DataMode

INSIDE = "/kaosd"  # where a container sees the host's own directory
SOCKETS = "/run/kaosd"  # where it sees the directory of its sockets
WORK = "/opt/program"  # the notebook root where the image names no working directory
_HOSTED = Path(__file__).parents[2] / "hosted"
_PYTHON = """\
#!/bin/sh
# The image's Python, under one name for all images.
exec "$(command -v python3 || command -v python)" "$@"
"""


@dataclass(frozen=True, slots=True)
class Place:
    """The directories of one host. own: mounted at INSIDE. run: mounted at SOCKETS, holds the socket."""

    own: Path
    run: Path

    @classmethod
    def of(cls, home: Home, mark: str) -> Place:
        """The directories of the host *mark* (8 hexadecimal digits)."""
        return cls(home.root / "containers" / mark, home.run / mark)

    @property
    def socket(self) -> str:
        """The socket that JupyterLab listens on, as seen from outside."""
        return str(self.run / "s")

    def remove(self) -> None:
        """Take all of it away; blocking. What is gone already is not an error."""
        for path in (self.own, self.run):
            shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Mounted:
    """One directory that a container mounts."""

    inside: str
    outside: str
    read_only: bool = False


def lay_out(place: Place, order: Order, workdir: str, variables: Mapping[str, str], start: str = "") -> None:
    """Write the files of a host. variables: what kernels get besides. Blocking; raises OSError.

    start: the program of the image that is run first, with the command of JupyterLab as its arguments.
    """
    home = order.home
    for path in (place.own.parent, place.own, place.run, pfs(home), *_jupyter(home)):
        path.mkdir(mode=0o700, exist_ok=True)
    shutil.copytree(_HOSTED, place.own / "hosted", ignore=shutil.ignore_patterns("__pycache__"))
    settings = {
        "name": order.spec.name,
        "base_url": order.base_url,
        "root_dir": workdir,
        "socket": f"{SOCKETS}/s",
        "token_file": str(home.token_file),
        "origins": list(order.origins),
        "jupyter": str(home.jupyter),
        "python": f"{INSIDE}/python",
        "kernel_env": f"{INSIDE}/kernel-env.json",
        "checkpoints": str(home.jupyter / "checkpoints"),
    }
    first = f"{shlex.quote(start)} " if start else ""
    serve = f'exec {first}{INSIDE}/python -u {INSIDE}/hosted/launch.py {INSIDE}/host.json >>"$1" 2>&1\n'
    files = {
        "host.json": (json.dumps(settings, indent=1), 0o600),
        "kernel-env.json": (json.dumps(dict(variables)), 0o600),
        "python": (_PYTHON, 0o700),
        "serve": (serve, 0o600),
    }
    for name, (text, mode) in files.items():
        path = place.own / name
        path.write_text(text)
        path.chmod(mode)
    link = pfs(home) / f"data-{order.spec.name}"
    if not link.is_symlink():
        link.symlink_to(home.data)


def pfs(home: Home) -> Path:
    """What containers see as /pfs: a link to the attached data, which moves while they run."""
    return home.root / "pfs"


def mounts(place: Place, order: Order, workdir: str) -> list[Mounted]:
    """All that the container of a host mounts. The home is seen at its own path, where its links lead."""
    home = order.home
    found = [
        Mounted(workdir, str(home.work)),
        Mounted(str(home.root), str(home.root), read_only=True),
        Mounted(str(home.jupyter), str(home.jupyter)),
        Mounted(str(home.logs), str(home.logs)),
        Mounted("/pfs", str(pfs(home)), read_only=True),
        Mounted(INSIDE, str(place.own), read_only=True),
        Mounted(SOCKETS, str(place.run)),
    ]
    linked = linked_data(order)
    return [*found, Mounted(str(order.spec.data), linked, read_only=True)] if linked is not None else found


def linked_data(order: Order) -> str | None:
    """The directory of the person that the data link leads to, where it is attached itself."""
    if order.spec.data_mode is not DataMode.LINK or order.spec.data is None or not order.spec.data.is_dir():
        return None
    return os.path.realpath(order.spec.data)


def _jupyter(home: Home) -> list[Path]:
    return [home.jupyter / name for name in ("config", "data", "runtime", "ipython", "checkpoints", "home")]
