"""One build, in a process of its own: `python child.py order.json`. To kill the process is to cancel the build.

Needs docker's library, and of kaosd only its patterns. Tells what it does in lines of JSON: {"line": text} as it comes,
then {"image": id} or {"failed": sentence of the engine, "stage": "connect" | "build" | "add" | "engine"}.

order.json: address · context (directory) · dockerfile (its name in there) · labels · repository, tag (of the result) ·
name (of the container that adds JupyterLab) · adding (directory mounted there, with add.sh) · uv · cache (volume) ·
security (options).
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

import docker
import docker.utils.build

from kaosd import globs

_TIMEOUT = 3600  # seconds of silence after which a build counts as lost
_IMAGE = re.compile(r"(?:^Successfully built |sha256:)([0-9a-f]{12,64})$")
_STDERR = re.compile(r"\x1b\[91m(.*)\x1b\[0m", re.DOTALL)  # a piece of it, as Docker gives it
ADDING = "/kaosd-build"
LINE = 64 * 1024  # bytes; a longer line is told in pieces


class Failed(Exception):
    """A stage that came to nothing."""

    def __init__(self, stage: str, text: str) -> None:
        super().__init__(text)
        self.stage = stage


def tell(**message: str) -> None:
    """Say one thing to the daemon."""
    print(json.dumps(message), flush=True)  # noqa: T201 - it listens there


def ignored(path: str, pattern: str) -> bool:
    """Whether *pattern* of .dockerignore names *path*; instead of the library, whose own match can take for ever."""
    return _expression(pattern).match(os.fsencode(path)) is not None


@functools.cache
def _expression(pattern: str) -> re.Pattern[bytes]:
    name = os.fsencode(pattern)
    try:
        return globs.dockerignore(name)
    except ValueError:  # "[" that is not closed, for example: it can only be meant as it stands
        return re.compile(re.escape(name) + rb"\Z")


docker.utils.build.fnmatch = ignored


def main(path: str) -> int:
    """Build, add what JupyterLab needs, name the result; the exit code."""
    with open(path, encoding="utf-8") as file:
        order = json.load(file)
    try:
        client = docker.APIClient(base_url=order["address"], version="auto", timeout=_TIMEOUT)
    except docker.errors.DockerException as error:
        tell(failed=str(error), stage="connect")
        return 1
    try:
        base = build(client, order)
        tell(image=add(client, order, base))
    except Failed as failed:
        tell(failed=str(failed), stage=failed.stage)
        return 1
    except docker.errors.DockerException as error:
        tell(failed=str(getattr(error, "explanation", None) or error), stage="engine")
        return 1
    return 0


def build(client: Any, order: Mapping[str, Any]) -> str:
    """The image of the bundle's own Dockerfile."""
    wishes = {"rm": True, "forcerm": True, "decode": True, "dockerfile": order["dockerfile"]}  # labels are in there
    try:
        with tempfile.TemporaryFile(buffering=0) as file, Context(file) as packed:
            pack(order["context"], order["dockerfile"], packed)
            image = follow(client.build(fileobj=packed, custom_context=True, **wishes))
    except docker.errors.APIError as error:  # before the first step: it does not parse
        raise Failed("build", str(error.explanation)) from error
    if image is None:
        raise Failed("build", "the engine has not named the image that it built")
    return image


class Context(io.BufferedRandom):
    """A temporary file in which zeros take no room, so that holes of sparse files cost nothing until they are sent."""

    end = 0  # where the last zeros ended

    def write(self, data: Any) -> int:
        """Write *data*, or leave a hole where it is nothing but zeros."""
        if data.count(0) < len(data):
            return super().write(data)
        self.end = self.seek(len(data), os.SEEK_CUR)
        return len(data)


def pack(top: str, dockerfile: str, into: Context) -> None:
    """Write the directory *top* as an archive, without what its .dockerignore names; *into* is read from its start."""
    rules = os.path.join(top, ".dockerignore")
    lines: list[str] = []
    if os.path.exists(rules):
        with open(rules, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    exclude = [line for line in lines if line and not line.startswith("#")]
    docker.utils.build.tar(top, exclude=exclude, dockerfile=(dockerfile, None), fileobj=into)
    into.truncate(max(into.end, into.seek(0, os.SEEK_END)))
    into.seek(0)


class BuildOutput:
    """The lines of a build, which come in pieces: a program's line may be in several, each within colours on stderr."""

    def __init__(self) -> None:
        self._unfinished = {"stdout": "", "stderr": ""}

    def take(self, piece: str) -> list[str]:
        """The lines that end in *piece*."""
        coloured = _STDERR.fullmatch(piece)
        stream, text = ("stderr", coloured[1]) if coloured else ("stdout", piece)
        text = self._unfinished[stream] + text
        whole, end, rest = text.rpartition("\n")
        if len(rest) > LINE:
            whole, rest = text, ""
        self._unfinished[stream] = rest
        return (whole + end).splitlines()

    def unfinished(self) -> list[str]:
        """What was written last, without the end of its line."""
        lines = [line for text in self._unfinished.values() for line in text.splitlines()]
        self._unfinished = dict.fromkeys(self._unfinished, "")
        return lines


def follow(chunks: Iterable[Mapping[str, Any]]) -> str | None:
    """Tell the lines of a build as they come; the id of its image."""
    image: str | None = None
    pulled: dict[str, str] = {}
    output = BuildOutput()
    for chunk in itertools.chain(chunks, [{}]):
        for line in output.take(chunk["stream"]) if "stream" in chunk else output.unfinished():
            if line.strip():
                tell(line=line)
            found = _IMAGE.search(line.strip())
            image = found[1] if found else image
        if "error" in chunk:
            raise Failed("build", chunk["error"].strip())
        if "ID" in (chunk.get("aux") or {}):
            image = chunk["aux"]["ID"]
        layer, status = chunk.get("id", ""), chunk.get("status")
        if status and pulled.get(layer) != status:
            pulled[layer] = status
            tell(line=f"{layer}: {status}" if layer else status)
    return image


def add(client: Any, order: Mapping[str, Any], base: str) -> str:
    """The image of the environment: *base* and what JupyterLab needs, under its name."""
    mounts = [
        docker.types.Mount(ADDING, order["adding"], type="bind", read_only=True),
        docker.types.Mount(f"{ADDING}-uv", order["uv"], type="bind", read_only=True),
        docker.types.Mount(f"{ADDING}-cache", order["cache"], type="volume", labels=order["labels"]),
    ]
    host = client.create_host_config(mounts=mounts, security_opt=order["security"])
    entrypoint = ["/bin/sh", f"{ADDING}/add.sh"]
    container = client.create_container(
        base, name=order["name"], entrypoint=entrypoint, user="0", labels=order["labels"], host_config=host
    )["Id"]
    try:
        client.start(container)
        lines = _lines(client.logs(container, stream=True, follow=True))
        for line in lines:
            tell(line=line)
        code = client.wait(container)["StatusCode"]
        if code != 0:
            raise Failed("add", f"exit code {code}")
        client.commit(container, repository=order["repository"], tag=order["tag"])
    finally:
        client.remove_container(container, force=True, v=True)
    found: str = client.inspect_image(f"{order['repository']}:{order['tag']}")["Id"]
    return found


def _lines(pieces: Iterable[bytes]) -> Iterable[str]:
    """The lines in a stream of bytes."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > LINE:
            lines, rest = [*lines, rest], b""
        yield from (line.decode("utf-8", "replace") for line in lines if line.strip())
    if rest.strip():
        yield rest.decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
