"""Desktop notices, where a person asked for them: when a notebook fails, and when it is live again. Nothing else.

By the session bus's org.freedesktop.Notifications. Without a bus or a desktop nothing is shown and nothing waits:
this has a task of its own, and each notice has its time.
"""

from __future__ import annotations

import asyncio
import html
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from jeepney import DBusAddress, MessageType, new_method_call
from jeepney.io.asyncio import open_dbus_router
from jeepney.io.common import RouterClosed

from kaosd.display import printable
from kaosd.journal import Event, Journal
from kaosd.notebook import News

log = structlog.get_logger(__name__)
WITHIN = 5.0  # seconds for one notice
SHOWN = 300  # characters of a reason
AT_ONCE = 500  # events
_DESKTOP = DBusAddress(
    "/org/freedesktop/Notifications", "org.freedesktop.Notifications", "org.freedesktop.Notifications"
)
_NORMAL, _CRITICAL = 1, 2


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice about one notebook. bad: it failed; else it is live again."""

    notebook: str
    title: str
    text: str
    bad: bool


@dataclass(slots=True)
class Troubles:
    """Which notebooks have failed and were not live since. What is tried again and fails again tells nothing."""

    failed: set[str] = field(default_factory=set)

    def take(self, event: Event) -> Notice | None:
        """Take one event of the stream; the notice that it is worth."""
        name = event.notebook
        if name is None:
            return None
        state = event.data.get("state") if event.kind == "state" else None
        if state == "failed" and name not in self.failed:
            self.failed.add(name)
            return Notice(name, f"{name} failed", str(event.data.get("reason") or "no reason is known"), True)
        if state == "live" and name in self.failed:
            self.failed.remove(name)
            return Notice(name, f"{name} is live again", "what is on disk is served", False)
        if event.kind == "removed":
            self.failed.discard(name)
        return None


def session_bus(environ: Mapping[str, str] = os.environ) -> str | None:
    """The address of the session bus; None where there is none."""
    if address := environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return address
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    path = f"{runtime}/bus"
    return f"unix:path={path}" if runtime.startswith("/") and os.path.exists(path) else None


async def tell_all(journal: Journal, news: News, bus: str | None) -> None:
    """Show a notice for every trouble that starts or ends from now on, for as long as the daemon runs."""
    if bus is None:
        log.info("notices_off", why="there is no session bus")
        return
    troubles, after = Troubles(), 0
    while after < journal.last_seq:  # what failed in an earlier life was told then
        after = _take(journal, troubles, after)[1]
    desktop = Desktop(bus)
    while True:
        seen = news.number
        while after < journal.last_seq:
            notices, after = _take(journal, troubles, after)
            for notice in notices:
                await desktop.show(notice)
        await news.after(seen)


def _take(journal: Journal, troubles: Troubles, after: int) -> tuple[list[Notice], int]:
    """The notices of the next events after number *after*, and the number of the last of these."""
    events, _ = journal.events(after, AT_ONCE)
    notices = [notice for event in events if (notice := troubles.take(event)) is not None]
    return notices, events[-1].seq if events else journal.last_seq


class Desktop:
    """Shows notices; a later one about the same notebook takes the place of the earlier one."""

    def __init__(self, bus: str) -> None:
        self._bus = bus
        self._shown: dict[str, int] = {}

    async def show(self, notice: Notice) -> None:
        """Show one, or let it be when the desktop does not take it."""
        try:
            async with asyncio.timeout(WITHIN), open_dbus_router(bus=self._bus) as router:
                reply = await router.send_and_get_reply(self._message(notice))
        except (OSError, EOFError, ValueError, TimeoutError, RouterClosed) as error:
            log.info("notice_not_shown", notebook=notice.notebook, error=str(error) or type(error).__name__)
            return
        if reply.header.message_type is MessageType.error:
            log.info("notice_not_shown", notebook=notice.notebook, error=str(reply.body))
            return
        self._shown[notice.notebook] = reply.body[0]

    def _message(self, notice: Notice) -> object:
        urgency = ("y", _CRITICAL if notice.bad else _NORMAL)
        icon = "dialog-error" if notice.bad else "dialog-information"
        text = html.escape(printable(notice.text.replace("\n", " "))[:SHOWN], quote=False)
        body: tuple[object, ...] = (
            "kaosd", self._shown.get(notice.notebook, 0), icon, printable(notice.title), text, [],
            {"urgency": urgency}, -1,
        )  # fmt: skip
        return new_method_call(_DESKTOP, "Notify", "susssasa{sv}i", body)
