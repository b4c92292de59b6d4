"""The steps from requirements to a virtual environment: read, resolve, create, install. Each tells the log.

Where it is sure to give the same, an environment begins as a copy of the notebook's last one, and only the difference
is installed; whatever is in doubt is made from nothing.

uv runs in `inputs/model` of the environment's directory, so that relative paths mean what they mean to
`pip install -r requirements.txt` in an image whose context is `model/`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kaosd import encodings, proc
from kaosd.engines.base import Inputs, Log
from kaosd.engines.process.additions import Change, compare, included, options
from kaosd.engines.process.blame import MAIN, Blame, blame, read
from kaosd.engines.process.copying import complete, distributions
from kaosd.engines.process.server import installed
from kaosd.errors import BuildFailed, EngineUnavailable

LOCK = "kaosd-lock.txt"  # what was installed, in the environment itself
_SERVER = {
    "jupyterlab": "jupyterlab>=4",
    "ipykernel": "ipykernel>=6",
    "jupyter-collaboration": "jupyter-collaboration>=4",
    "pip": "pip>=23",  # for %pip in a cell
}
_OPTIONAL = ("jupyter-collaboration", "pip")
_UNUSED = ("environment.yml", "apt.txt", "pyproject.toml", "uv.lock", "Dockerfile")
_NONE = "No solution found"
_INSTALLED = re.compile(r"^ ([+~-]) (\S+)==(\S+)$", re.MULTILINE)
_RUNTIME = re.compile(r"(?:python-)?([0-9]+\.[0-9]+(?:\.[0-9]+)?)")


@dataclass(frozen=True, slots=True)
class Past:
    """The environment that a notebook had last.

    take: moves a copy of it into a directory, or returns why there is none.
    """

    digest: str
    path: Path
    take: Callable[[Path], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One build: uv's binary, the interpreter to take, the variables that programs get, where the lines go.

    preferences: a lock whose versions are kept where the requirements allow it; may be absent.
    """

    uv: str
    python: str
    variables: Mapping[str, str]
    log: Log
    preferences: Path

    async def make(self, inputs: Inputs, target: Path, past: Past | None = None) -> None:
        """Make *target*, an empty directory, a complete environment. Raises BuildFailed or EngineUnavailable."""
        self.log.line("step 1/4 read the environment inputs")
        model = target / "inputs" / "model"
        files = await asyncio.to_thread(_export, inputs, model)
        for name in _UNUSED:
            if (model / name).exists() or (model.parent / name).exists():
                self.log.line(f"{name} is there; the process engine does not use it")
        python = await self._interpreter(model)
        change = await self._begin(past, model, files) if past is not None else None
        if past is not None and change is not None and change.added is not None:
            if await self._extend(model, past, change.added):
                return
            self.log.line("it cannot be added to what is there; all is resolved again")
        self.log.line("step 2/4 resolve the requirements")
        await self._resolve(model, files, python, target / LOCK)
        if change is not None:
            self.log.line("step 3/4 exchange what differs")
            if await self._exchange(model, files):
                return
            self.log.line("it cannot be exchanged; all is installed anew")
            await asyncio.to_thread(_leave_only, target, ("inputs", LOCK))
        self.log.line("step 3/4 create the virtual environment")
        made = await self._uv(model, "venv", "--allow-existing", "--python", python, str(target))
        await self._accept(made, files)
        self.log.line("step 4/4 install")
        finished = await self._install(model, target)
        if _NONE in finished.output:  # of the lock, which was a solution a moment ago
            self.log.line("the package index does not have what it has just named; it is asked anew")
            await self._resolve(model, files, python, target / LOCK, "--refresh")
            finished = await self._install(model, target, "--refresh")
        if _NONE in finished.output:
            raise EngineUnavailable(
                f"the package index names versions that it does not have: {blame(finished.output, {})}",
                hint="it is being changed just now; kaosd tries again",
            )
        await self._accept(finished, files)

    async def _begin(self, past: Past, model: Path, files: dict[str, str]) -> Change | None:
        """Let the environment begin as a copy of the past one; None when it cannot."""
        change = await asyncio.to_thread(_compared, past.path / "inputs", files)
        if change is None:
            return None
        reason = await past.take(model.parents[1])
        if reason:
            self.log.line(f"environment {past.digest[:7]} cannot be the beginning of it: {reason}")
            return None
        self.log.line(f"it begins as a copy of environment {past.digest[:7]}")
        return change

    async def _extend(self, model: Path, past: Past, added: tuple[str, ...]) -> bool:
        """Install the lines *added* into the copy; False when that moved a package that was there, or failed.

        While nothing that was there moves, an added package gets the version that a resolution of everything would
        give it: there, too, what is installed comes first, and then the newest version that fits. Several lines that
        restrict each other may come out otherwise than in such a resolution, but always so that all of them hold.
        """
        target, inputs = model.parents[1], model.parent
        before = distributions(target)
        await asyncio.to_thread(lambda: (inputs / "server.txt").write_text(_specs(_added(_texts(model)))))
        (inputs / "added.txt").write_text(_specs(added))
        self.log.line("step 2/4 resolve and install what was added")
        where = ["--python", str(target / "bin/python"), "-r", str(inputs / "added.txt")]
        finished = await self._uv(model, "pip", "install", *where, quiet=True)
        changes = _INSTALLED.findall(finished.output)
        after = distributions(target)
        if finished.code != 0 or not set(before) <= set(after) or len(after) != len(before) + len(changes):
            return False
        for sign, name, version in changes:
            self.log.line(f" {sign} {name}=={version}")
        lock = (past.path / LOCK).read_text().splitlines() + [f"{name}=={version}" for _, name, version in changes]
        self.log.line("step 3/4 write the lock")
        (target / LOCK).write_text(_specs(sorted(lock, key=lambda line: line.partition("==")[0])))
        return True

    async def _exchange(self, model: Path, files: dict[str, str]) -> bool:
        """Make the copy hold exactly the lock; False when that failed or broke a package that was to stay."""
        target, inputs = model.parents[1], model.parent
        python = str(target / "bin/python")
        have = {package.name: package.version for package in await asyncio.to_thread(installed, target)}
        lock = [line.partition("==")[::2] for line in (target / LOCK).read_text().splitlines()]
        if gone := sorted(have.keys() - {name for name, _ in lock}):
            finished = await self._uv(model, "pip", "uninstall", "--python", python, *gone)
            if finished.code != 0:
                return False
        if wanted := [f"{name}=={version}" for name, version in lock if have.get(name) != version]:
            (inputs / "added.txt").write_text(_specs([*options(files), *wanted]))
            source = ["-r", str(inputs / "added.txt")]
            finished = await self._uv(model, "pip", "install", "--python", python, "--no-deps", *source)
            if finished.code != 0:
                return False
        return await asyncio.to_thread(complete, target)

    async def _install(self, model: Path, target: Path, *more: str) -> proc.Finished:
        """Install the lock; the requirements once more beside it: they carry index addresses and hashes."""
        sources = ["--no-deps", "-r", str(target / LOCK), "-r", MAIN]
        return await self._uv(model, "pip", "install", "--python", str(target / "bin/python"), *sources, *more)

    async def _interpreter(self, model: Path) -> str:
        """The interpreter that model/runtime.txt asks for, else our own."""
        runtime = model / "runtime.txt"
        if not runtime.exists():
            return self.python
        text = runtime.read_text(errors="replace").strip()
        match = _RUNTIME.fullmatch(text)
        if match is None:
            raise BuildFailed(
                f"model/runtime.txt:1: {text[:60]!r} names no Python", hint="write for example python-3.11"
            )
        found = await self._uv(model, "python", "find", "--system", "--no-config", match[1])
        if found.code != 0:
            raise BuildFailed(
                f"model/runtime.txt:1: there is no Python {match[1]} on this machine",
                hint="install it so that it is on PATH, or ask for another one",
            )
        return found.output.strip().rpartition("\n")[2]

    async def _resolve(self, model: Path, files: dict[str, str], python: str, lock: Path, *more: str) -> None:
        """Write *lock*; without what is optional where the requirements or the index exclude it."""
        if self.preferences.exists():
            shutil.copyfile(self.preferences, lock)
        added = await asyncio.to_thread(_added, files)
        finished = await self._compile(model, added, python, lock, *more)
        left_out = []
        while name := _blamed(finished, added):
            added.remove(_SERVER[name])
            left_out.append(name)
            finished = await self._compile(model, added, python, lock, *more)
        await self._accept(finished, files)
        for name in left_out:
            self.log.line(f"{name} is left out: no version of it goes with the requirements and the package index")

    async def _compile(self, model: Path, added: list[str], python: str, lock: Path, *more: str) -> proc.Finished:
        server = model.parent / "server.txt"
        server.write_text(_specs(added))
        options = ["--quiet", "--no-header", "--no-annotate", "--python", python, "--output-file", str(lock)]
        return await self._uv(model, "pip", "compile", MAIN, str(server), *options, *more)

    async def _uv(self, model: Path, *arguments: str, quiet: bool = False) -> proc.Finished:
        """Run uv and tell the log what it writes, unless *quiet*."""
        argv = [self.uv, *arguments, "--no-python-downloads", "--no-progress", "--color", "never"]
        try:
            return await proc.run(argv, cwd=model, env=self.variables, line=None if quiet else self.log.line)
        except OSError as error:
            raise EngineUnavailable(f"uv cannot be started: {error}") from error

    async def _accept(self, finished: proc.Finished, files: dict[str, str]) -> None:
        """Raise what a failed run means for a person."""
        if finished.code < 0:
            raise EngineUnavailable(f"uv was ended by signal {-finished.code}")
        if finished.code != 0:
            raise failure(await asyncio.to_thread(blame, finished.output, files))


