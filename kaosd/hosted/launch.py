"""Start JupyterLab for one notebook: `<environment>/bin/python -u launch.py <directory>/host.json`.

host.json: name · base_url ("/<name>/") · root_dir · socket (absolute path of the Unix socket to listen on) ·
or listen, in a pod: address:port instead ·
token_file · origins (host:port that a browser may send as Host) · jupyter (private directory for config/ data/
runtime/ ipython/) · environment_link (symbolic link to the environment that kernels start from; it may be
replaced while we run; absent where this Python is the environment, as in an image) · python (command for it there;
by default our own) · own (directory of the notebook's own environment, see `overlay`; absent where the environment
is not shared) · kernels (directories of the person's own kernelspecs, only read; may be absent) · lab_settings
(directory of JupyterLab's user settings, in place of a private one; may be absent) · kernel_env (file with a JSON
object of environment variables for kernels and terminals, read again at each start; may be absent) · checkpoints
(directory outside root_dir).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys


def load_package() -> None:
    """Make this directory importable as `kaosd_hosted`, and by no other name."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    location = os.path.join(here, "__init__.py")
    spec = importlib.util.spec_from_file_location("kaosd_hosted", location, submodule_search_locations=[here])
    if spec is None or spec.loader is None:
        raise SystemExit(f"{location} cannot be loaded")
    package = importlib.util.module_from_spec(spec)
    sys.modules["kaosd_hosted"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    load_package()
    importlib.import_module("kaosd_hosted.host").main(sys.argv[1])
