"""Which environment file of a repository is in use, what belongs to it, and what beside it is not used."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from kaosd.declared import contents
from kaosd.declared.looking_up import Files, beneath, joined
from kaosd.declared.projects import Project, metadata_of, packages_of, project, sources_of
from kaosd.declared.pythons import PythonWanted, is_toml, table, wanted
from kaosd.declared.references import Followed, follow
from kaosd.declared.requirement_lines import name_of
from kaosd.declared.scripts import HONOURED, Scripts, scripts, speaks

KAOS = "model"
_BINDER = ("binder", ".binder")
_SETUP = ("setup.py", "setup.cfg")
_CONDA = ("environment.yml", "environment.yaml")
_KINDS = ("pyproject", "requirements", "conda", "pipfile", "setup")
_LEAST = {
    "python",
    "pip",
    "setuptools",
    "wheel",
    "jupyterlab",
    "jupyter",
    "notebook",
    "ipykernel",
    "jupyter-collaboration",
}
_LOOKALIKE = re.compile(r".*requirements?.*\.(txt|in)|(.*[-_.])?(conda|env|environment)([-_.].*)?\.ya?ml")
_USUAL = (KAOS, "requirements", "requirement", "envs", "env")  # directories of environment files
_NAMES = ("requirements.txt", "environment.yml", "environment.yaml", "pyproject.toml", "Pipfile.lock")
_DIRECTORIES = 100  # that are looked into
_SHOWN = 4  # packages that a sentence names


@dataclass(frozen=True, slots=True)
class Choice:
    """What the settings of a notebook say. file: the environment file, "" for the first that is there.

    extras, groups: of a pyproject.toml (groups also of a Pipfile.lock), installed besides its dependencies.
    """

    file: str = ""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unused:
    """A file that says something of the environment and is not used. text: a sentence about it."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class DeclarationProblem:
    """Why the environment cannot be what the files ask for: where and what, and what to do."""

    text: str
    hint: str


@dataclass(frozen=True, slots=True)
class Declared:
    """See the module. root: the directory of the bundle that is the notebook's root: "model", or "" for its top.

    folder: where environment files count. file, kind: the one in use, None and "none" without one. lock: uv.lock beside
    it, if there. inputs: every file whose content makes the environment, sorted. requirements: those of them that are
    requirements files. projects: local ones that it holds.
    packages: directories of these projects in which code is found. unused, problems, scripts: see there.
    converted: the packages of a Pipfile.lock as lines of a requirements file; None: it cannot be read.
    """

    root: str
    folder: str
    kind: str = "none"
    file: str | None = None
    lock: str | None = None
    python: PythonWanted | None = None
    inputs: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    projects: tuple[Project, ...] = ()
    packages: tuple[str, ...] = ()
    unused: tuple[Unused, ...] = ()
    problems: tuple[DeclarationProblem, ...] = ()
    dockerfile: str | None = None
    scripts: Scripts = field(default_factory=Scripts)
    converted: tuple[str, ...] | None = ()
    choice: Choice = field(default_factory=Choice)

    @property
    def beside(self) -> str:
        """The environment file's path as seen from the notebook's root."""
        return posixpath.relpath(self.file, self.root or ".") if self.file else ""


