"""What a host is given: settings of the server, of its kernels and of the page. No Jupyter import."""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import shutil
import sys
from importlib import metadata
from typing import Any

EXTENSIONS = {
    "jupyterlab": True,
    "kaosd_hosted.documents": True,
    "kaosd_hosted.execution": True,
    "notebook_shim": False,  # settings of the classic notebook, of which there are none here
}
_FLUSH = 3600  # seconds without a change after which the history of a shared document is folded into one update


def server(host: dict[str, Any], path: str, token: str) -> dict[str, Any]:
    """Settings of the server by class, for traitlets. *path*: of host.json."""
    return {
        "Application": {"log_level": "INFO", "log_format": "%(levelname)1.1s %(name)s %(message)s"},
        "ServerApp": _server(host, path),
        "IdentityProvider": {"token": token},
        "FileContentsManager": {"delete_to_trash": False},
        "FileCheckpoints": {"checkpoint_dir": host["checkpoints"]},
        "MappingKernelManager": {"cull_idle_timeout": 0},
        "KernelSpecManager": {"ensure_native_kernel": False},
        "LabApp": {
            "extension_manager": "readonly",  # environments are built from requirements and shared
            "news_url": None,
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            **({"user_settings_dir": host["lab_settings"]} if host.get("lab_settings") else {}),
            "extra_labextensions_path": [os.path.join(os.path.dirname(os.path.abspath(__file__)), "page")],
        },
        **_extensions(host),
    }


def _server(host: dict[str, Any], path: str) -> dict[str, Any]:
    return {
        "base_url": host["base_url"],
        "root_dir": host["root_dir"],
        **_listen(host),
        "open_browser": False,
        "quit_button": False,
        "answer_yes": True,
        "allow_root": True,
        # The front has checked the Host that the browser sent; in a pod the token alone opens, as it does there.
        "allow_remote_access": True,
        "local_hostnames": sorted({"localhost", *(origin.rsplit(":", 1)[0] for origin in host["origins"])}),
        "trust_xheaders": True,
        "cookie_secret_file": os.path.join(host["jupyter"], "data", "cookie_secret"),
        # No login shell: the profile of many systems sets PATH anew, and the environment would be lost.
        "terminado_settings": {"shell_command": [*starter(host, path), os.environ.get("SHELL") or "sh"]},
    }


def _listen(host: dict[str, Any]) -> dict[str, Any]:
    """Where the server listens: at the Unix socket, or in a pod at its port and no other."""
    if "listen" not in host:
        return {"sock": host["socket"], "sock_mode": "0600"}
    ip, _, port = host["listen"].rpartition(":")
    return {"ip": ip, "port": int(port), "port_retries": 0}


def extensions(host: dict[str, Any]) -> dict[str, bool]:
    """Server extensions besides those that the environment enables by itself."""
    return {**EXTENSIONS, **({"kaosd_hosted.podfiles": True} if "listen" in host else {})}


def _extensions(host: dict[str, Any]) -> dict[str, Any]:
    """What keeps the server's extensions from writing into the notebook root and the person's home."""
    data, runtime = (os.path.join(host["jupyter"], name) for name in ("data", "runtime"))
    return {
        "LanguageServerManager": {
            "virtual_documents_dir": os.path.join(runtime, "virtual_documents"),
            "node_roots": [host["root_dir"]],  # else npm is asked, which takes a while and writes into the home
        },
        "YDocExtension": {"session_store_path": os.path.join(data, "collaboration_sessions.json")},
        "SQLiteYStore": {
            # Another version may read an older history as another text.
            "db_path": os.path.join(data, f"shared_documents-{_version('jupyter_server_ydoc')}.db"),
            "squash_after_inactivity_of": _FLUSH,
        },
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def write_files(host: dict[str, Any], path: str) -> None:
    """Write what Jupyter reads from files: the kernel and its pictures, the IPython profile, defaults of the page."""
    overrides = {
        "@jupyterlab/docmanager-extension:plugin": {"autosaveInterval": 5},
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    }
    files = {
        "data/kernels/python3/kernel.json": {
            "argv": [*starter(host, path), "python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "metadata": {"debugger": True},
        },
        "ipython/profile_default/ipython_kernel_config.json": {
            "InteractiveShellApp": {"extensions": ["autoreload"], "exec_lines": ["%autoreload 2", _run_in_kernel()]}
        },
        "config/labconfig/default_setting_overrides.json": overrides,
        "config/labconfig/page_config.json": {
            "disabledExtensions": {
                "@jupyterlab/apputils-extension:announcements": True,
                "@jupyterlab/hub-extension:connectionlost": True,  # a dialog; the page of the desk has a notice
            }
        },
    }
    for name, content in files.items():
        with open(_free(os.path.join(host["jupyter"], name)), "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
    for picture in _pictures():
        kernel = os.path.join(host["jupyter"], "data/kernels/python3")
        shutil.copyfile(picture, _free(os.path.join(kernel, os.path.basename(picture))))


def _free(target: str) -> str:
    """The path of a file that can be written, its directory made; what else stands there is removed."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(target) and not os.path.islink(target):
        shutil.rmtree(target)
    elif os.path.lexists(target) and not os.path.isfile(target):
        os.unlink(target)
    return target


def _pictures() -> list[str]:
    """The pictures of the Python kernel that ipykernel brings; none where it brings none."""
    found = importlib.util.find_spec("ipykernel")
    places = (found.submodule_search_locations or []) if found else []
    return [one for place in places for one in glob.glob(os.path.join(glob.escape(place), "resources", "logo-*"))]


def _run_in_kernel() -> str:
    """A line that runs `subprocesses` and leaves no name behind."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "subprocesses.py")
    return f"__import__('runpy').run_path({path!r}, run_name='kaosd_subprocesses');"


def starter(host: dict[str, Any], path: str) -> list[str]:
    """The command that starts a program in the environment of the moment."""
    here = os.path.dirname(os.path.abspath(__file__))
    return [host.get("python") or sys.executable, "-I", "-S", os.path.join(here, "start.py"), os.path.abspath(path)]
