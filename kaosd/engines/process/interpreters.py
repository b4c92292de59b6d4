"""Which Python an environment gets: the one that its files ask for, found on this machine or fetched if allowed.

Below the lowest version that a host can run with, that is said before anything is built.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Protocol

from kaosd import proc
from kaosd.declared import PythonWanted
from kaosd.declared.pythons import LOWEST_LAB, LOWEST_PYTHON
from kaosd.errors import BuildFailed, EngineUnavailable

_ASK = "import platform; print(platform.python_version())"


class Uv(Protocol):
    """Runs uv with these arguments and more variables."""

    async def __call__(self, *arguments: str, variables: Mapping[str, str]) -> proc.Finished:
        """The finished run."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """An interpreter. says: what the log says of the choice, "" for nothing."""

    path: str
    says: str = ""


async def choose(
    uv: Uv, own: str, wanted: PythonWanted | None, variables: Mapping[str, str], downloads: bool
) -> Chosen:
    """The interpreter for an environment. own: the one to take where nothing else is asked for. Raises BuildFailed."""
    if wanted is None or wanted.is_other_language:
        return Chosen(own)
    place = wanted.place
    if not wanted.request:
        raise BuildFailed(f"{place}: {wanted.text[:60]!r} names no Python", hint="write for example python-3.11")
    if _fits(await _version(own), wanted.request):
        return Chosen(own)
    found = await _find(uv, wanted.request, variables)
    if found is None and downloads:
        fetched = await uv("python", "install", wanted.request, variables={})
        if fetched.code != 0:
            raise EngineUnavailable(f"{place}: uv cannot fetch Python {wanted.request}: {_last(fetched.output)}")
        found = await _find(uv, wanted.request, variables)
    if found is None:
        there = await _installed(uv, variables)
        raise BuildFailed(
            f"{place}: there is no Python {wanted.request} on this machine (there is {', '.join(there) or 'none'})",
            hint="install it, for example `uv python install`, let kaosd fetch it (python_downloads = true), "
            "or ask for another one",
        )
    version = await check_python(found, place)
    return Chosen(found, f"Python {version}, as {place} asks for: {found}")


async def check_python(python: str, place: str) -> str:
    """The version of an interpreter. BuildFailed when it is too old; *place*: what asks for it."""
    version = await _version(python)
    if tuple(int(part) for part in version.split(".")[:2]) < LOWEST_PYTHON:
        lowest = ".".join(map(str, LOWEST_PYTHON))
        raise BuildFailed(
            f"{place} asks for Python {version}, and a notebook can be hosted from Python {lowest} on",
            hint=f"ask for a newer one, for example Python {lowest}",
        )
    return version


def _fits(version: str, request: str) -> bool:
    """Whether Python *version* is what is asked for: "3", "3.10", "3.10.4" or ">=3.9,<3.12"."""
    if re.fullmatch(r"[0-9.]+", request):
        return (version + ".").startswith(request.rstrip(".") + ".")
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415 - only builds need it, the daemon's start does not
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415 - as above

    try:
        return Version(version) in SpecifierSet(request)
    except (InvalidSpecifier, InvalidVersion):
        return False


async def _version(python: str) -> str:
    if python == sys.executable:
        return platform.python_version()
    try:
        finished = await proc.run([python, "-I", "-c", _ASK], cwd=Path("/"), env={})
    except OSError as error:
        raise EngineUnavailable(f"{python} cannot be started: {error}") from error
    if finished.code != 0:
        raise EngineUnavailable(f"{python} does not run: {_last(finished.output)}")
    return finished.output.strip()


async def _find(uv: Uv, request: str, variables: Mapping[str, str]) -> str | None:
    found = await uv("python", "find", "--system", "--no-config", request, variables=_searched(variables))
    return found.output.strip().rpartition("\n")[2] if found.code == 0 else None


async def _installed(uv: Uv, variables: Mapping[str, str]) -> list[str]:
    """The versions that are there, oldest first."""
    from packaging.version import Version  # noqa: PLC0415 - as above

    listed = await uv("python", "list", "--only-installed", "--no-config", variables=_searched(variables))
    found = set(re.findall(r"^cpython-([0-9]+\.[0-9]+\.[0-9]+)-", listed.output, re.MULTILINE))
    return [str(version) for version in sorted(map(Version, found))]


def _searched(variables: Mapping[str, str]) -> dict[str, str]:
    """PATH with the Pythons of pyenv, which are not on it unless one is chosen."""
    home = variables.get("PYENV_ROOT") or os.path.join(variables.get("HOME", "/nonexistent"), ".pyenv")
    return {"PATH": os.pathsep.join([variables.get("PATH", os.defpath), *sorted(glob(f"{home}/versions/*/bin"))])}


def check_server(versions: Mapping[str, str], file: str) -> None:
    """BuildFailed when an environment would hold a JupyterLab that is too old to be hosted. versions: by package."""
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415 - as above

    found = versions.get("jupyterlab", LOWEST_LAB)
    try:
        too_old = Version(found) < Version(LOWEST_LAB)
    except InvalidVersion:
        return
    if too_old:
        raise BuildFailed(
            f"{file or 'the environment'} asks for JupyterLab {found}, and a notebook can be hosted from "
            f"JupyterLab {LOWEST_LAB} on",
            hint=f"ask for jupyterlab>={LOWEST_LAB}, or for none: kaosd adds it",
        )


def _last(output: str) -> str:
    return next((line.strip() for line in reversed(output.split("\n")) if line.strip()), "it says nothing")