def failure(found: Blame) -> BuildFailed | EngineUnavailable:
    """The error of a blame: only what a change of the inputs can mend is a failed build."""
    kind = EngineUnavailable if found.transient else BuildFailed
    return kind(str(found), hint=found.hint)


def no_space(error: OSError) -> EngineUnavailable:
    """An OSError of our own writing, as a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EngineUnavailable("the disk is full", hint="free some space")
    return EngineUnavailable(f"the environment cannot be written: {error}")


def _compared(before: Path, files: dict[str, str]) -> Change | None:
    """See `compare`; *before*: the inputs that the environment was made of."""
    server = (before / "server.txt").read_text(), _specs(_added(files))
    try:
        return compare(_texts(before / "model"), files, server)
    except BuildFailed:  # an earlier kaosd left them as they were
        return None


def _export(inputs: Inputs, model: Path) -> dict[str, str]:
    """Write the inputs out; the texts of all requirements files by name, an absent main one being empty."""
    inputs.export(model.parent)
    model.mkdir(parents=True, exist_ok=True)
    (model / MAIN).touch()
    return _texts(model)


def _texts(model: Path) -> dict[str, str]:
    """The texts of all requirements files and of what they include, by path; uv then reads the same from the files.

    BuildFailed names one that is no text.
    """
    found: dict[str, str] = {}
    pending = sorted((name for name in os.listdir(model) if name.endswith(".txt")), reverse=True)
    while pending:
        name = pending.pop()
        if name in found or not (model / name).is_file():
            continue
        try:
            found[name] = encodings.rewrite(model / name)
        except encodings.NotTextError as error:
            raise BuildFailed(f"model/{name} {error}") from error
        pending += (os.path.normpath(os.path.join(os.path.dirname(name), path)) for path in included(found[name]))
    return found


def _added(files: Mapping[str, str]) -> list[str]:
    """What the host needs and the requirements do not name."""
    named = {requirement.name for path, text in files.items() for requirement in read(path, text)}
    return [spec for name, spec in _SERVER.items() if name not in named]


def _blamed(finished: proc.Finished, added: list[str]) -> str | None:
    """The optional package among *added* that a resolution names as what has no solution."""
    if _NONE not in finished.output:
        return None
    return next((name for name in _OPTIONAL if _SERVER[name] in added and _SERVER[name] in finished.output), None)


def _specs(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _leave_only(directory: Path, names: tuple[str, ...]) -> None:
    for path in directory.iterdir():
        if path.name not in names:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
