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
from kaosd.declared import Declared, Image, image, made_from
from kaosd.declared.pythons import LOWEST_LAB, LOWEST_PYTHON
from kaosd.engines.base import Inputs, Log
from kaosd.engines.docker import dockerfile
from kaosd.engines.docker.connection import EngineConnection, refusal, remove_container, unreachable
from kaosd.engines.docker.facts import EngineFacts
from kaosd.errors import BuildFailed, EngineError, EngineUnavailable

CHILD = Path(__file__).with_name("child.py")
ADD = Path(__file__).with_name("add.sh")
_INDEX = ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
_OF_THE_IMAGE = "exit code 2"  # of add.sh: its last line says what is wrong with the image, and what to do
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
            if step := dockerfile.STEP.fullmatch(line):
                self.log.step(int(step[1]), int(step[2]), step[3])
            else:
                self.log.line(line)
            self.lines = [*self.lines[1 - _OUTPUT :], line]
        self.image = told.get("image", self.image)
        self.failed = told.get("failed", self.failed)
        self.stage = told.get("stage", self.stage)


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds images called *repository*:<digest>. variables: the daemon's own."""

    connection: EngineConnection
    repository: str
    labels: Mapping[str, str]
    cache: str
    variables: Mapping[str, str]

    async def build(self, inputs: Inputs, log: Log) -> str:
        """The id of the image of *inputs*. Raises BuildFailed or EngineUnavailable; cancelled, nothing is left."""
        facts = await self.connection.facts()
        name = f"{self.repository}-adding-{secrets.token_hex(4)}"
        made = _made(inputs.declared)
        with _errors(), tempfile.TemporaryDirectory(prefix="kaosd-build-") as place:
            text = await asyncio.to_thread(_lay_out, inputs, Path(place), self.variables, self.labels)
            if made is not None:
                log.line(f"Dockerfile made from {', '.join(made_from(inputs.declared)) or 'nothing'}:")
                for line in text.splitlines():
                    log.line(f"    {line}")
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
            raise await asyncio.to_thread(self._failure, heard, text, finished.code, made)

    def _write_order(self, facts: EngineFacts, place: Path, inputs: Inputs, name: str) -> Path:
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

    def _failure(self, heard: Heard, text: str, code: int, made: Image | None) -> EngineError:
        """What the end of a child means that brought no image. made: what the Dockerfile was made for, if it was."""
        if heard.failed is None:
            return EngineUnavailable(f"the build ended with exit code {code} and told nothing")
        if heard.stage == "connect":  # it has gone since we have asked it for its facts
            return unreachable(self.connection.place, heard.failed)
        if heard.stage == "build":
            failed = dockerfile.failure(text, heard.lines, heard.failed)
            if made is None:
                return failed
            return type(failed)(dockerfile.named(text, made.origins, failed.text), hint=failed.hint)
        if heard.stage == "add" and heard.lines and heard.failed == _OF_THE_IMAGE:
            text, _, hint = heard.lines[-1].removeprefix("ERROR: ").partition("; ")
            return BuildFailed(text, hint=hint)
        if heard.stage == "add":
            words = [line for line in heard.lines if not line.startswith(("WARNING", "[notice]"))][-3:]
            return BuildFailed(f"JupyterLab cannot be added to the image: {' | '.join(words)}")
        return refusal(heard.failed)

    async def _remove(self, name: str) -> None:
        """Take away the container that adds, if a cancelled child has left it."""
        with contextlib.suppress(EngineUnavailable):
            await self.connection.call(lambda client: remove_container(client, name))


def _lay_out(inputs: Inputs, place: Path, variables: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """Write context, Dockerfile and the child's mounts below *place*; the Dockerfile's text. OSError, BuildFailed."""
    bundle, adding, declared = place / "bundle", place / "adding", inputs.declared
    inputs.export(bundle)
    model = bundle / declared.root
    model.mkdir(parents=True, exist_ok=True)
    if declared.dockerfile is not None:
        text = _text(bundle / declared.dockerfile, declared.dockerfile)
    else:
        text = image(declared).text
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
    chosen |= {"LOWEST_PYTHON": ".".join(map(str, LOWEST_PYTHON)), "LOWEST_LAB": LOWEST_LAB}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in chosen.items()]
    (adding / "variables").write_text("".join(lines))
    return text


def _text(path: Path, shown: str) -> str:
    """The text of a file of the bundle, which is UTF-8 afterwards. BuildFailed names it when it is not text."""
    try:
        return encodings.rewrite(path)
    except encodings.NotTextError as error:
        raise BuildFailed(f"{shown} {error}") from error


def _made(declared: Declared) -> Image | None:
    """The image of a bundle without a Dockerfile. BuildFailed for environment files that none is made of."""
    if declared.dockerfile is not None:
        return None
    made = image(declared)
    if made.problem is not None:
        raise BuildFailed(made.problem.text, hint=made.problem.hint)
    return made


def _files(top: bytes) -> Iterator[bytes]:
    """Paths of everything below *top* that is not a directory, relative to it."""
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
