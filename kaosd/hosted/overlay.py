"""The notebook's own environment, in front of the one that it shares: packages installed by hand go there.

`<own>/python3.11` is a link to a virtual environment that holds no package at first. A .pth file adds the packages of
the shared environment behind its own: of the one that KAOS_ENVIRONMENT names, so that a kernel and all that it starts
stay with one environment when the notebook is given another; without that variable, of the newest. Its
`scripts/` holds the programs of shared environments, started by this Python. So pip, uv and
whatever else asks Python or VIRTUAL_ENV where packages go find the notebook's own directory, and no program on PATH
belongs to the shared environment. `<own>/tools` is for programs that kaosd adds.

A package stays when the shared environment changes, unless the new one brings another version of it than the old one
did: then a copy without it (by hard links) takes its place, while running kernels keep theirs. Each version of Python
has an environment of its own, because packages for one do not run in another.

Standard library only, and quick to import: `start.py` uses it as well as the daemon.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from io import BufferedWriter

VARIABLE = "KAOS_ENVIRONMENT"
_OURS = {  # among the packages: what adds those of the shared environment
    "kaosd-environment.pth": b"import _kaosd_environment\n",
    "_kaosd_environment.py": b'''"""Adds the packages of the environment that this one lies in front of."""

import os
import site
import sys

for _environment in (os.environ.get("KAOS_ENVIRONMENT"), os.path.realpath(os.path.join(sys.prefix, "environment"))):
    _lib = os.path.basename(os.path.dirname(os.path.dirname(__file__)))
    _directory = os.path.join(_environment or "-", "lib", _lib, "site-packages")
    if os.path.isdir(_directory):
        site.addsitedir(_directory)
        break
''',
}
_INFO = ".dist-info"
_NOT_PROGRAMS = ("activate", "deactivate", "python", "pydoc.bat")
_STAMP = ".of"  # in a directory of scripts
_SHEBANG_MAX = 127  # bytes that every Linux takes


def ready(own: str, environment: str) -> tuple[str, str]:
    """The notebook's own environment in front of *environment*, and the directory of its programs; made if absent.

    Raises OSError.
    """
    if not os.path.exists(python := os.path.join(environment, "bin", "python")):
        raise FileNotFoundError(f"{python} is missing")
    version = python_of(environment)
    prefix = os.path.realpath(os.path.join(own, version))
    if not (_is_whole(prefix, version, environment) and _has_scripts(prefix, environment)):
        with _locked(own):
            prefix = _made(own, version, environment)
            if not _has_scripts(prefix, environment):
                _fill_scripts(prefix, environment)
    return prefix, _scripts(prefix, environment)


def settle(own: str, environment: str, tools: Mapping[str, str]) -> list[str]:
    """Let the notebook's own environment follow the shared one; the names of packages that it gave up for it.

    *environment*: the one that kernels start from next. tools: programs to offer, path by name. Raises OSError.
    """
    ready(own, environment)
    version = python_of(environment)
    with _locked(own):
        for name, path in tools.items():
            _link(path, os.path.join(own, "tools", name))
        prefix = os.path.realpath(os.path.join(own, version))
        before = os.path.join(prefix, "environment")
        known = versions(before) if os.path.isdir(before) else None
        gone = superseded(versions(prefix), known, versions(environment))
        if gone and os.path.realpath(before) != os.path.realpath(environment):
            prefix = _copy_without(own, prefix, version, gone)
            _fill_scripts(prefix, environment)
        else:
            gone = []
        _link(environment, os.path.join(prefix, "environment"))
    return gone


def superseded(by_hand: Mapping[str, str], before: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    """The packages installed by hand that the shared environment brings in another version than it did *before*.

    All are versions by name. before: None when that is not known.
    """
    return sorted(name for name in by_hand if name in now and (before is None or before.get(name) != now[name]))


def installed_by_hand(own: str, environment: str) -> list[dict[str, str | bool]]:
    """What was installed by hand and is used with *environment*: name, version, requested (else it came with another).

    Sorted by name; empty when nothing was.
    """
    prefix = os.path.join(own, python_of(environment))
    found: list[dict[str, str | bool]] = [
        {"name": name, "version": version, "requested": os.path.exists(os.path.join(info, "REQUESTED"))}
        for name, version, info in _distributions(prefix)
    ]
    return sorted(found, key=lambda one: str(one["name"]))


def of_other_pythons(own: str, environment: str) -> dict[str, list[str]]:
    """What was installed by hand for other versions of Python: "name version" by such a version ("3.10")."""
    now = python_of(environment)
    found = {}
    for name in sorted(_listed(own)):
        if name.startswith("python") and name != now and os.path.islink(os.path.join(own, name)):
            packages = sorted(f"{one} {version}" for one, version, _ in _distributions(os.path.join(own, name)))
            if packages:
                found[name.removeprefix("python")] = packages
    return found


def versions(environment: str) -> dict[str, str]:
    """The versions of an environment's packages by their normalized names."""
    return {name: version for name, version, _ in _distributions(environment)}


