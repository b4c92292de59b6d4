"""The whole life of the daemon: acquire, run, release. The only module that names engines."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import os
import resource
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from kaosd import __version__, hooks, sd, state_layout
from kaosd.api import Api
from kaosd.bundle import Store
from kaosd.engines.base import Engine
from kaosd.engines.process import ProcessEngine
from kaosd.errors import ConfigError, KaosError
from kaosd.front import Front, OneTime
from kaosd.front_directory import FrontDirectory
from kaosd.journal import Journal
from kaosd.logging_setup import secret
from kaosd.notebook import News, Workshop, secret_file
from kaosd.planner import Settle
from kaosd.registry import Registry
from kaosd.requests import DaemonWide, Requests
from kaosd.settings import Settings
from kaosd.watch import Watcher

if TYPE_CHECKING:
    from kaosd.engines.docker import DockerEngine
    from kaosd.engines.pachyderm.engine import PachydermEngine

log = structlog.get_logger(__name__)
COLLECT_FIRST, COLLECT_EVERY = 30.0, 600.0  # seconds
DESCRIPTORS = 65536
LARGE = 2_000  # entries of nodes that are kept decoded after a look at a large tree
TRIM_EVERY = 60.0  # seconds, at least, between two times that free memory is given back
SWITCH = 0.0005  # seconds until a thread that computes lets another one continue; a save changes threads a few times


async def serve(
    settings: Settings, config: Path | None = None, activated: Mapping[str, tuple[socket.socket, ...]] | None = None
) -> int:
    """Run until SIGTERM, SIGINT or `kaosctl stop`; the exit code. config: the file as it was named, for reloads.

    activated: the sockets "control" and "front", where systemd listens on them for us.

    Raises ConfigError, in a group, when another daemon runs here or the front's port is taken.
    """
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        lock_state(settings, stack)
        state_layout.check(settings.state_dir)
        _raise_descriptor_limit()
        sys.setswitchinterval(SWITCH)
        shop = await _workshop(settings, stack)
        async with asyncio.TaskGroup() as group:
            registry = Registry(shop, group)
            once = OneTime()
            requests = Requests(registry, DaemonWide(settings, config, registry, stop.set, once))
            reloads = Reloads(requests.daemon)
            token, given = secret(secret_file(settings.state_dir / "token")), activated or {}
            api = Api(requests, settings.socket, activated=next(iter(given.get("control", ())), None))
            front = _front(settings, FrontDirectory(registry, token, api.ask, requests.daemon.metrics), once, given)
            for server in (front, api):
                await server.start()
                stack.push_async_callback(server.close)
            await registry.apply(settings)
            directory, name = settings.config.parent, os.fsencode(settings.config.name)
            shop.watcher.watch(directory, _all_but(name), reloads.ask)
            own = [group.create_task(work) for work in (reloads.run(), _heartbeat(registry), _collect(registry))]
            own.append(group.create_task(_hooks(registry, requests.daemon)))
            if settings.desktop_notices:
                own.append(group.create_task(_notices(shop)))
            _signals(stop, reloads)
            sd.notify("READY=1")
            log.info("daemon_ready", version=__version__, socket=str(settings.socket), front=front.url)
            await stop.wait()
            await _drain(settings, api, front, registry, own)
    log.info("daemon_stopped")
    return 0


def _front(
    settings: Settings, directory: FrontDirectory, once: OneTime, given: Mapping[str, tuple[socket.socket, ...]]
) -> Front:
    """The web address of all notebooks; what its pages ask is answered by the API."""
    return Front(directory, settings.front.port, settings.front.hosts, given.get("front", ()), once)


async def _drain(settings: Settings, api: Api, front: Front, registry: Registry, own: list[asyncio.Task[None]]) -> None:
    """The orderly end: no new wishes, steps end within their grace, hosts keep running unless told otherwise."""
    sd.notify("STOPPING=1")
    log.info("daemon_stopping")
    api.draining = True
    front.drain()
    for task in own:
        task.cancel()
    late = await registry.drain(settings.stop_grace)
    if late:
        log.warning("steps_cut_short", notebooks=late)
    if settings.stop_hosts_on_exit:
        await registry.stop_hosts()


def lock_state(settings: Settings, stack: AsyncExitStack | contextlib.ExitStack) -> None:
    """Hold the state directory for this process; the kernel lets it go when the process ends, however it does."""
    path = settings.state_dir / "lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise ConfigError(f"{path} cannot be opened: {error.strerror}", hint="remove what stands there") from error
    stack.callback(os.close, fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise ConfigError(f"{path} is not a regular file", hint=f"remove it: `rm -r {path}`")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
        raise ConfigError(
            f"kaosd already runs for {settings.state_dir} (pid {pid}, socket {settings.socket})",
            hint="`kaosctl status` asks it, `kaosctl stop` ends it",
            retryable=True,
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _workshop(settings: Settings, stack: AsyncExitStack) -> Workshop:
    """What all notebooks share, opened; the stack closes it."""
    journal = stack.enter_context(Journal(settings.state_dir / "journal.sqlite", time.time()))
    journal.interrupted(time.time())
    store = stack.enter_context(contextlib.closing(Store(settings.state_dir / "store")))
    engines = Engines(settings)
    stack.push_async_callback(engines.close)
    watch, port = settings.watch, settings.front.port
    watcher = Watcher(mode=watch.mode, quiet=watch.quiet, cap=watch.cap, rescan=watch.rescan)
    await watcher.start()
    stack.push_async_callback(watcher.close)
    return Workshop(
        state_dir=settings.state_dir,
        store=store,
        journal=journal,
        watcher=watcher,
        engines=engines,
        empty=Path(__file__).parent / "templates" / "empty",
        origins=(f"127.0.0.1:{port}", f"localhost:{port}", *settings.front.hosts),
        front_url=f"http://127.0.0.1:{port}",
        news=News(),
        settle=Settle(watch.build_quiet, watch.build_cap),
        keep_versions=settings.keep_versions,
        backoff_cap=settings.max_backoff,
    )


class Engines(Mapping[str, Engine]):
    """The engines by name. Those with containers take their time to load: each is made when somebody asks for it.

    Pachyderm is listed when it is set up, so that what is left of it in a cluster is found although no notebook uses it
    now.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        environments = settings.state_dir / "environments"
        self._process = ProcessEngine(
            environments,
            pass_environment=settings.pass_environment,
            python_downloads=settings.python_downloads,
            personal_kernels=settings.personal_kernels,
            personal_settings=settings.personal_settings,
        )
        self._docker: DockerEngine | None = None
        self._pachyderm: PachydermEngine | None = None

    def __getitem__(self, name: str) -> Engine:
        """The engine; ConfigError when it is not set up."""
        if name == "process":
            return self._process
        if name == "docker":
            return self._docker_engine()
        if name != "pachyderm":
            raise KeyError(name)
        if self._pachyderm is None:
            from kaosd.engines.pachyderm.making import make_engine  # noqa: PLC0415 - see above

            self._pachyderm = make_engine(self._settings.pachyderm, self._settings.state_dir / "pachyderm")
        return self._pachyderm

    def _docker_engine(self) -> DockerEngine:
        if self._docker is None:
            from kaosd.engines.docker import DockerEngine  # noqa: PLC0415 - see above

            settings = self._settings
            self._docker = DockerEngine(
                settings.state_dir, socket=settings.docker.socket, pass_environment=settings.pass_environment
            )
        return self._docker

    def __iter__(self) -> Iterator[str]:
        yield "process"
        yield "docker"
        if self._settings.pachyderm.registry is not None:
            yield "pachyderm"

    def __len__(self) -> int:
        return sum(1 for _ in self)

    async def close(self) -> None:
        """End what the engines do themselves; hosts keep running."""
        await self._process.close()
        if self._docker is not None:
            await self._docker.close()
        if self._pachyderm is not None:
            await self._pachyderm.close()


