"""The Dockerfile of a repository that has none, made from what its files declare. Pure.

The order is that of repo2docker: the packages of apt.txt, the environment, the code, postBuild. start is run before
JupyterLab, and execs its arguments.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from kaosd.declared.choosing import DeclarationProblem, Declared, unused
from kaosd.declared.pythons import LOWEST_PYTHON, PythonWanted

ROOT = "/opt/program"  # where the notebook's root is in the image
START = "/opt/start"
START_LABEL = "kaosd.start"  # of an image: the program that is run before JupyterLab, with its command as arguments
USUAL = f"{sys.version_info.major}.{sys.version_info.minor}"
_NEWEST = 14  # the newest minor version that is chosen where a file allows several
_PATCHES = range(40, -1, -1)
_APT = re.compile(r"[a-z0-9][a-z0-9+.-]*(?::[a-z0-9-]+)?(?:=[A-Za-z0-9.+:~-]+|/[a-z0-9-]+)?[+-]?")
_PIP = "pip install --no-cache-dir"
_UV = "UV_PYTHON_DOWNLOADS=never uv"
_INTO = "pip install --system --break-system-packages --no-cache"
_COMMAND_MAX = 50_000  # characters of one instruction; the kernel takes 128 KiB as one argument


@dataclass(frozen=True, slots=True)
class ImageStep:
    """One instruction, and where what it does is asked for, for people."""

    origin: str
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """How an image is made. problem: why it cannot be; then there are no steps."""

    steps: tuple[ImageStep, ...] = ()
    problem: DeclarationProblem | None = None

    @property
    def text(self) -> str:
        """The Dockerfile."""
        return "".join(f"{step.text}\n" for step in self.steps)

    @property
    def origins(self) -> dict[int, str]:
        """The origin of each instruction by the line, from 1, at which it starts."""
        found, line = {}, 1
        for step in self.steps:
            found[line] = step.origin
            line += step.text.count("\n") + 1
        return found


class _Refused(Exception):
    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.problem = DeclarationProblem(text, hint)


def image(declared: Declared, usual: str = USUAL) -> Image:
    """The image of a repository without a Dockerfile. usual: the Python where nothing else is asked for."""
    if declared.problems:
        return Image(problem=declared.problems[0])
    try:
        _refuse(declared)
        made = Image(tuple(_steps(declared, usual)))
    except _Refused as refused:
        return Image(problem=refused.problem)
    return made


def made_from(declared: Declared) -> tuple[str, ...]:
    """The files that an image is made from."""
    own = (declared.file, declared.lock, declared.python.path if declared.python else None)
    return tuple(dict.fromkeys(path for path in (*own, *declared.scripts.paths) if path is not None))


def meaning(declared: Declared, engine: str, path: str) -> str:
    """What *engine* does with a file beside the environment file, or why nothing, as a clause; "" for other paths."""
    scripts = declared.scripts
    if engine == "docker" and declared.dockerfile is None:
        if path == posixpath.join(declared.folder if declared.root != declared.folder else "", "Dockerfile"):
            files = ", ".join(made_from(declared)) or "nothing but JupyterLab"
            return f"it is not there: the image is made from {files}; `kaosctl env NAME --dockerfile` prints how"
        if path == scripts.apt:
            return f"its packages are installed into the image: {', '.join(word for _, word in scripts.packages)}"
        if path == scripts.post_build:
            return "it is run at the end of the build of the image, in the notebook's root"
        if path == scripts.start:
            return "it is run before JupyterLab, whose command it gets as arguments and execs"
    found = next((one.text for one in unused(declared, engine) if one.path == path), "")
    return found.removeprefix(f"{path}: ").replace(f"{path} ", "it ", 1)


def _refuse(declared: Declared) -> None:
    """Raise what makes an image impossible."""
    own = "write a Dockerfile that installs it, or use --engine process"
    if declared.kind == "conda":
        raise _Refused(f"no image is made out of {declared.file}, which asks for packages of conda", own)
    if declared.converted is None:
        raise _Refused(f"{declared.file} cannot be read", "make it again: pipenv lock")
    inside = f"{declared.root}/" if declared.root else ""
    for path in (*declared.inputs, *(one.path for one in declared.projects), *declared.scripts.paths):
        if not f"{path}/".startswith(inside):
            text = f"{declared.file} refers to {path or 'the top of the source directory'}, and an image is made out of"
            raise _Refused(f"{text} {inside} alone", f"move it into {inside}, or use --engine process")
        if not path.isprintable() or "\\" in path:
            shown = ascii(path)
            raise _Refused(f"the name {shown} cannot be written into a Dockerfile", "rename the file")


def _steps(declared: Declared, usual: str) -> Iterator[ImageStep]:
    wanted, scripts = declared.python, declared.scripts
    python = _python(wanted, usual)
    yield ImageStep(wanted.place if wanted is not None else f"python:{python}", f"FROM python:{python}")
    if scripts.apt is not None:
        yield ImageStep(scripts.apt, _apt(scripts.apt, scripts.packages))
    yield ImageStep("", f"WORKDIR {ROOT}")
    environment = list(_environment(declared))
    code = ImageStep("the source directory", f"COPY . {ROOT}/")
    if declared.projects:  # they are part of the environment
        yield code
    elif environment:
        yield from (_copy(path, declared.root, f"{ROOT}/{_beside(path, declared.root)}") for path in declared.inputs)
    yield from environment
    if not declared.projects:
        yield code
    if scripts.post_build is not None:
        path = shlex.quote(f"./{_beside(scripts.post_build, declared.root)}")
        yield ImageStep(scripts.post_build, f"RUN chmod +x {path} && {path}")
    if scripts.start is not None:
        yield _copy(scripts.start, declared.root, START)
        yield ImageStep(scripts.start, f"RUN chmod 755 {START}")
        yield ImageStep(scripts.start, f"LABEL {START_LABEL}={START}")
        yield ImageStep(scripts.start, f'ENTRYPOINT ["/bin/sh", "-c", "exec {START} \\"$@\\"", "{START}"]')


def _python(wanted: PythonWanted | None, usual: str) -> str:
    """The tag of the base image."""
    if wanted is None or wanted.is_other_language:
        return usual
    if not wanted.request:
        raise _Refused(f"{wanted.place}: {wanted.text[:60]!r} names no Python", "write for example python-3.11")
    numbers = wanted.request.rstrip(".").split(".")
    if re.fullmatch(r"[0-9.]+", wanted.request):
        if f"{usual}.".startswith(f"{wanted.request.rstrip('.')}."):
            return usual
        if int(numbers[0]) > LOWEST_PYTHON[0] or tuple(map(int, numbers[:2])) >= LOWEST_PYTHON:
            return ".".join(numbers)
    else:
        with contextlib.suppress(LookupError):
            return _allowed(wanted.request, usual)
    lowest = ".".join(map(str, LOWEST_PYTHON))
    raise _Refused(
        f"{wanted.place} asks for Python {wanted.request[:60]}, and a notebook can be hosted from Python {lowest} on",
        f"ask for a newer one, for example Python {usual}",
    )


def _allowed(request: str, usual: str) -> str:
    """The version that is allowed: the usual one, else the newest minor version. LookupError without one."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415 - few repositories need it

    try:
        allowed = SpecifierSet(request)
    except InvalidSpecifier as error:
        raise LookupError from error
    minors = [f"3.{minor}" for minor in range(_NEWEST, LOWEST_PYTHON[1] - 1, -1)]
    for minor in (usual, *minors):
        if allowed.contains(f"{minor}.{_PATCHES[0]}"):  # the image of a minor version has its newest patch
            return minor
    exact = (f"{minor}.{patch}" for minor in (usual, *minors) for patch in _PATCHES)
    found = next((version for version in exact if allowed.contains(version)), None)
    if found is None:
        raise LookupError
    return found


