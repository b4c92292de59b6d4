"""Where the person's own Jupyter keeps kernels and settings, by the variables of the daemon's environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def kernel_directories(own: Mapping[str, str]) -> list[str]:
    """The directories of the person's own kernelspecs, in the order in which Jupyter looks at them."""
    home = own.get("XDG_DATA_HOME") or f"{_home(own)}/.local/share"
    roots = [*own.get("JUPYTER_PATH", "").split(os.pathsep), own.get("JUPYTER_DATA_DIR") or f"{home}/jupyter"]
    return [os.path.join(root, "kernels") for root in dict.fromkeys(roots) if os.path.isabs(root)]


def lab_settings(own: Mapping[str, str]) -> str:
    """The directory of the person's settings of JupyterLab."""
    config = own.get("JUPYTER_CONFIG_DIR") or f"{_home(own)}/.jupyter"
    return own.get("JUPYTERLAB_SETTINGS_DIR") or f"{config}/lab/user-settings"


def _home(own: Mapping[str, str]) -> str:
    return own.get("HOME") or str(Path.home())
