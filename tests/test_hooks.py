"""Commands of the person's own: when they are due, what they get, and that none of them can do harm."""

from __future__ import annotations

import asyncio
import json
import os
import select
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from kaosd import hooks
from kaosd.errors import NotFoundError
from kaosd.hooks import Changes, run_command
from kaosd.journal import Event, Journal
from kaosd.notebook import News
from kaosd.settings import HooksTable


def states(*words: str) -> list[str | None]:
    """What a row of states of one notebook is worth."""
    changes = Changes()
    return [changes.take(Event(n, 0.0, "n", "state", {"state": word})) for n, word in enumerate(words)]


TABLE = {
    "first start": (["stale", "building", "swapping", "live"], [None, None, None, "on_live"]),
    "a save": (["live", "stale", "live"], ["on_live", None, None]),
    "another environment": (["live", "building", "swapping", "live"], ["on_live", None, None, "on_live"]),
    "a failure that is tried again": (["live", "failed", "stale", "failed"], ["on_live", "on_failure", None, None]),
    "well again": (["failed", "building", "live"], ["on_failure", None, "on_live"]),
    "stopped and started": (["live", "stopped", "swapping", "live"], ["on_live", None, None, "on_live"]),
}


@pytest.mark.parametrize(("given", "due"), TABLE.values(), ids=TABLE.keys())
def test_what_is_due(given: list[str], due: list[str | None]) -> None:
    assert states(*given) == due


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


async def test_a_command_gets_the_status_and_its_output_is_kept() -> None:
    source = "import json, sys; print(json.load(sys.stdin)['name']); sys.exit(3)"
    assert await run_command(python(source), json.dumps({"name": "n"}).encode()) == (3, "n\n")


async def test_a_command_that_reads_nothing_and_prints_without_end_is_bounded() -> None:
    code, output = await run_command(python("print('x' * 10**6)"), b"y" * 10**6)
    assert (code, output) == (0, "x" * hooks.OUTPUT)


async def test_a_command_that_takes_too_long_is_killed() -> None:
    assert await run_command(["sleep", "3600"], b"", within=0.1) == (None, "")


async def test_what_a_command_has_started_is_killed_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    started = f"p = subprocess.Popen(['sleep', '3600']); open({str(note)!r}, 'w').write(f'{{p.pid}}.'); p.wait()"
    running = asyncio.ensure_future(run_command(python(f"import subprocess; {started}"), b"", within=600.0))
    while not (note.exists() and note.read_text().endswith(".")):
        await asyncio.sleep(0.01)
    descriptor = os.pidfd_open(int(note.read_text()[:-1]))
    running.cancel()
    await asyncio.wait([running])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert await asyncio.to_thread(poll.poll, 30_000), "it has ended"
    os.close(descriptor)


@pytest.mark.parametrize("command", [["/does/not/exist"], ["\0"]])
async def test_hooks_are_run_once_for_each_change_and_a_broken_one_is_a_line_of_the_log(
    tmp_path: Path, command: list[str]
) -> None:
    out = tmp_path / "out"
    works = python(f"import sys; open({str(out)!r}, 'a').write(sys.stdin.read() + chr(10))")

    def notebook(name: str) -> dict[str, Any]:
        if name == "gone":
            raise NotFoundError("there is no notebook 'gone'")
        return {"name": name}

    with Journal(tmp_path / "journal.sqlite", 1.0) as journal, capture_logs() as logged:
        journal.append("state", "n", {"state": "live"}, 1.0)  # of an earlier life
        news = News()
        section = HooksTable(on_failure=tuple(command), on_live=tuple(works))
        task = asyncio.ensure_future(hooks.run_all(journal, news, lambda: section, notebook))
        await asyncio.sleep(0)
        for name, state in (("n", "live"), ("n", "failed"), ("gone", "live"), ("n", "live"), ("n", "live")):
            journal.append("state", name, {"state": state}, 2.0)
        news.tell()
        async with asyncio.timeout(30):
            while not any(line["event"] == "hook_ended" for line in logged):
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    assert out.read_text() == '{"name": "n"}\n'
    told = [(line["event"], line["hook"]) for line in logged]
    assert told == [("hook_not_run", "on_failure"), ("hook_ended", "on_live")]
