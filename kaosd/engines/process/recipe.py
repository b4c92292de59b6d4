"""The steps from what a bundle declares to a virtual environment: read, resolve, create, install. Each tells the log.

Where it is sure to give the same, an environment starts as a copy of the notebook's last one, and only the difference
is installed; whatever is in doubt is made from nothing.

uv runs in the notebook's root as it lies in `inputs/` of the environment's directory, so that relative paths mean what
they mean to `pip install -r requirements.txt` there. What kaosd itself writes is in `kaosd/`.
"""

from __future__ import annotations

import asyncio
import errno
import json
import posixpath
import re
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kaosd import proc
from kaosd.declared import Declared, warnings
from kaosd.engines.base import Inputs, Log
from kaosd.engines.process import asking, conda, interpreters, projects
from kaosd.engines.process.additions import RequirementsChange, compare, options
from kaosd.engines.process.blame import Blame, Requirement, blame
from kaosd.engines.process.copying import complete, distributions
from kaosd.engines.process.server import installed
from kaosd.engines.process.uv_output import Tally
from kaosd.errors import BuildFailed, EngineUnavailable

LOCK = "kaosd-lock.txt"  # what was installed, in the environment itself
_OWN = "kaosd"  # the directory of what is written here
_SERVER = {
    "jupyterlab": "jupyterlab>=4",
    "ipykernel": "ipykernel>=6",
    "jupyter-collaboration": "jupyter-collaboration>=4",
    "pip": "pip>=23",  # for %pip in a cell
}
_OPTIONAL = ("jupyter-collaboration", "pip")
_NONE = "No solution found"
_INSTALLED = re.compile(r"^ ([+~-]) (\S+)==(\S+)$", re.MULTILINE)
_STALE = re.compile(r"lockfile .*needs to be updated", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LastEnvironment:
    """The environment that a notebook had last.

    take: moves a copy of it into a directory, or returns why there is none.
    """

    digest: str
    path: Path
    take: Callable[[Path], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One build: uv's binary, the interpreter to take, the variables that programs get, where the lines go.

    preferences: a lock whose versions are kept where the requirements allow it; may be absent. downloads: whether uv
    may fetch a Python that is not on this machine. tally: how far uv is.
    """

    uv: str
    python: str
    variables: Mapping[str, str]
    log: Log
    preferences: Path
    downloads: bool = False
    tally: Tally = field(default_factory=Tally)

    async def make(self, inputs: Inputs, target: Path, past: LastEnvironment | None = None) -> tuple[str, ...]:
        """Make *target*, an empty directory, a complete environment; what a person must know of it, one sentence each.

        Raises BuildFailed or EngineUnavailable.
        """
        build = await self._read(inputs, target)
        change = await self._begin(past, build) if past is not None else None
        if past is not None and change is not None and change.added is not None:
            if await self._extend(build, past, change.added):
                return ()
            self.log.line("it cannot be added to what is there; all is resolved again")
        if build.declared.lock is not None:
            return await self._synced(build)
        if build.declared.kind == "conda":
            return await self._conda(build)
        self.log.step(2, 4, "resolve the requirements")
        notes = await self._resolve(build)
        if change is not None:
            self.log.step(3, 4, "exchange what differs")
            if await self._exchange(build):
                return notes
            self.log.line("it cannot be exchanged; all is installed again")
            await asyncio.to_thread(_leave_only, target, ("inputs", _OWN, LOCK))
        await self._create(build)
        self.log.step(4, 4, "install")
        finished = await self._install(build)
        if _NONE in finished.output:  # of the lock, which was a solution a moment ago
            self.log.line("the package index does not have what it has just named; it is asked again")
            await self._resolve(build, "--refresh")
            finished = await self._install(build, "--refresh")
        if _NONE in finished.output:
            raise EngineUnavailable(
                f"the package index names versions that it does not have: {blame(finished.output, {})}",
                hint="it is being changed just now; kaosd tries again",
            )
        await self._accept(finished, build)
        await self._install_live(build)
        return notes

    async def _read(self, inputs: Inputs, target: Path) -> BuildContext:
        """Lay out the inputs and say what is in use. BuildFailed when they cannot be what they ask for."""
        declared = inputs.declared
        self.log.step(1, 4, "read the environment inputs")
        await asyncio.to_thread(inputs.export, target / "inputs")
        own = target / _OWN
        for directory in (own, target / "inputs" / declared.root):
            directory.mkdir(parents=True, exist_ok=True)
        used = declared.file or "none: JupyterLab alone"
        self.log.line(f"environment file: {used}{f' with {declared.lock}' if declared.lock else ''}")
        for text in warnings(declared, "process"):
            self.log.line(f"warning: {text}")
        if declared.problems:
            raise BuildFailed(declared.problems[0].text, hint=declared.problems[0].hint)
        found = await asyncio.to_thread(asking.sources, target / "inputs", declared)
        (own / "wanted.txt").write_text(_specs(found.lines))
        python = interpreters.Chosen(self.python)
        if declared.kind != "conda":  # which brings its own
            python = await interpreters.choose(
                self._uv_in(own), self.python, declared.python, self.variables, self.downloads
            )
        if python.says:
            self.log.line(python.says)
        texts = found.files if declared.kind in ("requirements", "none") else {}
        build = BuildContext(target, declared, inputs.work, python.path, texts, found.asked, found.hashed)
        (own / "facts.json").write_text(json.dumps(build.facts))
        return build

    async def _create(self, build: BuildContext) -> None:
        self.log.step(3, 4, "create the virtual environment")
        made = await self._uv(build.root, "venv", "--allow-existing", "--python", build.python, str(build.target))
        await self._accept(made, build)

    async def _begin(self, past: LastEnvironment, build: BuildContext) -> RequirementsChange | None:
        """Let the environment start as a copy of the past one; None when it cannot."""
        try:
            facts = json.loads((past.path / _OWN / "facts.json").read_text())
            server = (past.path / _OWN / "server.txt").read_text(), _specs(build.added())
            texts = {name: _text(past.path / "inputs" / build.declared.root / name) for name in facts.pop("files")}
        except (OSError, ValueError, KeyError):  # of an older version, or it is gone
            return None
        wanted = {key: value for key, value in build.facts.items() if key != "files"}
        if facts != wanted or build.declared.kind != "requirements" or build.declared.projects:
            return None
        change = await asyncio.to_thread(compare, texts, build.texts, server, build.declared.beside)
        if change is None:
            return None
        reason = await past.take(build.target)
        if reason:
            self.log.line(f"environment {past.digest[:7]} cannot be the start of it: {reason}")
            return None
        self.log.line(f"it starts as a copy of environment {past.digest[:7]}")
        return change

    async def _extend(self, build: BuildContext, past: LastEnvironment, added: tuple[str, ...]) -> bool:
        """Install the lines *added* into the copy; False when that moved a package that was there, or failed.

        While nothing that was there moves, an added package gets the version that a resolution of everything would
        give it: there, too, what is installed comes first, and then the newest version that fits. Several lines that
        restrict each other may come out otherwise than in such a resolution, but always so that all of them hold.
        """
        target, own = build.target, build.target / _OWN
        before = distributions(target)
        (own / "server.txt").write_text(_specs(build.added()))
        (own / "added.txt").write_text(_specs(added))
        self.log.step(2, 4, "resolve and install what was added")
        where = ["--python", str(target / "bin/python"), "-r", str(own / "added.txt")]
        finished = await self._uv(build.root, "pip", "install", *where, quiet=True)
        changes = _INSTALLED.findall(finished.output)
        after = distributions(target)
        if finished.code != 0 or not set(before) <= set(after) or len(after) != len(before) + len(changes):
            return False
        for sign, name, version in changes:
            self.log.line(f" {sign} {name}=={version}")
        lock = (past.path / LOCK).read_text().splitlines() + [f"{name}=={version}" for _, name, version in changes]
        self.log.step(3, 4, "write the lock")
        (target / LOCK).write_text(_specs(sorted(lock, key=lambda line: line.partition("==")[0])))
        return True

    async def _exchange(self, build: BuildContext) -> bool:
        """Make the copy hold exactly the lock; False when that failed or broke a package that was to stay."""
        target, own = build.target, build.target / _OWN
        python = str(target / "bin/python")
        have = {package.name: package.version for package in await asyncio.to_thread(installed, target)}
        lock = [line.partition("==")[::2] for line in (target / LOCK).read_text().splitlines()]
        if gone := sorted(have.keys() - {name for name, _ in lock}):
            finished = await self._uv(build.root, "pip", "uninstall", "--python", python, *gone)
            if finished.code != 0:
                return False
        if wanted := [f"{name}=={version}" for name, version in lock if have.get(name) != version]:
            (own / "added.txt").write_text(_specs([*options(build.texts), *wanted]))
            source = ["-r", str(own / "added.txt")]
            finished = await self._uv(build.root, "pip", "install", "--python", python, "--no-deps", *source)
            if finished.code != 0:
                return False
        return await asyncio.to_thread(complete, target)

    async def _install(self, build: BuildContext, *more: str) -> proc.Finished:
        """Install the lock; the requirements once more beside it: they carry index addresses and hashes.

        A pyproject.toml may say for each package where it comes from, which a lock cannot: it is installed itself, with
        the lock to restrict it.
        """
        python, own = ["--python", str(build.target / "bin/python")], build.target / _OWN
        sources = ["--no-deps", "-r", str(build.target / LOCK)]
        if build.declared.kind == "pyproject":
            lock = (build.target / LOCK).read_text().splitlines()
            (own / "exact.txt").write_text(_specs(line for line in lock if re.match(r"[A-Za-z0-9._-]+==", line)))
            sources = ["-r", str(own / "server.txt"), "-c", str(own / "exact.txt")]
        return await self._uv(build.root, "pip", "install", *python, *sources, *build.sources("-r"), *more)

    async def _synced(self, build: BuildContext) -> tuple[str, ...]:
        """Install exactly what uv.lock locks, and what the host needs besides, without moving any of it."""
        self.log.step(2, 4, f"check {build.declared.lock}")
        directory = build.target / "inputs" / posixpath.dirname(build.declared.file or "")
        choice = build.declared.choice
        chosen = [word for name in choice.extras for word in ("--extra", name)]
        chosen += [word for name in choice.groups for word in ("--group", name)]
        await self._create(build)
        self.log.step(4, 4, "install")
        python = ["--python", str(build.target / "bin/python")]
        variables = {"UV_PROJECT_ENVIRONMENT": str(build.target)}
        options = ["--locked", "--inexact", "--no-editable", *python, *chosen]
        if any(project.live for project in build.declared.projects):
            options.append("--no-install-project")
        finished = await self._uv(directory, "sync", *options, variables=variables)
        if _STALE.search(finished.output):
            raise BuildFailed(
                f"{build.declared.lock} does not fit {build.declared.file} any more",
                hint="bring it up to date: uv lock",
            )
        await self._accept(finished, build)
        own = build.target / _OWN
        have = {package.name: package.version for package in await asyncio.to_thread(installed, build.target)}
        (own / "exact.txt").write_text(_specs(f"{name}=={version}" for name, version in sorted(have.items())))
        notes = await self._add_server(build, have)
        await self._install_live(build)
        return notes

    async def _conda(self, build: BuildContext) -> tuple[str, ...]:
        """Install the packages of conda, those of the pip section, and what the host needs besides."""
        shown, own = build.declared.file or "", build.target / _OWN
        directory = (build.target / "inputs" / shown).parent
        wanted = await asyncio.to_thread(conda.read, build.target / "inputs" / shown, shown)
        self.log.step(2, 4, "solve and install the packages of conda")
        note = await conda.install(wanted, build.target, own, self.variables, self.log, shown)
        await interpreters.check_python(str(build.target / "bin/python"), shown)
        if wanted.pip:
            self.log.step(3, 4, "install the packages of pip")
            section = directory / "kaosd-pip.txt"
            section.write_text(_specs(wanted.pip))
            python = ["--python", str(build.target / "bin/python"), "--break-system-packages"]
            await self._accept(await self._uv(directory, "pip", "install", *python, "-r", section.name), build)
        self.log.step(4, 4, "install what the host needs")
        have = {package.name: package.version for package in await asyncio.to_thread(installed, build.target)}
        (own / "exact.txt").write_text(_specs(f"{name}=={version}" for name, version in sorted(have.items())))
        notes = await self._add_server(build, have)
        await self._install_live(build)
        said = (note, await asyncio.to_thread(conda.unactivated, build.target))
        return (*filter(None, said), *notes)

    async def _add_server(self, build: BuildContext, have: Mapping[str, str]) -> tuple[str, ...]:
        """Add what the host needs to an environment that holds exactly *have*, none of which moves."""
        own = build.target / _OWN
        added = [spec for name, spec in _SERVER.items() if name not in have]
        python = ["--python", str(build.target / "bin/python"), "--break-system-packages"]

        async def add() -> proc.Finished:
            if not added:
                return proc.Finished(0, "")
            (own / "server.txt").write_text(_specs(added))
            sources = ["-r", str(own / "server.txt"), "-c", str(own / "exact.txt")]
            return await self._uv(build.root, "pip", "install", *python, *sources)

        finished, notes = await self._tried(build, added, add)
        await self._accept(finished, build)
        now = await asyncio.to_thread(installed, build.target)
        versions = {package.name: package.version for package in now}
        (build.target / LOCK).write_text(_specs(f"{name}=={version}" for name, version in sorted(versions.items())))
        interpreters.check_server(versions, build.declared.file or "")
        return notes

    async def _install_live(self, build: BuildContext) -> None:
        """Install the projects whose code the notebook reads where it has it."""
        live = [project.path for project in build.declared.projects if project.live]
        if not live or build.work is None:
            return
        self.log.line(f"the code of {', '.join(path or 'the project' for path in live)} is read in the notebook itself")
        bundle = build.target / "inputs"
        arguments = [word for path in live for word in ("-e", str(bundle / path))]
        python = ["--python", str(build.target / "bin/python"), "--break-system-packages"]
        await self._accept(await self._uv(build.root, "pip", "install", *python, "--no-deps", *arguments), build)
        root = bundle / build.declared.root
        await asyncio.to_thread(projects.lead_to, build.target, str(root), str(build.work))

    async def _resolve(self, build: BuildContext, *more: str) -> tuple[str, ...]:
        """Write the lock; without jupyter-collaboration where the requirements exclude it, which is then told."""
        lock = build.target / LOCK
        if self.preferences.exists():
            shutil.copyfile(self.preferences, lock)
        added = build.added()
        finished, notes = await self._tried(build, added, lambda: self._compile(build, added, *more))
        await self._accept(finished, build)
        pins = re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE)
        interpreters.check_server(dict(pins), build.declared.file or "")
        return notes

    async def _tried(
        self, build: BuildContext, added: list[str], attempt: Callable[[], Awaitable[proc.Finished]]
    ) -> tuple[proc.Finished, tuple[str, ...]]:
        """Try with all that the host needs, then without what is optional where there is no solution with it.

        added: what is left of it. Also returns what a person must know of that.
        """
        finished, notes = await attempt(), []
        while name := _blamed(finished, added):
            added.remove(_SERVER[name])
            said = _left_out(build, name)
            self.log.line(said)
            notes += [said] if name != "pip" else []
            finished = await attempt()
        return finished, tuple(notes)

    async def _compile(self, build: BuildContext, added: list[str], *more: str) -> proc.Finished:
        server = build.target / _OWN / "server.txt"
        server.write_text(_specs(added))
        options = ["--quiet", "--no-header", "--no-annotate", "--python", build.python]
        options += ["--output-file", str(build.target / LOCK), *(["--generate-hashes"] if build.hashed else [])]
        return await self._uv(build.root, "pip", "compile", *build.sources(""), str(server), *options, *more)

    def _uv_in(self, directory: Path) -> interpreters.Uv:
        """Uv run in *directory*, with more variables."""

        async def run(*arguments: str, variables: Mapping[str, str]) -> proc.Finished:
            return await self._uv(directory, *arguments, quiet=True, variables=variables)

        return run

    async def _uv(
        self, directory: Path, *arguments: str, quiet: bool = False, variables: Mapping[str, str] | None = None
    ) -> proc.Finished:
        """Run uv and tell the log how far it is and, unless *quiet*, what it writes."""

        def line(text: str) -> None:
            if not quiet:
                self.log.line(text)
            if self.tally.take(text):
                self.log.progress(str(self.tally))

        allowed = [] if self.downloads and arguments[:2] == ("python", "install") else ["--no-python-downloads"]
        argv = [self.uv, *arguments, *allowed, "--no-progress", "--color", "never"]
        try:
            return await proc.run(
                argv,
                cwd=directory,
                env={**self.variables, **(variables or {})},
                line=line,
            )
        except OSError as error:
            raise EngineUnavailable(f"uv cannot be started: {error}") from error

    async def _accept(self, finished: proc.Finished, build: BuildContext) -> None:
        """Raise what a failed run means for a person."""
        if finished.code < 0:
            raise EngineUnavailable(f"uv was ended by signal {-finished.code}")
        if finished.code != 0:
            found = await asyncio.to_thread(blame, finished.output, build.texts, build.declared.root, build.asked)
            raise failure(found)


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What one build knows. work: where the notebook has its root; None where it does not matter.

    texts: of the requirements files, by the path that uv is given. asked: the requirements of other kinds of files.
    hashed: whether packages are asked for by their hashes, so that all must have one.
    """

    target: Path
    declared: Declared
    work: Path | None
    python: str
    texts: Mapping[str, str]
    asked: tuple[Requirement, ...]
    hashed: bool

    @property
    def root(self) -> Path:
        """Where uv runs."""
        return self.target / "inputs" / self.declared.root

    @property
    def facts(self) -> dict[str, object]:
        """What must be the same for one environment to start as a copy of another; and its requirements files."""
        return {
            "file": self.declared.file,
            "root": self.declared.root,
            "python": self.python,
            "files": list(self.texts),
        }

    def added(self) -> list[str]:
        """What the host needs and the environment file does not name."""
        named = {one.name for one in self.asked}
        return [spec for name, spec in _SERVER.items() if name not in named]

    def sources(self, option: str) -> list[str]:
        """The arguments that tell uv what is wanted; *option* before each file."""
        words = [option] if option else []
        found = [*words, str(self.target / _OWN / "wanted.txt")]
        if self.declared.kind == "requirements":
            return [*words, self.declared.beside]
        if self.declared.kind == "pyproject":
            found += [*words, self.declared.beside]
            found += [word for name in self.declared.choice.extras for word in ("--extra", name)]
            found += [
                word for one in self.declared.choice.groups for word in ("--group", f"{self.declared.beside}:{one}")
            ]
        return found


def _blamed(finished: proc.Finished, added: list[str]) -> str | None:
    """The optional package among *added* that a resolution names as what has no solution."""
    if _NONE not in finished.output:
        return None
    specs = {name: _SERVER[name] for name in _OPTIONAL if name in _SERVER}
    return next((name for name, spec in specs.items() if spec in added and spec in finished.output), None)


def _left_out(build: BuildContext, name: str) -> str:
    file = build.declared.file or "the environment"
    if name != "jupyter-collaboration":
        return f"{name} is left out: no version of it goes with {file} and the package index"
    return (
        f"jupyter-collaboration is left out: {file} excludes every {_SERVER['jupyter-collaboration']}, so that tabs "
        "do not share what is typed, and a change of the same lines is held; allow jupyterlab>=4.4"
    )


def failure(found: Blame) -> BuildFailed | EngineUnavailable:
    """The error of a blame: only what a change of the inputs can fix is a failed build."""
    kind = EngineUnavailable if found.transient else BuildFailed
    return kind(str(found), hint=found.hint)


def no_space(error: OSError) -> EngineUnavailable:
    """An OSError of our own writing, as a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EngineUnavailable("the disk is full", hint="free some space")
    return EngineUnavailable(f"the environment cannot be written: {error}")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _specs(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _leave_only(directory: Path, names: tuple[str, ...]) -> None:
    for path in directory.iterdir():
        if path.name not in names:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
