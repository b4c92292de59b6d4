"""The environments of this machine: one directory per digest of inputs, built once, shared by all notebooks.

`<root>/<digest>/` is a virtual environment and complete only with its marker, which is written last. Whoever builds or
removes one holds its lock (an asyncio lock within the daemon, flock between daemons). All processes of a build carry a
mark in their environment, by which those of a killed daemon are found and ended before the directory is made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from kaosd import proc
from kaosd.engines.base import Inputs, Log
from kaosd.engines.process import intact
from kaosd.engines.process.blame import blame
from kaosd.engines.process.copying import MARKER, distributions
from kaosd.engines.process.files import replace_file
from kaosd.engines.process.intact import damage, seal
from kaosd.engines.process.recipe import LOCK, LastEnvironment, Recipe, no_space
from kaosd.engines.process.server import server_digest
from kaosd.engines.process.spares import Spares
from kaosd.engines.process.surroundings import build_variables
from kaosd.errors import EngineUnavailable
from kaosd.hosted import overlay
from kaosd.model import Environment, NotebookSpec

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LAST = "last"  # per notebook, the lock that it was built with most recently, below the digest of that environment
_OF = re.compile(rb"# environment ([0-9a-f]{64})\n")
_TRASH = ".trash-"
_CLEARED = 10  # times that a directory which comes back is cleared
_ASKING = 60.0  # seconds in which the package index must say what is newest
_LOCK_POLL = 0.2  # s; flock cannot be awaited


class Environments:
    """See the module. uv: path of its binary. python: the interpreter for inputs that name none.

    own: the daemon's environment. downloads: whether uv may fetch a Python that is not on this machine.
    """

    def __init__(self, root: Path, uv: str, python: str, own: Mapping[str, str], *, downloads: bool = False) -> None:
        self.root = root
        self._uv = uv
        self._python = python
        self._own = own
        self._downloads = downloads
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._removing: set[asyncio.Future[None]] = set()
        self._spares = Spares(root, build_variables(own), self._remove)
        (root / _LAST).mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """The directory of an environment, complete or not."""
        return self.root / digest

    def complete(self, digest: str) -> Environment | None:
        """The environment if its marker is there and it is what was built, as far as its top directory tells."""
        path = self.path(digest)
        marker = _marker(path)
        if marker is None or damage(path, _seal(marker)):
            return None
        return Environment(digest, str(path), marker["server"], tuple(marker.get("notes", ())))

    def damage(self, digest: str, server: str) -> str:
        """What is wrong with an environment that a host with the digest *server* uses, as a sentence; "": nothing."""
        path = self.path(digest)
        marker = _marker(path)
        if found := damage(path, _seal(marker)):
            return found
        if marker is None:
            return "the environment is not complete"
        return "" if marker["server"] == server else "the environment was built again with other packages of JupyterLab"

    def built_at(self, path: Path) -> float:
        """When the environment at *path* was complete; 0 when it is not."""
        try:
            return (path / MARKER).stat().st_mtime
        except OSError:
            return 0.0

    async def examine(self, digest: str) -> str:
        """Look at every file of an environment; what was found, which `damage` tells from now on. Raises OSError."""
        path = self.path(digest)
        argv = [sys.executable, "-I", "-S", intact.__file__, str(path), str((path / MARKER).stat().st_mtime_ns)]
        finished = await proc.run(argv, cwd=self.root, env=self._own)
        if finished.code != 0 or not finished.output:
            return ""
        replace_file(path / intact.DAMAGED, finished.output.encode())
        return finished.output

    async def outdated(self, digest: str) -> dict[str, str]:
        """The newest versions of packages that are older in an environment, from the package index of pip's settings.

        Raises EngineUnavailable when the index cannot be asked.
        """
        python = self.path(digest) / "bin" / "python"
        argv = [self._uv, "pip", "list", "--outdated", "--format", "json", "--no-config", "--python", str(python)]
        try:
            async with asyncio.timeout(_ASKING):
                finished = await proc.run(argv, cwd=self.root, env=build_variables(self._own))
        except TimeoutError as error:
            raise EngineUnavailable(f"the package index did not answer within {_ASKING:g} s") from error
        if finished.code != 0:
            raise EngineUnavailable(f"the package index cannot be asked: {blame(finished.output, {})}")
        text = finished.output.replace("\n", "")  # a long line comes in pieces, and uv may write more before and after
        listed, _ = json.JSONDecoder().raw_decode(text, text.index("[{")) if "[{" in text else ([], 0)
        return {str(one["name"]): str(one["latest_version"]) for one in listed}

    async def build(self, spec: NotebookSpec, inputs: Inputs, log: Log) -> Environment:
        """Make the environment, or take the complete one. Raises BuildFailed or EngineUnavailable."""
        try:
            return await self._build(spec, inputs, log)
        except OSError as error:
            raise no_space(error) from error

    async def _build(self, spec: NotebookSpec, inputs: Inputs, log: Log) -> Environment:
        found = self.complete(inputs.digest)
        if found is None:
            async with self._lock(inputs.digest):
                found = self.complete(inputs.digest) or await self._make(spec, inputs, log)
        else:
            log.line(f"environment {inputs.digest[:7]} is there already")
        before = _digest_of(self._last(spec))
        lock = (self.path(inputs.digest) / LOCK).read_bytes()
        replace_file(self._last(spec), f"# environment {inputs.digest}\n".encode() + lock)
        if inputs.declared.kind == "conda":  # no other can start with it
            return found
        self._spares.prepare(inputs.digest, before if before != inputs.digest else None)
        return found

    async def _make(self, spec: NotebookSpec, inputs: Inputs, log: Log) -> Environment:
        """Build under the lock; whatever ends this early leaves neither a directory nor a process."""
        target = self.path(inputs.digest)
        variables = await asyncio.to_thread(build_variables, self._own)  # pip's files may have changed
        variables |= {proc.BUILD_MARK: str(target)}
        try:
            await self._empty(target)
            recipe = Recipe(self._uv, self._python, variables, log, self._last(spec), self._downloads)
            notes = await recipe.make(inputs, target, self._past(spec))
            server = await asyncio.to_thread(server_digest, target)
            marker = {
                "server": server,
                "python": self._python,
                "installed": distributions(target),
                "notes": list(notes),
                "seal": await asyncio.to_thread(seal, target),
            }
            replace_file(target / MARKER, json.dumps(marker).encode())
        except BaseException:
            await self._clear(target)
            raise
        log.line(f"environment {inputs.digest[:7]} is complete")
        return Environment(inputs.digest, str(target), server, notes)

    def _past(self, spec: NotebookSpec) -> LastEnvironment | None:
        """The environment that the notebook was built with most recently, as far as a new one can start with it."""
        digest = _digest_of(self._last(spec))
        if digest is None or self.complete(digest) is None:
            return None
        path = self.path(digest)
        if json.loads((path / MARKER).read_text()).get("python") != self._python or not _of_this_python(path):
            return None
        return LastEnvironment(digest, path, lambda target: self._spares.take(digest, target))

    async def _empty(self, target: Path) -> None:
        """Make *target* an empty directory. A server that runs in it may put bytecode there again meanwhile."""
        for left in reversed(range(_CLEARED)):
            try:
                await self._clear(target)
                await asyncio.to_thread(target.mkdir, mode=0o700)
            except OSError as error:
                if not left or error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                    raise
            else:
                return

    async def _clear(self, target: Path) -> None:
        """Kill the processes of an earlier build of *target* and take it away, at once by its name."""
        if not await asyncio.to_thread(os.path.lexists, target):
            return

        def marked() -> list[int]:
            return [pid for pid in proc.pids() if proc.environ_value(pid, proc.BUILD_MARK) == str(target)]

        await proc.kill_all(marked)
        if (trash := _trashed(target)) is not None:
            self._remove(trash)

    def _remove(self, trash: Path) -> None:
        """Remove a directory in the background: tens of thousands of files would keep the next build waiting."""
        removing = asyncio.ensure_future(asyncio.to_thread(shutil.rmtree, trash, ignore_errors=True))
        self._removing.add(removing)
        removing.add_done_callback(self._removing.discard)

    async def close(self) -> None:
        """Break off what is made at leisure, and wait until what is being removed is gone."""
        await self._spares.close()
        await asyncio.gather(*self._removing)

    async def collect(self, keep: frozenset[str]) -> None:
        """Remove what is not in *keep* and not used by a running process, half-made ones, and trash."""
        last = {_digest_of(path) for path in (self.root / _LAST).glob("*.txt")}
        self._spares.collect(keep & last)
        for name in sorted(os.listdir(self.root)):
            path = self.root / name
            if _TRASH in name:
                self._remove(path)
            elif _DIGEST.fullmatch(name) and not (name in keep and self.complete(name)):
                await self._discard(name)

    async def _discard(self, digest: str) -> None:
        """Remove an environment unless it is being built or used at the moment."""
        if self._locks[digest].locked():
            return
        async with self._lock(digest, wait=False) as held:
            if held and not await asyncio.to_thread(_used, self.path(digest)):
                await self._clear(self.path(digest))
                self._lock_file(digest).unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def _lock(self, digest: str, *, wait: bool = True) -> AsyncIterator[bool]:
        """Hold the lock of *digest* within this daemon and between daemons; yields whether it is held."""
        async with self._locks[digest]:
            descriptor = _try_lock(self._lock_file(digest))
            while descriptor is None and wait:
                await asyncio.sleep(_LOCK_POLL)
                descriptor = _try_lock(self._lock_file(digest))
            try:
                yield descriptor is not None
            finally:
                if descriptor is not None:
                    os.close(descriptor)

    def _lock_file(self, digest: str) -> Path:
        return self.root / f"{digest}.lock"

    def _last(self, spec: NotebookSpec) -> Path:
        return self.root / _LAST / f"{spec.name}.txt"


def _marker(path: Path) -> dict[str, Any] | None:
    """What was written down of an environment when it was complete; None when it is not."""
    try:
        marker = json.loads((path / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) and "server" in marker else None


def _seal(marker: dict[str, Any] | None) -> dict[str, str]:
    found: dict[str, str] = (marker or {}).get("seal", {})
    return found


def _digest_of(last: Path) -> str | None:
    """The digest in the first line of the file; None when there is none."""
    try:
        match = _OF.match(last.read_bytes())
    except FileNotFoundError:
        return None
    return match[1].decode() if match else None


def _of_this_python(path: Path) -> bool:
    """Whether the interpreter of an environment is the one that it was made with, and was not upgraded since."""
    return (path / "bin/python").stat().st_ctime_ns < (path / MARKER).stat().st_mtime_ns


def _try_lock(path: Path) -> int | None:
    """An open descriptor that holds the lock; None while another daemon holds it, or has just removed the file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    os.close(descriptor)
    return None


def _trashed(path: Path) -> Path | None:
    """Move a directory into a new one beside it, to be removed at leisure; None when there is none."""
    if not path.exists():
        return None
    trash = Path(mkdtemp(prefix=f"{path.name}{_TRASH}", dir=path.parent))
    try:
        path.rename(trash / path.name)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.rmtree(path)  # an overlay does not move a directory of its lower layer
    return trash


def _used(path: Path) -> bool:
    """Whether a running process was started from *path*, or has it on its PATH as all that a host starts."""
    own, named = os.fsencode(path) + b"/", os.fsencode(f"{overlay.VARIABLE}={path}\0")
    return any(
        own in proc.command_bytes(pid) or own in (variables := proc.environ_bytes(pid)) or named in variables
        for pid in proc.pids()
    )
