"""The environment variables that builds and hosts get: allow-lists, so that nothing of the daemon leaks.

Functions of the daemon's own environment, which look at nothing but the directories of its PATH and pip's files. A
notebook is the person's own, but credentials that happened to be in the daemon's environment (cloud keys, an ssh agent)
reach it only when the person names them in `pass_environment`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from kaosd.engines.process import pip_settings

_PERSON = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LC_*", "XDG_*")
_NETWORK = (
    *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NIX_SSL_CERT_FILE"),
)
_INDEX = (
    *("UV_INDEX", "UV_INDEX_*", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"),
    *("UV_KEYRING_PROVIDER", "UV_INSECURE_HOST", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "UV_OFFLINE", "UV_CONFIG_FILE"),
    *("UV_CACHE_DIR", "UV_LINK_MODE", "UV_HTTP_*", "UV_CONCURRENT_*", "UV_EXCLUDE_NEWER", "NETRC"),
    *("UV_PRERELEASE", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_INDEX_STRATEGY", "UV_PYTHON_INSTALL_DIR", "PYENV_ROOT"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"),
)
_COMPUTING = ("LD_LIBRARY_PATH", "CUDA_*", "NVIDIA_*", "OMP_*", "MKL_*", "OPENBLAS_*", "NUMEXPR_*", "HF_HOME")
_NEVER = (
    *("KAOSD_*", "NOTIFY_SOCKET", "WATCHDOG_*", "LISTEN_*", "FDSTORE", "MAINPID", "MANAGERPID", "INVOCATION_ID"),
    *("JOURNAL_STREAM", "CREDENTIALS_DIRECTORY", "MEMORY_PRESSURE_*", "SYSTEMD_EXEC_PID", "CUDA_VISIBLE_DEVICES"),
    *("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY", "CONFIGURATION_DIRECTORY"),
    *("KAOS_*", "JUPYTER_*", "JPY_*", "IPYTHON*"),
    # what says to Python, pip and uv where packages are and where new ones go
    *("VIRTUAL_ENV", "VIRTUAL_ENV_*", "CONDA_*", "_CONDA_*", "PYENV_VERSION", "PYENV_VIRTUAL_ENV", "PIPENV_ACTIVE"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "__PYVENV_LAUNCHER__"),
    *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON", "PIP_BREAK_SYSTEM_PACKAGES"),
    *("UV_TARGET", "UV_PREFIX", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_BREAK_SYSTEM_PACKAGES", "UV_PROJECT_ENVIRONMENT"),
)
_SYSTEM = (Path("/"), Path("/usr"), Path("/usr/local"))


def build_variables(own: Mapping[str, str]) -> dict[str, str]:
    """What uv and the build backends that it runs get out of the daemon's *own* environment."""
    kept = _only(own, (*_PERSON, *_NETWORK, *_INDEX))
    return {**pip_settings.for_uv(own), **kept}


def host_variables(own: Mapping[str, str], passed: tuple[str, ...]) -> dict[str, str]:
    """What a host gets out of the daemon's *own* environment: the allow-list and the patterns *passed* besides."""
    kept = _only(own, (*_PERSON, *_NETWORK, *_COMPUTING, *passed))
    return {**kept, "PATH": outside_environments(own.get("PATH", ""))}


def outside_environments(path: str) -> str:
    """*path* without directories of Python environments, the daemon's first of all, and without relative ones.

    A `pip` that a notebook found there would install into that environment. The system's when nothing is left.
    """
    kept = [entry for entry in path.split(os.pathsep) if os.path.isabs(entry) and not _in_environment(Path(entry))]
    return os.pathsep.join(kept) or os.defpath


def _in_environment(directory: Path) -> bool:
    """Whether a directory lies in a virtual or conda environment, or holds the programs of our own Python.

    That of the system is not an environment, even if it is our own.
    """
    real = directory.resolve()
    for above in (real, *real.parents):
        if (above / "pyvenv.cfg").exists() or (above / "conda-meta").is_dir():
            return True
    own = Path(sys.prefix).resolve()
    return real == own / "bin" and own not in _SYSTEM


def _only(own: Mapping[str, str], patterns: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in own.items() if _matches(name, patterns) and not _matches(name, _NEVER)}


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