def python_of(environment: str) -> str:
    """The name of the directory of an environment's packages: "python3.11". Raises OSError when there is none."""
    lib = os.path.join(environment, "lib")
    for name in sorted(os.listdir(lib)):
        if name.startswith("python3"):
            return name
    raise FileNotFoundError(f"{lib} holds no packages of a Python")


def path(own: str, prefix: str, scripts: str, rest: str) -> str:
    """PATH for a program of the notebook: its own environment, tools, then *rest*."""
    inside = _without_separator(prefix)
    entries = [os.path.join(inside, part) for part in ("bin", os.path.relpath(scripts, prefix))]
    return os.pathsep.join([*entries, os.path.join(_without_separator(own), "tools"), rest])


# -- parts -------------------------------------------------------------------------------------------------


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _site_packages(prefix: str) -> str:
    try:
        return os.path.join(prefix, "lib", python_of(prefix), "site-packages")
    except FileNotFoundError:
        return os.path.join(prefix, "lib", "none")


def _distributions(prefix: str) -> Iterator[tuple[str, str, str]]:
    """Normalized name, version and the directory that describes it, of each installed package."""
    directory = _site_packages(prefix)
    for entry in _listed(directory):
        if entry.endswith(_INFO):
            name, _, version = entry.removesuffix(_INFO).rpartition("-")
            normal = "-".join(part for part in name.lower().replace("_", "-").replace(".", "-").split("-") if part)
            yield normal, version, os.path.join(directory, entry)


def _is_whole(prefix: str, version: str, environment: str) -> bool:
    """Whether *prefix* is an environment with the interpreter of *environment*."""
    site_packages = os.path.join(prefix, "lib", version, "site-packages")
    try:
        return (
            os.readlink(os.path.join(prefix, "bin", "python")) == _interpreter(environment)
            and _read(os.path.join(prefix, "pyvenv.cfg")) == _read(os.path.join(environment, "pyvenv.cfg"))
            and all(_read(os.path.join(site_packages, name)) == content for name, content in _OURS.items())
        )
    except OSError:
        return False


def _interpreter(environment: str) -> str:
    python = os.path.join(environment, "bin", "python")
    return os.readlink(python) if os.path.islink(python) else python


def _made(own: str, version: str, environment: str) -> str:
    """Make the environment of *version*, or what is missing of it; its path."""
    prefix = os.path.realpath(os.path.join(own, version))
    if not os.path.isdir(prefix) or os.path.islink(prefix):
        prefix = _next(own, version)
    site_packages = os.path.join(prefix, "lib", version, "site-packages")
    for directory in (site_packages, os.path.join(prefix, "bin")):
        os.makedirs(directory, exist_ok=True)
    if os.path.islink(os.path.join(environment, "lib64")):
        _link("lib", os.path.join(prefix, "lib64"))
    for name in ("python", "python3", version):
        _link(_interpreter(environment) if name == "python" else "python", os.path.join(prefix, "bin", name))
    _write(os.path.join(prefix, "pyvenv.cfg"), _read(os.path.join(environment, "pyvenv.cfg")))
    for name, content in _OURS.items():
        _write(os.path.join(site_packages, name), content)
    if not os.path.islink(os.path.join(prefix, "environment")):
        _link(environment, os.path.join(prefix, "environment"))
    _link(os.path.basename(prefix), os.path.join(own, version))
    return prefix


