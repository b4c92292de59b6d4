"""Which installed packages serve JupyterLab, as one digest.

Two environments with the same digest differ only in what kernels use, so a running server need not be replaced when
one follows the other. Read from the metadata of the environment's site-packages, without starting its Python.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

ROOTS = ("jupyterlab", "jupyter-collaboration")
_EXTENSION = "etc/jupyter/jupyter_server_config.d/"
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?([^;]*)(?:;(.*))?")
_FIELD = re.compile(r"^(Name|Version|Requires-Dist): *(.*?)\r?$", re.MULTILINE)


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
    python = _python_version(environment)
    lines = [f"python {python}"]
    lines += [f"{package.name} {package.version}" for package in serving(installed(environment), of_python(python))]
    return blake3("\n".join(lines).encode()).hexdigest()


def of_python(version: str) -> dict[str, str]:
    """What markers are evaluated with: this machine, and Python *version* (all three numbers)."""
    from packaging.markers import default_environment  # noqa: PLC0415 - only builds need it, the daemon's start does not

    own = {name: str(value) for name, value in default_environment().items()}
    return (
        {**own, "python_full_version": version, "python_version": ".".join(version.split(".")[:2])} if version else own
    )


def serving(packages: Iterable[Package], markers: Mapping[str, str]) -> list[Package]:
    """The closure of what serves: JupyterLab, collaboration, every package with a server extension; by name.

    markers: the environment that requirements are for; what is needed only in another one does not count.
    """
    by_name = {package.name: package for package in packages}
    roots = [name for name, package in by_name.items() if package.serves or name in ROOTS]
    queue: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in roots]
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        item = queue.pop()
        if item in seen:
            continue
        seen.add(item)
        queue.extend(_needed(by_name[item[0]], item[1], by_name.keys(), markers))
    return [by_name[name] for name in sorted({name for name, _ in seen})]


def _needed(
    package: Package, extras: frozenset[str], there: Collection[str], markers: Mapping[str, str]
) -> list[tuple[str, frozenset[str]]]:
    """Names and extras of what is *there* and *package* requires when it is asked for with *extras*."""
    found = []
    for text in package.requires:
        match = _REQUIREMENT.match(text)
        if match is None or normalize(match[1]) not in there:
            continue
        if not match[4] or _holds(match[4].strip(), extras, markers):
            wanted = frozenset(normalize(extra.strip()) for extra in (match[2] or "").split(",") if extra.strip())
            found.append((normalize(match[1]), wanted))
    return found


def _holds(marker: str, extras: frozenset[str], markers: Mapping[str, str]) -> bool:
    """Whether a marker is true with one of *extras*, or without any; one that cannot be read is."""
    from packaging.markers import InvalidMarker, Marker, UndefinedComparison  # noqa: PLC0415 - as above

    try:
        parsed = Marker(marker)
        return any(parsed.evaluate({**markers, "extra": extra}) for extra in {"", *extras})
    except (InvalidMarker, UndefinedComparison):
        return True


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