def declare(files: Files, choice: Choice | None = None) -> Declared:
    """What *files* declare; see the module."""
    choice = choice or Choice()
    root = KAOS if files.kind(f"{KAOS}/requirements.txt") == "file" else ""
    folder = root or next((name for name in _BINDER if files.kind(name) == "directory"), "")
    there = dict(_there(files, folder))
    problems: tuple[DeclarationProblem, ...] = ()
    kind, file = _first(there, root)
    if choice.file:
        file = _named(files, choice.file, root, folder)
        kind = _kind_by_name(file) if file else "none"
        if file is None:
            text = f"the setting environment names {choice.file}, and there is no such file in the source directory"
            problems = (DeclarationProblem(text, "correct its name, which is relative to the source directory"),)
    followed = _follow(files, kind, file, root, choice)
    python = wanted(files, folder, root, file) if kind != "conda" else None  # its packages bring it
    found = Declared(
        root=root,
        folder=folder,
        kind=kind,
        file=file,
        lock=_lock(files, kind, file),
        python=python,
        requirements=followed.requirements,
        projects=followed.projects,
        packages=tuple(sorted({one for it in followed.projects for one in packages_of(files, it.path)})),
        problems=problems + tuple(DeclarationProblem(*one) for one in followed.problems),
        dockerfile=_dockerfile(files, root),
        scripts=scripts(files, folder),
        converted=_pipfile(files, file, choice) if kind == "pipfile" else (),
        choice=choice,
    )
    return _completed(files, found, followed, there)


def _completed(files: Files, found: Declared, followed: Followed, there: dict[str, str]) -> Declared:
    inputs = {*followed.files, *(one for it in found.projects for one in metadata_of(files, it.path))}
    inputs |= {one for one in (found.file, found.lock, found.python.path if found.python else None) if one}
    inputs |= set(_settings_of_uv(files, found))
    found = replace(found, inputs=tuple(sorted(inputs)))
    return replace(found, unused=tuple(_unused(files, found, there)))


def _there(files: Files, folder: str) -> Iterator[tuple[str, str]]:
    """The environment files of *folder*, by kind."""
    pyproject = files.text(joined(folder, "pyproject.toml"))
    if pyproject is not None and (table(pyproject, "project") or _is_broken(pyproject)):
        yield "pyproject", joined(folder, "pyproject.toml")
    if files.kind(joined(folder, "requirements.txt")) == "file":
        yield "requirements", joined(folder, "requirements.txt")
    for name in _CONDA:
        if files.kind(joined(folder, name)) == "file":
            yield "conda", joined(folder, name)
            break
    if files.kind(joined(folder, "Pipfile.lock")) == "file":
        yield "pipfile", joined(folder, "Pipfile.lock")
    if files.kind(joined(folder, "setup.py")) == "file":
        yield "setup", joined(folder, "setup.py")
    elif "[metadata]" in (files.text(joined(folder, "setup.cfg")) or ""):
        yield "setup", joined(folder, "setup.cfg")
    elif pyproject is not None and not table(pyproject, "project") and table(pyproject, "build-system"):
        yield "setup", joined(folder, "pyproject.toml")


def _is_broken(pyproject: str) -> bool:
    """Whether it is meant to have a project, and is not TOML: the engine then says so."""
    return not is_toml(pyproject) and re.search(r"^\[project\b", pyproject, re.MULTILINE) is not None


def _first(there: dict[str, str], root: str) -> tuple[str, str | None]:
    """The kind and path in use; in kaos's shape that is the file by which it is one."""
    kinds = ("requirements", *_KINDS) if root else _KINDS
    return next(((kind, there[kind]) for kind in kinds if kind in there), ("none", None))


def _named(files: Files, name: str, root: str, folder: str) -> str | None:
    for directory in dict.fromkeys(("", root, folder)):
        path = beneath(directory, name)
        if path and files.kind(path) == "file":
            return path
    return None


def _kind_by_name(path: str) -> str:
    name = posixpath.basename(path)
    if name == "pyproject.toml":
        return "pyproject"
    if name.endswith((".yml", ".yaml")):
        return "conda"
    if name == "Pipfile.lock":
        return "pipfile"
    return "setup" if name in _SETUP else "requirements"


def _follow(files: Files, kind: str, file: str | None, root: str, choice: Choice) -> Followed:
    """The files that the one in use refers to, and the local projects."""
    if file is None:
        return Followed((), (), ())
    text, directory = files.text(file) or "", posixpath.dirname(file)
    if kind == "requirements":
        return follow(files, root, [(file, text)])
    if kind in ("conda", "pipfile"):
        return follow(files, root, [], [(file, line) for line in _converted(kind, text, choice)], directory)
    found = follow(files, root, [], [(file, f"./{path}") for path in _parts(files, directory)], directory)
    own = project(files, directory, root)
    is_package = kind == "setup" or table(text, "build-system") or table(text, "tool", "uv").get("package") is True
    projects = (own, *found.projects) if own is not None and is_package else found.projects
    return replace(found, projects=tuple(dict.fromkeys(projects)))


