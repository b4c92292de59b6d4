"""The steps from requirements to a virtual environment: read, resolve, create, install. Each tells the log.

uv runs in `inputs/model` of the environment's directory, so that relative paths mean what they mean to
`pip install -r requirements.txt` in an image whose context is `model/`.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kaosd import proc
from kaosd.engines.base import Inputs, Log
from kaosd.engines.process.blame import MAIN, Blame, blame, read
from kaosd.errors import BuildFailed, EngineUnavailable

LOCK = "kaosd-lock.txt"  # what was installed, in the environment itself
_SERVER = {
    "jupyterlab": "jupyterlab>=4",
    "ipykernel": "ipykernel>=6",
    "jupyter-collaboration": "jupyter-collaboration>=4",
}
_UNUSED = ("environment.yml", "apt.txt", "pyproject.toml", "uv.lock", "Dockerfile")
_RUNTIME = re.compile(r"(?:python-)?([0-9]+\.[0-9]+(?:\.[0-9]+)?)")


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

    async def make(self, inputs: Inputs, target: Path) -> None:
        """Make *target*, which does not exist, a complete environment. Raises BuildFailed or EngineUnavailable."""
        self.log.line("step 1/4 read the environment inputs")
        model = target / "inputs" / "model"
        files = _export(inputs, model)
        for name in _UNUSED:
            if (model / name).exists() or (model.parent / name).exists():
                self.log.line(f"{name} is there; the process engine does not use it")
        python = await self._interpreter(model)
        self.log.line("step 2/4 resolve the requirements")
        await self._resolve(model, files, python, target / LOCK)
        self.log.line("step 3/4 create the virtual environment")
        await self._uv(model, files, "venv", "--allow-existing", "--python", python, str(target))
        self.log.line("step 4/4 install")
        # the requirements once more beside the lock: they carry index addresses and hashes
        sources = ["-r", str(target / LOCK), "-r", MAIN]
        await self._uv(model, files, "pip", "install", "--python", str(target / "bin/python"), "--no-deps", *sources)

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
        found = await self._run(model, "python", "find", "--system", "--no-config", match[1])
        if found.code != 0:
            raise BuildFailed(
                f"model/runtime.txt:1: there is no Python {match[1]} on this machine",
                hint="install it so that it is on PATH, or ask for another one",
            )
        return found.output.strip().rpartition("\n")[2]

    async def _resolve(self, model: Path, files: dict[str, str], python: str, lock: Path) -> None:
        """Write *lock*; without jupyter-collaboration where the requirements exclude it."""
        if self.preferences.exists():
            shutil.copyfile(self.preferences, lock)
        named = {requirement.name for path, text in files.items() for requirement in read(path, text)}
        added = [spec for name, spec in _SERVER.items() if name not in named]
        finished = await self._compile(model, added, python, lock)
        optional = _SERVER["jupyter-collaboration"]
        if "No solution found" in finished.output and optional in finished.output and optional in added:
            added.remove(optional)
            finished = await self._compile(model, added, python, lock)
            if finished.code == 0:
                self.log.line("jupyter-collaboration is left out: the requirements exclude every version of it")
        self._accept(finished, files)

    async def _compile(self, model: Path, added: list[str], python: str, lock: Path) -> proc.Finished:
        server = model.parent / "server.txt"
        server.write_text("".join(f"{spec}\n" for spec in added))
        options = ["--quiet", "--no-header", "--no-annotate", "--python", python, "--output-file", str(lock)]
        return await self._run(model, "pip", "compile", MAIN, str(server), *options)

    async def _uv(self, model: Path, files: dict[str, str], *arguments: str) -> None:
        self._accept(await self._run(model, *arguments), files)

    async def _run(self, model: Path, *arguments: str) -> proc.Finished:
        argv = [self.uv, *arguments, "--no-python-downloads", "--no-progress", "--color", "never"]
        try:
            return await proc.run(argv, cwd=model, env=self.variables, line=self.log.line)
        except OSError as error:
            raise EngineUnavailable(f"uv cannot be started: {error}") from error

    def _accept(self, finished: proc.Finished, files: dict[str, str]) -> None:
        """Raise what a failed run means for a person."""
        if finished.code < 0:
            raise EngineUnavailable(f"uv was ended by signal {-finished.code}")
        if finished.code != 0:
            raise failure(blame(finished.output, files))


def failure(found: Blame) -> BuildFailed | EngineUnavailable:
    """The error of a blame: only what a change of the inputs can mend is a failed build."""
    kind = EngineUnavailable if found.transient else BuildFailed
    return kind(str(found), hint=found.hint)


def no_space(error: OSError) -> EngineUnavailable:
    """An OSError of our own writing, as a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EngineUnavailable("the disk is full", hint="free some space")
    return EngineUnavailable(f"the environment cannot be written: {error}")


def _export(inputs: Inputs, model: Path) -> dict[str, str]:
    """Write the inputs out; the texts of all requirements files by name, an absent main one being empty."""
    inputs.export(model.parent)
    model.mkdir(parents=True, exist_ok=True)
    (model / MAIN).touch()
    texts = {}
    for name in sorted(os.listdir(model)):
        if name.endswith(".txt"):
            texts[name] = (model / name).read_text(encoding="utf-8", errors="surrogateescape")
    return texts
