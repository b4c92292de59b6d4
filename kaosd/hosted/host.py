"""The whole life of a host: its directories and variables, its settings, JupyterLab."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from . import orphans, output, served, settings

# Costs a second to import, and checks nothing but internationalised addresses in JSON schemas.
_BLOCKED = "rfc3987_syntax"


def main(path: str) -> None:
    """Serve until SIGTERM; *path* is the host.json of `launch`."""
    with open(path, encoding="utf-8") as file:
        host = json.load(file)
    with open(host["token_file"], encoding="utf-8") as file:
        token = file.read().strip()
    if not token:
        raise SystemExit(f"{host['token_file']} is empty: a host without a token would be open to everybody")
    finish_output = output.take_over(token)
    orphans.adopt()
    isolate(host)
    settings.write_files(host, path)
    sys.modules[_BLOCKED] = None  # type: ignore[assignment]
    serve(host, path, token)
    finish_output()
    # All is cleaned up; the worker threads of an open document would now keep the interpreter waiting for ever.
    os._exit(0)


def isolate(host: dict[str, Any]) -> None:
    """Keep the person's own Jupyter away, by directories: JUPYTER_NO_CONFIG would drop the environment's as well."""
    for name in [name for name in os.environ if name.startswith(("JUPYTER", "JPY_", "IPYTHON"))]:
        del os.environ[name]
    places = {name: os.path.join(host["jupyter"], name) for name in ("config", "data", "runtime", "ipython")}
    for place in (*places.values(), host["checkpoints"]):
        os.makedirs(place, mode=0o700, exist_ok=True)
    os.environ["JUPYTER_CONFIG_DIR"] = places["config"]
    os.environ["JUPYTER_DATA_DIR"] = places["data"]
    os.environ["JUPYTER_RUNTIME_DIR"] = places["runtime"]
    os.environ["IPYTHONDIR"] = places["ipython"]
    contributed = os.path.join(host.get("environment_link") or sys.prefix, "share", "jupyter")
    os.environ["PATH"] = os.pathsep.join([os.path.join(sys.prefix, "bin"), os.environ.get("PATH", os.defpath)])
    paths = [places["data"], contributed]
    if "own" in host:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        paths.insert(1, os.path.join(host["own"], version, "share", "jupyter"))
    os.environ["JUPYTER_PATH"] = os.pathsep.join(paths)


def serve(host: dict[str, Any], path: str, token: str) -> None:
    """Run JupyterLab until it is asked to stop. path: of host.json."""
    from jupyterlab import commands  # noqa: PLC0415 (after isolate, because it looks at the variables)

    # Importing LabApp asks yarn, by node, for the registry of a build that never happens here: 0.3 s.
    commands._yarn_config = lambda _logger: {"yarn config": {}, "npm config": {}}

    from jupyterlab.labapp import LabApp  # noqa: PLC0415
    from traitlets.config import Config  # noqa: PLC0415

    from . import kernels  # noqa: PLC0415
    from .storage import Checkpoints  # noqa: PLC0415

    sockets = os.path.dirname(host["socket"]) if "socket" in host else os.environ["JUPYTER_RUNTIME_DIR"]
    link = host.get("environment_link")
    environments = [link, sys.prefix, host["jupyter"], *([host["own"]] if "own" in host else [])] if link else []
    configuration = {
        **settings.server(host, path, token),
        **kernels.configuration(sockets, settings.starter(host, path), environments),
        "ContentsManager": {"checkpoints_class": Checkpoints},
    }
    # An older JupyterLab takes none of its settings when it does not know one of them.
    known = LabApp.class_traits()
    configuration["LabApp"] = {name: value for name, value in configuration["LabApp"].items() if name in known}
    server = LabApp.make_serverapp(jpserver_extensions=settings.extensions(host), config=Config(configuration))
    server.no_browser_open_file = True  # it would hold the token, readable for all
    server.initialize(argv=[], starter_extension=LabApp.name)
    specs = server.kernel_spec_manager
    ours = len(os.environ["JUPYTER_PATH"].split(os.pathsep))
    # behind the notebook's own, so that theirs never replace those, and before those of the system
    specs.kernel_dirs = [*specs.kernel_dirs[:ours], *host.get("kernels", ()), *specs.kernel_dirs[ours:]]
    (lab,) = server.extension_manager.extension_apps["jupyterlab"]
    lab.static_paths.extend(served.earlier_pages(os.environ["JUPYTER_DATA_DIR"], os.path.realpath(sys.prefix)))
    server.start()