def _pipfile(files: Files, file: str | None, choice: Choice) -> tuple[str, ...] | None:
    try:
        return tuple(contents.pipfile_lines(files.text(file or "") or "", choice.groups))
    except (ValueError, TypeError):
        return None


def _converted(kind: str, text: str, choice: Choice) -> list[str]:
    try:
        return list(contents.read_conda(text).pip if kind == "conda" else contents.pipfile_lines(text, choice.groups))
    except (ValueError, TypeError):
        return []  # the engine says what is wrong with it


def _parts(files: Files, directory: str) -> Iterator[str]:
    """Local paths that a pyproject.toml takes packages from, and the members of its workspace."""
    yield from sources_of(files, directory)
    workspace = table(files.text(joined(directory, "pyproject.toml")) or "", "tool", "uv", "workspace")
    members = workspace.get("members")
    patterns = [one for one in members if isinstance(one, str)] if isinstance(members, list) else []
    if patterns:
        outer = files.names(directory)
        inner = [f"{one}/{name}" for one in outer for name in files.names(joined(directory, one))]
        for path in (*outer, *inner):
            is_project = files.kind(joined(joined(directory, path), "pyproject.toml")) == "file"
            if is_project and any(fnmatchcase(path, pattern.strip("/")) for pattern in patterns):
                yield path


def _lock(files: Files, kind: str, file: str | None) -> str | None:
    path = joined(posixpath.dirname(file), "uv.lock") if file and kind == "pyproject" else None
    return path if path and files.kind(path) == "file" else None


def _settings_of_uv(files: Files, found: Declared) -> Iterator[str]:
    """Files of the notebook's root from which uv takes its settings."""
    if files.kind(joined(found.root, "uv.toml")) == "file":
        yield joined(found.root, "uv.toml")
    if table(files.text(joined(found.root, "pyproject.toml")) or "", "tool", "uv"):
        yield joined(found.root, "pyproject.toml")


def _dockerfile(files: Files, root: str) -> str | None:
    """In kaos's shape beside model/; else where repo2docker looks."""
    paths = ["Dockerfile"] if root else [joined(one, "Dockerfile") for one in ("binder", ".binder", "")]
    return next((path for path in paths if files.kind(path) == "file"), None)


# -- what is not used --------------------------------------------------------------------------------------


def warnings(found: Declared, engine: str) -> tuple[str, ...]:
    """What a person must know of the environment's files, whatever the build says; one sentence each."""
    return tuple(one.text for one in unused(found, engine))


def unused(found: Declared, engine: str) -> tuple[Unused, ...]:
    """The files that say something of the environment and are not used by an engine."""
    if engine != "process" and found.dockerfile is not None:
        return ()  # it is the whole answer, as everywhere
    honoured = found.scripts.paths if engine == "docker" else ()
    return tuple(one for one in found.unused if one.path not in honoured)


def _unused(files: Files, found: Declared, there: dict[str, str]) -> Iterator[Unused]:
    for kind, path in there.items():
        if path != found.file and (text := _disagrees(files, found, kind, path)):
            yield Unused(path, text)
    if (found.choice.extras or found.choice.groups) and found.kind not in ("pyproject", "pipfile"):
        used = found.file or "no environment file"
        yield Unused(
            "", f"the settings extras and groups are not used: they are of a pyproject.toml, and {used} is in use"
        )
    yield from _locks(files, found)
    yield from _scripts(files, found)
    yield from _elsewhere(files, found)
    if found.dockerfile is not None and (steps := _steps(files.text(found.dockerfile) or "")):
        text = f"{found.dockerfile} is not used by the process engine: it has {_listed(steps)}; use --engine docker"
        yield Unused(found.dockerfile, text)


