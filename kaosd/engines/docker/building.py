"""From environment inputs to the image of an environment: context, child process, its lines, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import uv

from kaosd import encodings, proc
from kaosd.declared import Declared
from kaosd.engines.base import Inputs, Log
from kaosd.engines.docker import dockerfile
from kaosd.engines.docker.connection import Connection, NoSuchThing, refusal
from kaosd.engines.docker.facts import Facts
from kaosd.errors import BuildFailed, EngineError, EngineUnavailable

CHILD = Path(__file__).with_name("child.py")
ADD = Path(__file__).with_name("add.sh")
DEFAULT = f"""\
FROM python:{sys.version_info.major}.{sys.version_info.minor}
WORKDIR /opt/program
ADD . /opt/program/
RUN pip install --no-cache-dir -r requirements.txt
"""
_INDEX = ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
_COLOUR = re.compile(r"\x1b\[[0-9;]*+[A-Za-z]")
_DOCKERFILE = ".kaosd-dockerfile"  # lies in the context, and is no part of it
_OUTPUT = 400  # lines of a build that are looked through for the reason of its failure


@dataclass(slots=True)
class Heard:
    """What a child has told. lines: the last ones."""

    log: Log
    lines: list[str] = field(default_factory=list)
    image: str | None = None
    failed: str | None = None
    stage: str = "engine"

    def line(self, text: str) -> None:
        """Take one line of the child's output."""
        try:
            told = json.loads(text)
        except ValueError:
            told = {"line": text}  # a traceback
        shown = told.get("line", "").rstrip().rpartition("\r")[2]  # what a progress line has not overwritten
        if line := _COLOUR.sub("", shown).rstrip():
            self.log.line(line)
            self.lines = [*self.lines[1 - _OUTPUT :], line]
        self.image = told.get("image", self.image)
        self.failed = told.get("failed", self.failed)
        self.stage = told.get("stage", self.stage)


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds images called *repository*:<digest>. variables: the daemon's own."""

    connection: Connection
    repository: str
    labels: Mapping[str, str]
    cache: str
    variables: Mapping[str, str]

    async def build(self, inputs: Inputs, log: Log) -> str:
        """The id of the image of *inputs*. Raises BuildFailed or EngineUnavailable; cancelled, nothing is left."""
        facts = await self.connection.facts()
        name = f"{self.repository}-adding-{secrets.token_hex(4)}"
        _refuse(inputs.declared)
        with _errors(), tempfile.TemporaryDirectory(prefix="kaosd-build-") as place:
            text = await asyncio.to_thread(_lay_out, inputs, Path(place), self.variables, self.labels)
            if not facts.podman:
                await asyncio.to_thread(dockerfile.refuse_buildkit, text)
            order = self._write_order(facts, Path(place), inputs, name)
            heard = Heard(log)
            running = proc.run(
                [sys.executable, "-I", str(CHILD), str(order)],
                cwd=Path(place),
                env={**self.variables, "PYTHONUNBUFFERED": "1"},
                line=heard.line,
            )
            try:
                finished = await self.connection.watched(asyncio.ensure_future(running))
            finally:
                await self._remove(name)
            if heard.image is not None and finished.code == 0:
                return heard.image
            raise await asyncio.to_thread(self._failure, heard, text, finished.code)

    def _write_order(self, facts: Facts, place: Path, inputs: Inputs, name: str) -> Path:
        """Write what the child is to do; see there."""
        order = {
            "address": facts.address,
            "context": str(place / "bundle" / inputs.declared.root),
            "dockerfile": _DOCKERFILE,
            "labels": dict(self.labels),
            "repository": self.repository,
            "tag": inputs.digest,
            "name": name,
            "adding": str(place / "adding"),
            "uv": uv.find_uv_bin(),
            "cache": self.cache,
            "security": ["label=disable"] if facts.selinux else [],
        }
        path = place / "order.json"
        path.write_text(json.dumps(order))
        return path

    def _failure(self, heard: Heard, text: str, code: int) -> EngineError:
        """What the end of a child means that brought no image."""
        if heard.failed is None:
            return EngineUnavailable(f"the build ended with exit code {code} and told nothing")
        if heard.stage == "build":
            return dockerfile.failure(text, heard.lines, heard.failed)
        if heard.stage == "add":
            words = [line for line in heard.lines if not line.startswith(("WARNING", "[notice]"))][-3:]
            return BuildFailed(f"JupyterLab cannot be added to the image: {' | '.join(words)}")
        return refusal(heard.failed)

    async def _remove(self, name: str) -> None:
        """Take away the container that adds, if a cancelled child has left it."""
        with contextlib.suppress(NoSuchThing, EngineUnavailable):
            await self.connection.call(lambda client: client.remove_container(name, force=True, v=True))


def _lay_out(inputs: Inputs, place: Path, variables: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """Write context, Dockerfile and the child's mounts below *place*; the Dockerfile's text. OSError, BuildFailed."""
    bundle, adding, declared = place / "bundle", place / "adding", inputs.declared
    inputs.export(bundle)
    model = bundle / declared.root
    model.mkdir(parents=True, exist_ok=True)
    if declared.dockerfile is not None:
        text = _text(bundle / declared.dockerfile, declared.dockerfile)
    else:
        (model / "requirements.txt").touch()
        text = DEFAULT.replace("requirements.txt", declared.beside or "requirements.txt")
    (model / _DOCKERFILE).write_text(dockerfile.labelled(text, labels), encoding="utf-8")
    ignored = bundle / ".dockerignore"
    if ignored.exists() and not (model / ".dockerignore").exists():
        ignored.rename(model / ".dockerignore")
    rules = model / ".dockerignore"
    rules.write_text(f"{_text(rules, '.dockerignore') if rules.exists() else ''}\n{_DOCKERFILE}\n", encoding="utf-8")
    adding.mkdir()
    (adding / "add.sh").write_bytes(ADD.read_bytes())
    (adding / "context").write_bytes(b"\0".join(_files(os.fsencode(model))))
    chosen = {name: variables[name] for name in _INDEX if name in variables}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in chosen.items()]
    (adding / "variables").write_text("".join(lines))
    return text


def _text(path: Path, shown: str) -> str:
    """The text of a file of the bundle, which is UTF-8 afterwards. BuildFailed names it when it is no text."""
    try:
        return encodings.rewrite(path)
    except encodings.NotTextError as error:
        raise BuildFailed(f"{shown} {error}") from error


def _refuse(declared: Declared) -> None:
    """BuildFailed for an environment file that no image is made of here."""
    if declared.dockerfile is None and declared.kind not in ("requirements", "none"):
        raise BuildFailed(
            f"the docker engine makes no image out of {declared.file}",
            hint="write a Dockerfile that installs it, or use --engine process",
        )


def _files(top: bytes) -> Iterator[bytes]:
    """Paths of everything below *top* that is no directory, relative to it."""
    for directory, folders, names in os.walk(top):
        links = [name for name in folders if os.path.islink(os.path.join(directory, name))]
        for name in (*names, *links):
            yield os.path.relpath(os.path.join(directory, name), top)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Turn an OSError of our own writing into what leaves an engine."""
    try:
        yield
    except OSError as error:
        raise EngineUnavailable(f"the build cannot be laid out: {error}") from error
