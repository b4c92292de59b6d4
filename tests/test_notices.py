"""Desktop notices: what is worth one, as a table; and that a real session bus carries it to a recording desktop."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jeepney import HeaderFields, MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.asyncio import open_dbus_connection
from structlog.testing import capture_logs

from kaosd import notices
from kaosd.journal import Event, Journal
from kaosd.notebook import News
from kaosd.notices import Desktop, Notice, Troubles, session_bus, tell_all


def state(name: str, state: str, reason: str | None = None) -> Event:
    return Event(0, 0.0, name, "state", {"state": state, "reason": reason})


REMOVED = Event(0, 0.0, "a", "removed", {})
OTHER = Event(0, 0.0, None, "settings", {})
STORIES: dict[str, tuple[list[Event], list[str]]] = {
    "live from the start": ([state("a", "building"), state("a", "live")], []),
    "failed": ([state("a", "failed", "no such package")], ["a failed"]),
    "failed again and again": ([state("a", "failed"), state("a", "building"), state("a", "failed")], ["a failed"]),
    "failed and mended": (
        [state("a", "failed"), state("a", "building"), state("a", "live"), state("a", "live")],
        ["a failed", "a is live again"],
    ),
    "twice": (
        [state("a", "failed"), state("a", "live"), state("a", "failed")], ["a failed", "a is live again", "a failed"],
    ),
    "two notebooks": (
        [state("a", "failed"), state("b", "failed"), state("a", "live")], ["a failed", "b failed", "a is live again"],
    ),
    "removed while failed": ([state("a", "failed"), REMOVED, state("a", "live")], ["a failed"]),
    "held and stale": ([state("a", "held"), state("a", "stale"), OTHER], []),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_only_failure_and_recovery_are_worth_a_notice(story: str) -> None:
    events, titles = STORIES[story]
    troubles = Troubles()
    assert [notice.title for event in events if (notice := troubles.take(event)) is not None] == titles


def test_the_session_bus_is_where_the_environment_says(tmp_path: Path) -> None:
    assert session_bus({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"}) == "unix:path=/x"
    assert session_bus({"XDG_RUNTIME_DIR": str(tmp_path)}) is None
    (tmp_path / "bus").touch()
    assert session_bus({"XDG_RUNTIME_DIR": str(tmp_path)}) == f"unix:path={tmp_path}/bus"
    assert session_bus({}) is None


@pytest.fixture
def bus(short: Path) -> Iterator[str]:
    """The address of a session bus of the test's own."""
    address = f"unix:path={short}/bus"
    command = ["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}", "--print-address=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(address)
        yield address
        process.terminate()


@asynccontextmanager
async def desktop(bus: str, *, refuses: bool = False, silent: bool = False) -> AsyncIterator[asyncio.Queue[Any]]:
    """A desktop that writes down what it is to show."""
    shown: asyncio.Queue[Any] = asyncio.Queue()
    async with await open_dbus_connection(bus) as connection:
        await connection.send(message_bus.RequestName("org.freedesktop.Notifications"))

        async def serve() -> None:
            while True:
                message = await connection.receive()
                if message.header.message_type is not MessageType.method_call:
                    continue
                shown.put_nowait((message.header.fields[HeaderFields.member], message.body))
                if refuses:
                    await connection.send(new_error(message, "org.example.No", "s", ("no",)))
                elif not silent:
                    await connection.send(new_method_return(message, "u", (41,)))

        while (await connection.receive()).header.message_type is not MessageType.method_return:
            pass  # until the bus has given the name
        serving = asyncio.create_task(serve())
        try:
            yield shown
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite", 1.0) as journal:
        yield journal


@pytest.mark.not_quick
async def test_failure_and_recovery_reach_the_desktop_and_nothing_before(bus: str, journal: Journal) -> None:
    def happens(name: str, state: str, reason: str | None = None) -> None:
        journal.append("state", name, {"state": state, "reason": reason}, 1.0)
        news.tell()

    news = News()
    happens("before", "failed", "told in an earlier life")
    async with desktop(bus) as shown:
        telling = asyncio.create_task(tell_all(journal, news, bus))
        await asyncio.sleep(0)
        happens("a", "building")
        happens("a", "failed", "no <b>such</b> package\n\x1b[2J")
        member, body = await asyncio.wait_for(shown.get(), 30)
        assert (member, body[0], body[1], body[3]) == ("Notify", "kaosd", 0, "a failed")
        assert body[4] == "no &lt;b&gt;such&lt;/b&gt; package \\x1b[2J"
        assert body[6]["urgency"] == ("y", 2)
        happens("a", "live")
        _, body = await asyncio.wait_for(shown.get(), 30)
        assert (body[1], body[3], body[6]["urgency"]) == (41, "a is live again", ("y", 1))
        happens("before", "live")
        _, body = await asyncio.wait_for(shown.get(), 30)
        assert body[3] == "before is live again"
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        assert shown.empty()


NOTICE = Notice("a", "a failed", "because", True)


async def test_without_a_bus_nothing_is_tried(journal: Journal) -> None:
    with capture_logs() as logs:
        await tell_all(journal, News(), None)
    assert [entry["event"] for entry in logs] == ["notices_off"]


@pytest.mark.not_quick
async def test_a_desktop_that_is_absent_refuses_or_hangs_holds_nothing_up(
    bus: str, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "WITHIN", 0.3)
    with capture_logs() as logs:
        await Desktop(f"unix:path={short}/nobody").show(NOTICE)
        await Desktop("nonsense").show(NOTICE)
        await Desktop(bus).show(NOTICE)
        async with desktop(bus, refuses=True) as shown:
            await Desktop(bus).show(NOTICE)
            assert shown.qsize() == 1
        async with desktop(bus, silent=True) as shown:
            await Desktop(bus).show(NOTICE)
            assert shown.qsize() == 1
    assert [entry["event"] for entry in logs] == ["notice_not_shown"] * 5