def _disagrees(files: Files, found: Declared, kind: str, path: str) -> str:
    """How an environment file that is not in use contradicts the one that is."""
    other, used = _asks(files, kind, path, found), _asks(files, found.kind, found.file or "", found)
    if kind == "pyproject":  # its own package is not asked for by anybody
        other.pop(_own_name(files, path), None)
    missing = sorted(name for name in other.keys() - used.keys() - _LEAST)
    versions = sorted(
        f"{name} {pin}" for name, pin in other.items() if pin and used.get(name, pin) != pin and name not in _LEAST
    )
    parts = [f"asks for {_listed(missing)}"] if missing else []
    parts += [f"names other versions ({_listed(versions)})"] if versions else []
    if not parts:
        return ""
    step = f"to use it, deploy with --environment {shlex.quote(path)}"
    return f"{path} is not used, because {found.file} is: it {' and '.join(parts)}; {step}"


def _asks(files: Files, kind: str, path: str, found: Declared) -> dict[str, str]:
    """What a file asks for, by package."""
    text = files.text(path) or ""
    if kind == "conda":
        return contents.conda_asked(text)
    if kind == "pipfile":
        return contents.pipfile_asked(text)
    if kind == "pyproject":
        return contents.asked(
            [_own_name(files, path), *contents.pyproject_asks(text, found.choice.extras, found.choice.groups)]
        )
    if kind != "requirements":
        return {}
    asked: dict[str, str] = {}
    followed = follow(files, found.root, [(path, text)])
    for line in followed.lines:
        asked |= contents.asked([line])
    for one in followed.projects:
        pyproject = joined(one.path, "pyproject.toml")
        asked |= contents.asked(contents.pyproject_asks(files.text(pyproject) or "", (), ()))
        asked |= contents.asked([_own_name(files, pyproject)])
    return asked


def _own_name(files: Files, path: str) -> str:
    """The name of the project of a pyproject.toml, as requirements have it."""
    return name_of(str(table(files.text(path) or "", "project").get("name", "")))


_LOCKS = {
    "poetry.lock": "its versions are not used; write them into requirements.txt: poetry export -o requirements.txt",
    "pdm.lock": "its versions are not used; write them into requirements.txt: pdm export -o requirements.txt",
    "pixi.lock": "pixi is not used; write its packages into environment.yml",
    "conda-lock.yml": "its versions are not used; write them into environment.yml",
    "pylock.toml": "its versions are not used",
}


def _locks(files: Files, found: Declared) -> Iterator[Unused]:
    for name, text in _LOCKS.items():
        if files.kind(joined(found.folder, name)) == "file":
            yield Unused(joined(found.folder, name), f"{joined(found.folder, name)}: {text}")
    pipfile = joined(found.folder, "Pipfile")
    if files.kind(pipfile) == "file" and files.kind(f"{pipfile}.lock") != "file":
        yield Unused(pipfile, f"{pipfile} is not used without a Pipfile.lock: run pipenv lock")
    lock = joined(found.folder, "uv.lock")
    if found.lock is None and files.kind(lock) == "file":
        yield Unused(lock, f"{lock}: its versions are not used, because {found.file or 'no pyproject.toml'} is in use")


_SCRIPTS = {
    "apt.txt": "its packages are not installed",
    "postBuild": "it is not run",
    "start": "it is not run",
    "install.R": "its packages of R are not installed",
    "DESCRIPTION": "R and its packages are not installed",
    "REQUIRE": "Julia and its packages are not installed",
    "JuliaProject.toml": "Julia and its packages are not installed",
    "default.nix": "nix is not used",
}


