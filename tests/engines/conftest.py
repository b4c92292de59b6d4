"""Orders, inputs and logs for engines, and two environments that are built once for all tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import pytest
from blake3 import blake3

from kaosd import encodings
from kaosd.bundle import Store, sync
from kaosd.declared import Choice, Texts, declare
from kaosd.engines.base import Engine, Home, Order
from kaosd.engines.process import ProcessEngine
from kaosd.model import Environment, Host, NotebookSpec, Resources
from tests.pachyderm.trees import tree

EXTRA = "humanize==4.9.0"  # what the second environment has more; nothing that serves JupyterLab needs it
SECRETS = {
    "KAOSD_SECRET": "s3cret-1",
    "NOTIFY_SOCKET": "/run/s3cret-2",
    "LISTEN_FDS": "s3cret-3",
    "AWS_SECRET_ACCESS_KEY": "s3cret-4",
    "SSH_AUTH_SOCK": "/s3cret-5",
    "CREDENTIALS_DIRECTORY": "/s3cret-6",
    "JUPYTER_TOKEN": "s3cret-7",
    "PYTHONPATH": "/s3cret-8",
}
SPEC = NotebookSpec("notebook-test-ada", "test", "ada")


class Lines:
    """A log that remembers its lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []
        self.far: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def step(self, number: int, steps: int, text: str) -> None:
        self.line(f"step {number}/{steps} {text}")

    def progress(self, text: str) -> None:
        self.far.append(text)


class Files:
    """Environment inputs given as texts by path."""

    def __init__(
        self, files: Mapping[str, str | bytes], choice: Choice | None = None, work: Path | None = None
    ) -> None:
        self.files = files
        self.declared = declare(Texts({path: readable(content) for path, content in files.items()}), choice)
        self.work = work
        self.digest = blake3(repr((sorted(files.items()), choice, work)).encode()).hexdigest()

    @classmethod
    def of(cls, requirements: str, **others: str) -> Files:
        return cls({"model/requirements.txt": requirements, **others})

    def export(self, target: Path) -> None:
        for name, text in self.files.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode() if isinstance(text, str) else text)


def readable(content: str | bytes) -> str:
    """The text as it is looked at before an engine reads it."""
    try:
        return content if isinstance(content, str) else encodings.text(content)
    except encodings.NotTextError:
        return content.decode("utf-8", "surrogateescape")


@pytest.fixture(scope="session")
def environments() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ke"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def built(environments: Path) -> tuple[Environment, Environment]:
    """The environment without requirements, and the same with EXTRA."""

    async def build() -> tuple[Environment, Environment]:
        engine = ProcessEngine(environments)
        log = Lines(environments / "log")
        one = await engine.build(SPEC, Files.of(""), log)
        return one, await engine.build(SPEC, Files.of(f"{EXTRA}\n"), log)

    return asyncio.run(build())


@pytest.fixture
def base(built: tuple[Environment, Environment]) -> Environment:
    return built[0]


@pytest.fixture
def extended(built: tuple[Environment, Environment]) -> Environment:
    return built[1]


@pytest.fixture
def twin(built: tuple[Environment, Environment]) -> Environment:
    """Another environment with the server of `base`."""
    return built[1]


@pytest.fixture
def log(short: Path) -> Lines:
    return Lines(short / "job.log")


@pytest.fixture
async def engine(environments: Path) -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(environments, variables={**os.environ, **SECRETS})
    yield engine
    await engine.close()


@pytest.fixture
async def order_for(engine: Engine, short: Path) -> AsyncIterator[Callable[..., Order]]:
    """Make an order for an environment, always in the same home; its hosts are ended with the test."""
    home = make_home(short / "n")

    def make(environment: Environment, resources: Resources | None = None) -> Order:
        spec = NotebookSpec(SPEC.name, SPEC.workspace, SPEC.user, resources=resources or Resources())
        origins = ("127.0.0.1:8890", "localhost:8890")
        return Order(spec, home, environment, f"/{SPEC.name}/", home.logs / "host.log", origins)

    yield make
    await engine.sweep(home, None)


@pytest.fixture
def order(order_for: Callable[..., Order], base: Environment) -> Order:
    return order_for(base)


@pytest.fixture
def order_with(order: Order) -> Callable[[str, str], Awaitable[Order]]:
    """Make an order whose host has a file of this name and text in its work directory."""

    async def make(name: str, text: str) -> Order:
        (order.home.work / name).write_text(text)
        return order

    return make


@pytest.fixture
def save(short: Path) -> Iterator[Callable[[Host, Order, dict[str, str]], Awaitable[None]]]:
    """Bring these files to the directory of a host in the place of those that were brought before."""
    with contextlib.closing(Store(short / "saved")) as store:
        before: list[str | None] = [None]

        async def bring(host: Host, order: Order, files: dict[str, str]) -> None:
            new = tree(store, {path: text.encode() for path, text in files.items()})
            sync(store, order.home.work, (before[0],), new, short / "recovered")
            before[0] = new

        yield bring


def make_home(root: Path) -> Home:
    home = Home(root, root / "work", root / "data", root / "jupyter", root / "logs", root / "token", root / "run")
    for directory in (root, home.work, home.jupyter, home.logs, home.run):
        directory.mkdir(mode=0o700)
    home.token_file.write_text(secrets.token_hex(24))
    home.token_file.chmod(0o600)
    return home
