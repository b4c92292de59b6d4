"""A real HTTP server on a real Unix socket that answers as the daemon would, and kaosctl as a real process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from kaosd import __version__
from kaosd.stage_logs import log_name, stamp

NOW = 1_794_997_600.0  # 2026-11-18T10:26:40Z
Answer = dict[str, Any] | tuple[int, dict[str, Any]] | Callable[[web.Request], Awaitable[web.StreamResponse]]


TONES = {"live": "ok", "building": "busy", "swapping": "busy", "failed": "bad"}


def notebook(name: str = "notebook-mnist-ada", **changes: Any) -> dict[str, Any]:
    """A notebook's object, live since 12 minutes before NOW."""
    state = changes.get("state", "live")
    return {
        "name": name,
        "workspace": "mnist",
        "user": "ada",
        "engine": "process",
        "state": "live",
        "reason": None,
        "since": "2026-11-18T10:14:40.000Z",
        "summary": state,
        "tone": TONES.get(state, "warn"),
        "next": [],
        "progress": None,
        "usage": {"memory": 312 * 2**20, "cpu": 0.13, "gpu_memory": None},
        "swap": None,
        "edits": {"edited": 0, "new": 0, "deleted": 0},
        "notices": [],
        "paused": False,
        "url": f"http://127.0.0.1:8890/{name}/lab",
        "resources": {"cpu": 2.0, "memory": "4Gi", "gpu": 0, "enforced": True},
        "source": {"path": "/home/ada/example", "disk": "example:1f3c9aa", "live": "example:1f3c9aa"},
        "data": {"path": "/home/ada/data", "disk": "data:77ab01c", "live": "data:77ab01c"},
        "deployment": {
            "number": 7,
            "cause": ["model/train.py"],
            "action": "sync",
            "started_at": "2026-11-18T10:14:39.000Z",
            "finished_at": "2026-11-18T10:14:40.000Z",
            "seconds": 0.3,
            "error": None,
        },
        "build": {
            "job": "3f" * 16,
            "state": "JOB_SUCCESS",
            "started_at": "2026-11-18T09:26:40.000Z",
            "seconds": 41.2,
            "error": None,
        },
        "host": {
            "state": "PIPELINE_RUNNING",
            "since": "2026-11-18T09:27:40.000Z",
            "restarts": 0,
            "kernels": 2,
            "busy": 0,
            "outdated": 0,
        },
        **changes,
    }


def status(
    *notebooks: dict[str, Any], problems: tuple[dict[str, Any], ...] = (), state_dir: str = ""
) -> dict[str, Any]:
    """A status object of a daemon that started 3 days and 2 hours before NOW."""
    watch = {"mode": "inotify", "directories": 2, "files": 214, "overflows": 0, "rescans": 0, "last_event_at": None}
    return {
        "schema": 1,
        "daemon": {
            "version": __version__,
            "pid": 4711,
            "started_at": "2026-11-15T08:26:40.000Z",
            "engine": "process",
            "config": "/home/ada/.config/kaosd/kaosd.toml",
            "state_dir": state_dir,
            "front": "http://127.0.0.1:8890",
            "watch": watch,
            "problems": list(problems),
        },
        "notebooks": list(notebooks),
    }


@dataclass
class Daemon:
    """Answers requests out of *answers*, by method and path, and keeps what it was asked."""

    root: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    version: str = __version__

    @property
    def socket(self) -> Path:
        return self.root / "s"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def environment(self) -> dict[str, str]:
        """What kaosctl is started with: nothing of the person's own daemon."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        own = {
            "HOME": str(self.root),
            "KAOSD_SOCKET": str(self.socket),
            "KAOSD_STATE_DIR": str(self.state),
            "TZ": "UTC",
        }
        return {**kept, **own, "PYTHONWARNINGS": "error", "PYTHONUTF8": "1"}

    def serves(self, *notebooks: dict[str, Any], **more: Any) -> None:
        """Answer /v1/status, and each notebook's own path, with *notebooks*."""
        self.answers["GET /v1/status"] = status(*notebooks, state_dir=str(self.state), **more)
        for one in notebooks:
            self.answers[f"GET /v1/notebooks/{one['name']}"] = one

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path_qs, body))
        asked = (f"{request.method} {path}" for path in (request.path_qs, request.path))
        found = next((self.answers[each] for each in asked if each in self.answers), None)
        if callable(found):
            return await found(request)
        missing = (404, {"title": "Not Found", "status": 404, "detail": f"there is nothing at {request.path}"})
        code, value = found if isinstance(found, tuple) else (200, found) if found is not None else missing
        return web.json_response(value, status=code, headers={"Kaosd-Version": self.version})

    def log(self, name: str, number: int, stage: str, *lines: str, job: str = "-", at: float = NOW) -> Path:
        """Append *lines* to a log file as the daemon would, a second apart."""
        path = self.state / "notebooks" / name / "logs" / log_name(number, stage, job)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.writelines(stamp(line, at + i) + "\n" for i, line in enumerate(lines))
        return path

    def token(self, name: str, token: str = "s3cret") -> None:
        """Write a notebook's token."""
        path = self.state / "notebooks" / name / "token"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(token)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """kaosctl, run to its end."""
        command = [sys.executable, "-m", "kaosd.ctl", *arguments]
        environment = {**self.environment, **environment}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
        )

    @contextmanager
    def started(self, *arguments: str, **environment: str) -> Iterator[Running]:
        """kaosctl while it runs; killed at the end if it still does."""
        process = subprocess.Popen(
            [sys.executable, "-m", "kaosd.ctl", *arguments],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        running = Running(process)
        try:
            yield running
        finally:
            process.kill()
            running.close()


class Running:
    """A started kaosctl, and the lines that it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def expect(self, text: str, times: int = 1) -> None:
        """Return when that many lines have contained *text*; fail after 30 s."""
        with self._changed:
            found = self._changed.wait_for(lambda: sum(text in line for line in self.lines) >= times, 30)
        assert found, f"{text!r} not in {self.lines}"

    def close(self) -> None:
        """Wait for the end, and close the pipes."""
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def listening(daemon: Daemon) -> Iterator[None]:
    """Have *daemon* answer on its socket."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", daemon.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(daemon.socket)).start()
        ready.set()
        await done.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: (loop.run_until_complete(serve()), loop.close()))
    thread.start()
    assert ready.wait(30)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)
        daemon.socket.unlink(missing_ok=True)


def until(condition: Callable[[], bool]) -> None:
    """Return when *condition* holds; fail after 30 s."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited for 30 s"
        time.sleep(0.02)