def _next(own: str, version: str) -> str:
    """A path for another environment of *version*."""
    numbers = [name.removeprefix(f"{version}-") for name in _listed(own) if name.startswith(f"{version}-")]
    return os.path.join(own, f"{version}-{1 + max((int(one) for one in numbers if one.isdigit()), default=0)}")


def _copy_without(own: str, prefix: str, version: str, names: list[str]) -> str:
    """Let a copy of *prefix* without these packages take its place; its path. Nothing is written through a link."""
    import shutil  # noqa: PLC0415 - as csv

    copy = _next(own, version)
    left_out = {os.path.join(prefix, "scripts"), os.path.join(prefix, "environment")}
    for name, _, info in _distributions(prefix):
        if name in names:
            left_out |= {info, *_files(info)}
    draft = f"{copy}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    for directory, inner, files in os.walk(prefix):
        inner[:] = [one for one in inner if os.path.join(directory, one) not in left_out]
        target = os.path.join(draft, os.path.relpath(directory, prefix))
        os.makedirs(target, exist_ok=True)
        links = [one for one in inner if os.path.islink(os.path.join(directory, one))]
        for name in [*files, *links]:
            source = os.path.join(directory, name)
            if source not in left_out:
                os.link(source, os.path.join(target, name), follow_symlinks=False)
    _relocate(os.path.join(draft, "bin"), prefix, copy)
    os.rename(draft, copy)
    _link(os.path.basename(copy), os.path.join(own, version))
    return copy


def _files(info: str) -> Iterator[str]:
    """The paths of a package's files, as its RECORD names them."""
    import csv  # noqa: PLC0415 - only a swap needs it

    try:
        with open(os.path.join(info, "RECORD"), newline="", encoding="utf-8") as rows:
            for row in csv.reader(rows):
                if row:
                    yield os.path.normpath(os.path.join(os.path.dirname(info), row[0]))
    except FileNotFoundError:
        return


def _relocate(directory: str, old: str, new: str) -> None:
    """Give scripts that name *old* a copy of their own which names *new*."""
    for name in os.listdir(directory):
        script = os.path.join(directory, name)
        if not os.path.islink(script):
            content = _read(script)
            if os.fsencode(f"{old}/") in content:
                _write(script, content.replace(os.fsencode(f"{old}/"), os.fsencode(f"{new}/")), 0o755)


def _scripts(prefix: str, environment: str) -> str:
    """The directory of the programs of *environment*; `_fill_scripts` makes it."""
    return os.path.join(prefix, "scripts", os.path.basename(environment)[:8])


def _stamp(environment: str) -> bytes:
    """Of which programs a directory of scripts is made."""
    return os.fsencode(f"{environment}\n{os.stat(os.path.join(environment, 'bin')).st_mtime_ns}")


def _has_scripts(prefix: str, environment: str) -> bool:
    """Whether the programs of *environment* are there as they are now."""
    try:
        return _read(os.path.join(_scripts(prefix, environment), _STAMP)) == _stamp(environment)
    except FileNotFoundError:
        return False


