"""Commands of the person's own that are run when a notebook fails, and when it is live: the section [hooks].

Each gets the notebook's object of the status on its standard input, and its time; what it prints goes to the daemon's
log. This has a task of its own: whatever becomes of a command, the daemon and its notebooks keep running.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from kaosd.errors import KaosError, StoreError
from kaosd.journal import Event, Journal
from kaosd.notebook import News
from kaosd.settings import HooksTable

log = structlog.get_logger(__name__)
WITHIN = 30.0  # seconds for one command; then it is killed with all that it has started
OUTPUT = 4000  # bytes of what it prints that are logged
AT_ONCE = 500  # events


@dataclass(slots=True)
class Changes:
    """The last state of each notebook that counts. "stale" does not: it comes and goes with every save and start."""

    last: dict[str, str] = field(default_factory=dict)

    def take(self, event: Event) -> str | None:
        """Take one event of the stream; "on_failure" or "on_live" when the state has become that one, else None."""
        name, state = event.notebook, event.data.get("state") if event.kind == "state" else None
        if event.kind == "removed" and name is not None:
            self.last.pop(name, None)
        if name is None or not isinstance(state, str) or state == "stale" or self.last.get(name) == state:
            return None
        self.last[name] = state
        return {"failed": "on_failure", "live": "on_live"}.get(state)


async def run_all(
    journal: Journal, news: News, hooks: Callable[[], HooksTable], notebook: Callable[[str], dict[str, Any]]
) -> None:
    """Run the commands for every change of a state from now on, one after another, for as long as the daemon runs.

    hooks: the section as it is in force. notebook: the status object of a name; NotFoundError when it is gone.
    """
    changes, after = Changes(), 0
    while after < journal.last_seq:  # what was in an earlier life was told then
        after = _take(journal, changes, after)[1]
    while True:
        seen = news.number
        try:
            while after < journal.last_seq:
                due, after = _take(journal, changes, after)
                for name, hook in due:
                    if command := getattr(hooks(), hook):
                        await _run_one(hook, command, name, notebook)
        except StoreError as error:  # it is read again with the next news
            log.warning("hooks_wait", error=str(error))
        await news.after(seen)


def _take(journal: Journal, changes: Changes, after: int) -> tuple[list[tuple[str, str]], int]:
    """The hooks that the next events after number *after* are worth, by notebook, and the number of the last event."""
    events, _ = journal.events(after, AT_ONCE)
    due = [(str(event.notebook), hook) for event in events if (hook := changes.take(event)) is not None]
    return due, events[-1].seq if events else journal.last_seq


async def _run_one(hook: str, command: Sequence[str], name: str, notebook: Callable[[str], dict[str, Any]]) -> None:
    """Run one command, and write to the log what came of it."""
    try:
        content = json.dumps(notebook(name)).encode()
    except KaosError:
        return  # it was removed meanwhile
    try:
        code, output = await run_command(command, content)
    except (OSError, ValueError) as error:
        log.warning("hook_not_run", hook=hook, notebook=name, command=list(command), error=str(error))
        return
    tell = log.info if code == 0 else log.warning
    what = "timed out" if code is None else code
    tell("hook_ended", hook=hook, notebook=name, command=list(command), exit_code=what, output=output)


async def run_command(command: Sequence[str], content: bytes, within: float = WITHIN) -> tuple[int | None, str]:
    """Run *command* with *content* on its standard input; its exit code and the start of what it has printed.

    The code is None when it was killed because its time was up. OSError when it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
        start_new_session=True,
    )
    output = bytearray()
    code: int | None = None
    try:
        async with asyncio.timeout(within):
            await asyncio.gather(_feed(process, content), _read(process, output))
            code = await process.wait()
    except TimeoutError:
        code = None
    finally:
        if process.returncode is None or code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return code, bytes(output[:OUTPUT]).decode("utf-8", "backslashreplace")


async def _feed(process: asyncio.subprocess.Process, content: bytes) -> None:
    """Write *content*, as far as the command reads it."""
    if process.stdin is None:
        return
    with contextlib.suppress(ConnectionError):
        process.stdin.write(content)
        await process.stdin.drain()
    process.stdin.close()


async def _read(process: asyncio.subprocess.Process, output: bytearray) -> None:
    """Read all that the command prints, and keep the start."""
    while process.stdout is not None and (part := await process.stdout.read(65536)):
        if len(output) < OUTPUT:
            output += part