def _apt(path: str, packages: tuple[tuple[int, str], ...]) -> str:
    for line, word in packages:
        if not _APT.fullmatch(word):
            raise _Refused(f"{path}:{line}: {word[:60]!a} names no package", "write one name of a package a line")
    names = " \\\n        ".join(word for _, word in packages)
    return (
        "RUN apt-get update \\\n"
        f"    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\\n        {names} \\\n"
        "    && rm -rf /var/lib/apt/lists/*"
    )


def _environment(declared: Declared) -> Iterator[ImageStep]:
    """What installs the environment file."""
    if declared.file is None:
        return
    file = declared.file
    directory = posixpath.relpath(posixpath.dirname(file) or ".", declared.root or ".")
    there = "" if directory == "." else f"cd {shlex.quote(directory)} && "
    if declared.kind == "requirements":
        yield ImageStep(file, f"RUN {_PIP} -r {shlex.quote(declared.beside)}")
    elif declared.kind == "pipfile":
        for part in _parts(declared.converted or ()):
            yield ImageStep(file, f"RUN printf '%s\\n' {part} >>/tmp/requirements.txt")
        if declared.converted:
            yield ImageStep(file, f"RUN {there}{_PIP} -r /tmp/requirements.txt")
    elif declared.kind == "setup":
        yield ImageStep(file, f"RUN {_PIP} {_projects(declared)}")
    elif declared.lock is not None:
        yield ImageStep(file, f"RUN {_PIP} uv")
        chosen = "".join(f" --extra {shlex.quote(one)}" for one in declared.choice.extras)
        chosen += "".join(f" --group {shlex.quote(one)}" for one in declared.choice.groups)
        export = f"{_UV} export --locked --quiet{chosen} --output-file /tmp/requirements.txt"
        yield ImageStep(declared.lock, f"RUN {there}{export} \\\n    && {_UV} {_INTO} -r /tmp/requirements.txt")
    else:
        yield ImageStep(file, f"RUN {_PIP} uv")
        chosen = "".join(f" --extra {shlex.quote(one)}" for one in declared.choice.extras)
        chosen += "".join(f" --group {shlex.quote(f'{declared.beside}:{one}')}" for one in declared.choice.groups)
        projects = f" {_projects(declared)}" if declared.projects else ""
        yield ImageStep(file, f"RUN {_UV} {_INTO} -r {shlex.quote(declared.beside)}{chosen}{projects}")


def _projects(declared: Declared) -> str:
    """The local projects as arguments of an installation; editable where their code is read in the notebook."""
    paths = [(f"./{_beside(one.path, declared.root)}", one.live) for one in declared.projects]
    return " ".join(f"{'-e ' if live else ''}{shlex.quote(path)}" for path, live in paths)


def _parts(lines: tuple[str, ...]) -> Iterator[str]:
    """*lines* as arguments of a shell, in pieces that are not too long for one."""
    part: list[str] = []
    for line in lines:
        if part and sum(map(len, part)) + len(line) > _COMMAND_MAX:
            yield " ".join(part)
            part = []
        part.append(shlex.quote(line))
    if part:
        yield " ".join(part)


def _copy(path: str, root: str, target: str) -> ImageStep:
    """Copy one file; its name means itself, whatever is in it."""
    source = re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", _beside(path, root))
    words = json.dumps([source, target], ensure_ascii=False).replace("$", "\\\\$")
    return ImageStep(path, f"COPY {words}")


def _beside(path: str, root: str) -> str:
    """A path of the bundle as seen from the notebook's root."""
    return posixpath.relpath(path or ".", root or ".")