def _all_but(name: bytes) -> Callable[[bytes, bool], bool]:
    """Ignore everything in a directory but one file."""
    return lambda path, is_dir: is_dir or path != name


def _signals(stop: asyncio.Event, reloads: Reloads) -> None:
    """SIGTERM and SIGINT stop the daemon in order, the second one at once; SIGHUP reads the configuration again."""
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    loop.add_signal_handler(signal.SIGHUP, reloads.hang_up)


class Reloads:
    """Reads the configuration again whenever asked to, one at a time."""

    def __init__(self, daemon: DaemonWide) -> None:
        self.daemon = daemon
        self._asked = asyncio.Event()
        self._told = False

    def ask(self) -> None:
        """Read it again soon; once at the start as well, for what was saved since it was read first."""
        self._asked.set()

    def hang_up(self) -> None:
        """Read it again soon, and tell systemd, which may be waiting for it."""
        self._told = True
        self.ask()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            told, self._told = self._told, False
            if told:
                sd.notify(sd.reloading())
            before = self.daemon.problem
            try:
                changed = (await self.daemon.reload())["changed"]
            except KaosError as error:
                if before is None or before.text != str(error):  # the same mistake is told once
                    log.error("configuration_refused", error=str(error))  # noqa: TRY400 - no traceback for that
            else:
                if changed:
                    log.info("configuration_read", changed=changed)
            if told:
                sd.notify("READY=1")


async def _notices(shop: Workshop) -> None:
    """Show notices on the desktop."""
    from kaosd import notices  # noqa: PLC0415 - few users ask for them

    await notices.tell_all(shop.journal, shop.news, notices.session_bus())


async def _hooks(registry: Registry, daemon: DaemonWide) -> None:
    """Run the commands of [hooks], as the section is at the time."""
    shop = registry.shop
    await hooks.run_all(shop.journal, shop.news, lambda: daemon.settings.hooks, registry.notebook)


async def _heartbeat(registry: Registry) -> None:
    """Tell systemd that the loop still turns, and the state in one line whenever it changes."""
    interval, told, news = sd.watchdog_interval() or 30.0, "", registry.shop.news
    trimmed = time.monotonic()
    while True:
        summary = registry.summary()
        if summary != told:
            sd.notify(sd.status(summary))
            told = summary
        sd.notify("WATCHDOG=1")
        if time.monotonic() - trimmed > TRIM_EVERY:
            trimmed = time.monotonic()
            await asyncio.to_thread(give_back_memory, registry.shop.store)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await news.after(news.number)


def give_back_memory(store: Store) -> None:
    """Give free memory back to the system: the first scan of a large tree needs much for a short time.

    What is left of that goes first, for it lies spread among what is free. Best effort: only the C library of GNU
    keeps free memory, and only that has a call for this.
    """
    if store.forget_nodes(least=LARGE):
        gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


async def _collect(registry: Registry) -> None:
    """Now and then drop what cannot be returned to."""
    await asyncio.sleep(COLLECT_FIRST)
    while True:
        try:
            await registry.collect()
        except (KaosError, OSError) as error:  # a full disk, for example; what is left is collected later
            log.warning("collect_failed", error=str(error))
        await asyncio.sleep(COLLECT_EVERY)
