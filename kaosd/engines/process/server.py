"""Which installed packages serve JupyterLab, as one digest.

Two environments with the same digest differ only in what kernels use, so a running server need not be replaced when
one follows the other. Read from the metadata of the environment's site-packages, without starting its Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

ROOTS = ("jupyterlab", "jupyter-collaboration")
_EXTENSION = "etc/jupyter/jupyter_server_config.d/"
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?([^;]*)(?:;(.*))?")
_FIELD = re.compile(r"^(Name|Version|Requires-Dist): *(.*?)\r?$", re.MULTILINE)
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


@dataclass(frozen=True, slots=True)
class Package:
    """One installed distribution: normalized name, version, its requirements and whether it extends the server."""

    name: str
    version: str
    requires: tuple[str, ...]
    serves: bool


def normalize(name: str) -> str:
    """The one spelling of a package's name: lower case, single dashes."""
    return re.sub(r"[-_.]+", "-", name).lower()


def server_digest(environment: Path) -> str:
    """Digest (64 hexadecimal digits) of Python's version and of all packages that serve JupyterLab."""
    lines = [f"python {_python_version(environment)}"]
    lines += [f"{package.name} {package.version}" for package in serving(installed(environment))]
    return blake3("\n".join(lines).encode()).hexdigest()


def serving(packages: Iterable[Package]) -> list[Package]:
    """The closure of what serves: JupyterLab, collaboration, every package with a server extension; by name.

    Markers other than extras are not evaluated: an installed package that is needed only elsewhere counts too,
    which at worst replaces a server that could have stayed.
    """
    by_name = {package.name: package for package in packages}
    roots = [name for name, package in by_name.items() if package.serves or name in ROOTS]
    queue: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in roots]
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        item = queue.pop()
        if item in seen or item[0] not in by_name:
            continue
        seen.add(item)
        queue.extend(_needed(by_name[item[0]], item[1]))
    return [by_name[name] for name in sorted({name for name, _ in seen})]


def _needed(package: Package, extras: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
    """Names and extras that *package* requires when it is asked for with *extras*."""
    found = []
    for text in package.requires:
        match = _REQUIREMENT.match(text)
        if match is None:
            continue
        only_with = {normalize(extra) for extra in _EXTRA.findall(match[4] or "")}
        if not only_with or only_with & extras:
            wanted = frozenset(normalize(extra.strip()) for extra in (match[2] or "").split(",") if extra.strip())
            found.append((normalize(match[1]), wanted))
    return found


def installed(environment: Path) -> list[Package]:
    """The packages of an environment; raises OSError when one cannot be read."""
    return [
        _package(path.parent) for path in sorted(environment.glob("lib/python3*/site-packages/*.dist-info/METADATA"))
    ]


def _package(info: Path) -> Package:
    """Read from METADATA and RECORD directly: a fifth of the time that importlib.metadata takes for a hundred."""
    head = (info / "METADATA").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    fields = _FIELD.findall(re.sub(r"\r?\n[ \t]+", " ", head))
    values = dict(fields)
    requires = tuple(value for key, value in fields if key == "Requires-Dist")
    record = info / "RECORD"
    serves = record.exists() and _EXTENSION.encode() in record.read_bytes()
    name, version = info.name.removesuffix(".dist-info").rsplit("-", 1)
    return Package(normalize(values.get("Name", name)), values.get("Version", version), requires, serves)


def _python_version(environment: Path) -> str:
    """The version in pyvenv.cfg, which uv writes as version_info."""
    match = re.search(r"^version_info\s*=\s*(\S+)", (environment / "pyvenv.cfg").read_text(), re.MULTILINE)
    return match[1] if match else ""