def _scripts(files: Files, found: Declared) -> Iterator[Unused]:
    """What only an image of its own can honour."""
    for name, text in _SCRIPTS.items():
        path = joined(found.folder, name)
        if not speaks(files, path):
            continue
        words = f" ({_listed([word for _, word in found.scripts.packages])})" if name == "apt.txt" else ""
        step = "use --engine docker" if name in HONOURED else "write a Dockerfile and use --engine docker"
        yield Unused(path, f"{path}: {text}{words}; an image of its own can: {step}")
    runtime = files.text(joined(found.folder, "runtime.txt")) or ""
    if found.kind == "conda" and runtime.strip():
        path = joined(found.folder, "runtime.txt")
        yield Unused(path, f"{path} is not used: {found.file} chooses the Python, for example python=3.12")
        return
    if re.match(r"\s*r-", runtime):
        path = joined(found.folder, "runtime.txt")
        yield Unused(path, f"{path} asks for R ({runtime.strip()[:40]}), which is not installed")


def _elsewhere(files: Files, found: Declared) -> Iterator[Unused]:
    """Environment files where they do not count, or under names that are not looked for."""
    if found.folder and not found.root:
        others = [path for _, path in _there(files, "")]
        used = f"environment files count in {found.folder}/"
        yield from (Unused(path, f"{path} is not used: {used}") for path in others if not _mentions(found, path))
        return
    if found.root:
        others = [path for _, path in _there(files, "")]
        yield from (
            Unused(path, f"{path} is not used: this bundle has its environment in {found.file}")
            for path in others
            if path not in found.inputs and not _mentions(found, path)
        )
    if found.kind == "none" and not found.choice.file:
        for path in _lookalikes(files, found.folder):
            step = f"to use it, deploy with --environment {shlex.quote(path)}"
            yield Unused(path, f"{path} is not used: only JupyterLab is installed; {step}")


def _mentions(found: Declared, path: str) -> bool:
    return (
        path in found.inputs or path == found.file or any(joined(it.path, "setup.py") == path for it in found.projects)
    )


def _lookalikes(files: Files, folder: str) -> Iterator[str]:
    """Files that look like one: by other names at the top and in the usual directories, by the usual ones in any."""
    top = [name for name in files.names(folder) if files.kind(joined(folder, name)) == "directory"][:_DIRECTORIES]
    for directory in (folder, *(joined(folder, name) for name in top)):
        usual = posixpath.basename(directory) in _USUAL
        for name in files.names(directory) if directory == folder or usual else _NAMES:
            is_one = (
                _LOOKALIKE.fullmatch(name) or (usual and name.endswith((".txt", ".yml", ".yaml"))) or name in _NAMES
            )
            if is_one and files.kind(joined(directory, name)) == "file" and joined(directory, name) != "pyproject.toml":
                yield joined(directory, name)


def _steps(dockerfile: str) -> list[str]:
    """What a Dockerfile does that an environment of its requirements does not have."""
    joined_lines = re.sub(r"\\\s*\n(?:\s*#.*\n)*", " ", dockerfile)
    found = []
    for line in joined_lines.split("\n"):
        match = re.match(r"\s*(RUN)\s+(.*)", line, re.IGNORECASE)
        if match is None:
            continue
        commands = [one.strip() for one in re.split(r"&&|;", match[2])]
        found += [f"RUN {' '.join(one.split())[:60]}" for one in commands if one and not _only_requirements(one)]
    return found


def _only_requirements(command: str) -> bool:
    """Whether a command installs only what a host of ours has as well."""
    words = command.split()
    if words[:3] == ["python", "-m", "pip"] or words[:3] == ["python3", "-m", "pip"]:
        words = words[2:]
    if words[:2] not in (["pip", "install"], ["pip3", "install"]):
        return False
    rest = [word for word in words[2:] if not word.startswith("--")]
    own = {"pip", "jupyterlab", "jupyter-collaboration", "jupyter", "notebook", "ipykernel", "-U", "-q"}
    return all(word in own or word == "-r" or word.endswith("requirements.txt") for word in rest)


def _listed(words: list[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
