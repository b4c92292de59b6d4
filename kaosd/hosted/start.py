"""Start a program in the environment that the link points to now: `start.py host.json PROGRAM [ARGUMENT ...]`.

With `--outside` before PROGRAM it is one that does not belong to the notebook's environment, such as R: it gets the
variables of the notebook's kernels, and of PATH all but the programs of the server.

Kernels and terminals start here. The link is resolved once, so that what starts never sees a second environment
when the link is replaced; a kernel that is restarted comes through here again and moves to the new one.
Runs as `python -I -S`, before any package, in a few milliseconds.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # which `python -I` does not search
overlay = importlib.import_module("overlay")
OUTSIDE = importlib.import_module("kernelspecs").OUTSIDE


def environment(host: dict[str, str], *, outside: bool = False) -> dict[str, str]:
    """The environment variables of what starts now. SystemExit when the notebook's environment is gone."""
    variables = dict(os.environ)
    variables.pop("PYTHONHOME", None)
    if os.path.exists(host.get("kernel_env") or ""):
        with open(host["kernel_env"], encoding="utf-8") as file:
            variables.update(json.load(file))
    if "environment_link" not in host:  # an image is the environment, and its own variables say how
        return variables
    # the programs of the server's environment are the server's alone
    entries = variables.get("PATH", os.defpath).split(os.pathsep)
    others = os.pathsep.join(one for one in entries if one != os.path.dirname(sys.executable))
    if outside:
        return {**variables, "PATH": others}
    prefix = os.path.realpath(host["environment_link"])
    if not os.path.exists(os.path.join(prefix, "bin", "python")):
        raise SystemExit(f"{host['environment_link']} leads to no environment: {prefix}/bin/python is missing")
    if "own" not in host:  # a server that an older kaosd started
        variables["VIRTUAL_ENV"] = prefix
        variables["PATH"] = os.pathsep.join([os.path.join(prefix, "bin"), *entries])
        return variables
    try:
        own, scripts = overlay.ready(host["own"], prefix)
        variables["PATH"] = overlay.path(host["own"], own, scripts, others)
    except OSError as error:
        raise SystemExit(f"the notebook's own environment cannot be made: {error}") from error
    variables["VIRTUAL_ENV"], variables[overlay.VARIABLE] = own, prefix
    variables["JUPYTER_CONFIG_PATH"] = os.path.join(prefix, "etc", "jupyter")
    return variables


def main(path: str, *command: str) -> None:
    """Become the program of *command*, found by the PATH of the environment. SystemExit when it cannot be started."""
    with open(path, encoding="utf-8") as file:
        host = json.load(file)
    outside = command[0] == OUTSIDE
    program, *arguments = command[1:] if outside else command
    variables = environment(host, outside=outside)
    if not outside and program == "python":
        program = host.get("python") or os.path.join(variables["VIRTUAL_ENV"], "bin", "python")
    try:
        os.execvpe(program, [program, *arguments], variables)  # noqa: S606
    except OSError as error:
        raise SystemExit(f"{program} cannot be started: {error.strerror}") from error


if __name__ == "__main__":
    main(*sys.argv[1:])