def _fill_scripts(prefix: str, environment: str) -> None:
    """Make the directory of programs; those of environments that are gone go."""
    import shutil  # noqa: PLC0415 - as csv

    made, parent = _scripts(prefix, environment), os.path.join(prefix, "scripts")
    draft = os.path.join(parent, ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    os.makedirs(draft)
    for name in os.listdir(os.path.join(environment, "bin")):
        if not name.startswith(_NOT_PROGRAMS):
            _program(os.path.join(environment, "bin", name), os.path.join(draft, name), prefix, environment)
    _write(os.path.join(draft, _STAMP), _stamp(environment))
    for directory in (os.path.join(parent, name) for name in os.listdir(parent)):
        if directory == made or (directory != draft and not _is_used(directory)):
            shutil.rmtree(directory, ignore_errors=True)
    os.rename(draft, made)


def _is_used(scripts: str) -> bool:
    """Whether the environment that a directory of programs is for is still there."""
    try:
        return os.path.isdir(_read(os.path.join(scripts, _STAMP)).partition(b"\n")[0])
    except FileNotFoundError:
        return False


def _program(source: str, target: str, prefix: str, environment: str) -> None:
    """A program of *environment*: a script that its Python runs becomes one of our Python, the others a link."""
    body = None
    if os.path.isfile(source):
        with open(source, "rb") as file:
            if file.read(2) == b"#!":
                file.seek(0)
                body = body_of(file.read(), environment)
    if body is None:
        os.symlink(source, target)
    else:
        _write(target, header(os.path.join(prefix, "bin", "python")) + body, 0o755)


def body_of(script: bytes, environment: str) -> bytes | None:
    """A script without the lines that start the Python of *environment*; None when it starts with something else."""
    python = os.fsencode(os.path.join(environment, "bin", "python"))
    first, _, rest = script.partition(b"\n")
    if first.startswith(b"#!") and python in first:
        return rest
    second, _, rest = rest.partition(b"\n")
    if second.startswith(b"'''exec'") and b"/bin/python" in second:  # however its path is quoted
        return rest.partition(b"\n")[2]
    return None


def header(python: str) -> bytes:
    """The first lines of a script that *python* runs; by way of a shell where the kernel would not take its path."""
    plain = os.fsencode(f"#!{python}\n")
    if len(plain) <= _SHEBANG_MAX and not any(byte in plain.rstrip(b"\n") for byte in b" \t\"'$`\\"):
        return plain
    import shlex  # noqa: PLC0415 - as csv

    return b"#!/bin/sh\n'''exec' " + os.fsencode(shlex.quote(python)) + b" \"$0\" \"$@\"\n' '''\n"


def _without_separator(directory: str) -> str:
    """A path of *directory* that can stand in PATH: through a link where its own holds a colon."""
    if os.pathsep not in directory:
        return directory
    import hashlib  # noqa: PLC0415 - as csv

    private = os.path.join("/tmp", f"kaosd-{os.getuid()}")  # noqa: S108 - it is checked
    os.makedirs(private, mode=0o700, exist_ok=True)
    found = os.lstat(private)
    if found.st_uid != os.getuid() or found.st_mode & 0o170077 != 0o040000:
        raise PermissionError(f"{private} is not a private directory of user id {os.getuid()}; remove it")
    link = os.path.join(private, hashlib.sha256(os.fsencode(directory)).hexdigest()[:32])
    _link(directory, link)
    return link


def _link(target: str, link: str) -> None:
    """Let *link* lead to *target*, atomically."""
    if os.path.islink(link) and os.readlink(link) == target:
        return
    os.makedirs(os.path.dirname(link), exist_ok=True)
    draft = f"{link}.{os.getpid()}.new"
    if os.path.lexists(draft):
        os.unlink(draft)
    os.symlink(target, draft)
    os.replace(draft, link)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, content: bytes, mode: int = 0o644) -> None:
    """Put a file in the place of *path*, atomically and never through a link."""
    draft = f"{path}.{os.getpid()}.new"
    with open(draft, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    os.replace(draft, path)


def _locked(own: str) -> BufferedWriter:
    """Hold the lock of *own*, which is made if absent, until what this returns is closed."""
    import fcntl  # noqa: PLC0415 - as csv

    os.makedirs(own, mode=0o700, exist_ok=True)
    file = open(os.path.join(own, ".lock"), "ab")  # noqa: SIM115 - the caller closes it
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
