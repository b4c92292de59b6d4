"""The contract of an engine, and what all engines share.

An engine knows nothing of versions, planning or the journal: it is handed directories and orders, and answers
with values. Its errors are EngineErrors; nothing of its libraries leaves it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from kaosd.declared import Declared
from kaosd.hosted.states import State
from kaosd.model import ByHand, Environment, Host, HostStatus, NotebookSpec, Resources

Told = Callable[[str], None]
Leaving = Callable[[], Awaitable[None]]


class Log(Protocol):
    """Where the lines of a stage go, as they come."""

    path: Path

    def line(self, text: str) -> None:
        """Append one line (control characters are escaped, a time stamp is put in front)."""

    def step(self, number: int, steps: int, text: str) -> None:
        """Append the line "step number/steps text", and show it as what is being done, until the next step."""

    def progress(self, text: str) -> None:
        """Show how far the current step is, in place of what was said before; nothing is written to the log."""


class Inputs(Protocol):
    """The environment inputs of one source version, read from the store and never from the source directory."""

    digest: str
    declared: Declared  # what the environment is to be
    work: Path | None  # where the notebook has its root, from which the code of local projects is read

    def export(self, target: Path) -> None:
        """Write the inputs below *target* (made if absent) as they lie in the bundle, e.g. model/requirements.txt.

        Engines that build out of the whole bundle (builds_bundle) get all of its files.
        """


@dataclass(frozen=True, slots=True)
class Home:
    """The directories of one notebook in the state directory; all exist, mode 0700, when an engine sees them.

    work: the notebook root (content of the bundle's model/), kept by three-way sync.
    data: a symbolic link, replaced atomically, to the attached data; dangling link or absent when there is none.
    jupyter: config/, data/, runtime/ and ipython/ of this host, away from the person's own.
    logs: one file per stage and deployment. token_file: 0600, no newline. run: for sockets (short path).
    """

    root: Path
    work: Path
    data: Path
    jupyter: Path
    logs: Path
    token_file: Path
    run: Path


@dataclass(frozen=True, slots=True)
class Order:
    """All that starting a host takes. base_url: "/<name>/", also its path behind the front.

    log: file that the host appends its own output to (it must outlive the daemon).
    origins: what a browser may send as Host of the front, e.g. ("127.0.0.1:8890", "localhost:8890").
    """

    spec: NotebookSpec
    home: Home
    environment: Environment
    base_url: str
    log: Path
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """One path in which two versions of a directory differ. size: bytes; content: its digest, None: it is gone.

    fresh: nothing was at this path before. link: a symbolic link, whose content is its target.
    """

    path: bytes
    content: str | None
    size: int = 0
    fresh: bool = True
    link: bool = False


class Content(Protocol):
    """One version of a data directory, for an engine that sends it to where its hosts are."""

    digest: str

    def pieces(self, since: str | None) -> list[Piece] | None:
        """What differs from the version *since* (None: from nothing), parents first; None: that is not known any more.

        Blocking.
        """

    def chunks(self, piece: Piece, size: int) -> Iterator[bytes]:
        """The content of a file in parts of at most *size* bytes, one empty part for an empty file. Blocking."""

    def bare(self) -> tuple[int, int]:
        """How many files are executable and how many directories empty; a store of mere files keeps neither.

        Blocking.
        """


class Engine(Protocol):
    """Builds environments and hosts notebooks; one instance per daemon.

    Methods may run concurrently for different notebooks, and `build` for the same digest at once (it then
    builds once, and both get the result).
    """

    name: str
    data_link: str | None  # where the notebook's directory finds the data ({name}: the notebook's); None: not by a link
    builds_bundle: bool  # a build takes the whole bundle, though only its environment inputs make a new one due

    async def built(self, digest: str) -> Environment | None:
        """The environment of *digest* if it is complete and usable, else None."""

    async def build(self, spec: NotebookSpec, inputs: Inputs, log: Log) -> Environment:
        """Make (or reuse) the environment of inputs.digest, telling *log* each line as it comes.

        Cancellable at any await: the build's processes end and nothing half-made is ever taken for complete.
        Raises BuildFailed (with the requirements line where one is to blame) or EngineUnavailable.
        """

    async def start(self, order: Order, log: Log) -> Host:
        """Start a host and return when it answers GET <base_url>api/status with the token.

        A host of the same notebook may still be running: both live until the caller stops the old one.
        Cleans up after itself when it fails or is cancelled. Raises StartFailed with the last lines of the log.
        """

    async def switch(self, host: Host, order: Order) -> Host | None:
        """Give kernels that start from now on order.environment, leaving server and running kernels alone.

        None when only a new host can serve it (the caller then starts one and stops this one).
        """

    async def apply(self, host: Host, resources: Resources) -> bool:
        """Change the limits of the running host in place; False, and nothing changed, when only a new host can.

        Raises what `start` would raise before it replaces anything.
        """

    async def reaches(self, host: Host, linked: Path | None) -> bool:
        """Whether the running host can see data: a version of it in the home (None), or the directory *linked*.

        False when only a new host can.
        """

    async def probe(self, host: Host) -> HostStatus:
        """Ask the host how it is, within 5 s. Never raises for a dead host: that is an answer."""

    async def stop(self, host: Host, grace: float) -> None:
        """Stop the host and its kernels: politely, after *grace* seconds by force. Idempotent."""

    async def adopt(self, handle: dict[str, object]) -> Host | None:
        """The host of *handle* if it still runs and is ours (not merely a process of the same number)."""

    async def sweep(self, home: Home, host: Host | None) -> None:
        """End every process that an earlier daemon started for this home, but *host*.

        A daemon can be killed between starting a host and writing it down; such a host is found here (by a
        mark in its environment or handle file, never by a bare pid) and ended with its kernels.
        """

    async def ended(self, host: Host) -> None:
        """Return when the host's main process has ended."""

    async def forget(self, home: Home) -> None:
        """Remove all that the engine holds for a notebook that was killed, but the home itself."""

    async def collect(self, keep: frozenset[str]) -> None:
        """Remove environments whose digest is not in *keep* and that no running host uses."""

    def enforced(self, host: Host) -> bool:
        """Whether the kernel enforces the resources of the host (read back, not assumed)."""

    def check(self, resources: Resources) -> None:
        """Raise ConfigError when this machine cannot give *resources*, naming the field and what there is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `kaosctl doctor` says about an engine. severity: ok, warning or error."""

    code: str
    severity: str
    text: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """What the environment of a notebook holds. packages: versions by name. python: its version, such as "3.11".

    by_hand: packages installed by hand, which are found first. unused: such packages for other versions of Python, as
    "name version" by that version.
    """

    python: str
    packages: dict[str, str]
    by_hand: tuple[ByHand, ...]
    unused: dict[str, list[str]]


@runtime_checkable
class Listing(Protocol):
    """What an engine has besides when it can tell what an environment holds."""

    async def contents(self, environment: Environment, home: Home) -> Contents:
        """The packages of an environment, and those installed by hand in this home. Raises EngineError."""

    async def outdated(self, environment: Environment) -> dict[str, str]:
        """The newest versions of those packages that are older, by name, from the package index. Raises EngineError."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """Which repos of a notebook were deleted, and which of them are still there."""

    deleted: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


@runtime_checkable
class Remote(Protocol):
    """What an engine has besides when another program keeps its hosts, which may not answer."""

    async def reach(self) -> None:
        """Raise EngineError when that program cannot be asked now."""

    async def examine(self) -> list[Finding]:
        """What is right and wrong with that program, each with its fix. Never raises."""


@dataclass(frozen=True, slots=True)
class FileEdit:
    """One change of a host's directory: what must be there (None: nothing), and what is to be (kind None: nothing).

    kind: f, x, l or d, as in State. chunks: gives the content (of a link: the target) in parts of at most that size.
    """

    path: bytes
    expected: State | None
    kind: str | None
    size: int = 0
    chunks: Callable[[int], Iterator[bytes]] = lambda _size: iter(())


@dataclass(frozen=True, slots=True)
class EditOutcome:
    """What became of a FileEdit that was tried: done, or what stands *at* its path, or in its way above it."""

    done: bool
    at: bytes = b""
    found: State | None = None


class HostFiles(Protocol):
    """The directory of a host that sees none of this machine's. States have SHA-256 digests. Raises HostUnreachable."""

    async def holds(self) -> tuple[str, ...] | None:
        """The versions that may be in it, by the host's own word; None when nothing was brought since it started.

        To be asked first: what follows goes to that very host, and fails when it starts again.
        """

    async def look(self, paths: Sequence[bytes] | None) -> dict[bytes, State | None]:
        """What is at *paths*, or all (None) that persons, kernels and kaosd have put there, but caches."""

    async def read(self, path: bytes, file: BinaryIO) -> str:
        """Write what is at *path* to *file*, and return its digest."""

    async def change(
        self, edits: Sequence[FileEdit], before: Sequence[str] | None, after: Sequence[str] | None
    ) -> list[EditOutcome]:
        """Make changes in their order; the first that finds something else is the last one.

        before: versions that may be there from now on. after: the same when all were made; then the host is open to
        everybody.
        """

    async def leave(self, why: str) -> None:
        """Tell the tabs that the host is about to be replaced, and have what is open in them saved."""


@runtime_checkable
class Carrier(Remote, Protocol):
    """What an engine has besides when its hosts cannot see this machine's directories."""

    def files(self, host: Host) -> HostFiles | None:
        """The directory of the host; None when its image holds the code, since an older kaosd has started it."""

    async def record(self, spec: NotebookSpec, digest: str, export: Callable[[Path], None]) -> None:
        """Keep the source version *digest* where all of them are. export: writes it below a directory; blocking.

        Nothing happens when it is the newest one there. Raises EngineError.
        """

    async def carry(
        self, spec: NotebookSpec, content: Content | None, host: Host | None, told: Told, leaving: Leaving
    ) -> None:
        """Bring *content* (None: no data) to where hosts of the notebook see it; return when *host*, if any, answers.

        Nothing happens when it is there already. Otherwise *host* starts again, with nothing in its directory, and
        *leaving* is waited for before that. told: is given a line now and then. Raises EngineError.
        """

    async def renew(self, order: Order, log: Log) -> Host:
        """Replace the running host by one of the same order. Raises as `start`."""

    def repos(self, notebook: str) -> tuple[str, str]:
        """What the repos with all versions of source and data are called there; they stay when it is forgotten."""

    async def clear(self, spec: NotebookSpec, unwanted: Collection[str]) -> Cleared:
        """Delete those of `repos` that are *unwanted*, when kaosd made them for this notebook. After `forget`."""
