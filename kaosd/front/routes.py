"""What the front knows of the notebooks, and how it asks for it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Route:
    """Where a notebook is served at this moment.

    token: the notebook's. upstream: "unix:/path" or "http://127.0.0.1:port", None while no host answers.
    state: the notebook's state in one word.
    """

    name: str
    token: str
    upstream: str | None
    state: str


@dataclass(frozen=True, slots=True)
class DescribedRoute(Route):
    """A route with the notebook's object of `status --json`, for a page about it; a request passed on needs none."""

    status: dict[str, Any]


class Directory(Protocol):
    """The notebooks as the registry offers them. token: the daemon's own, which opens the index."""

    token: str

    async def certain(self, name: str) -> None:
        """Return when it is certain whether there is a notebook *name*; "": when the daemon has started all."""

    def route(self, name: str) -> Route | None:
        """The route of *name*, None when there is no such notebook."""

    def described(self, name: str) -> DescribedRoute | None:
        """The same with the notebook's object."""

    def routes(self) -> list[Route]:
        """All routes, in the order in which the index shows them."""

    async def metrics(self) -> str:
        """The daemon's figures in the text format of Prometheus."""

    def using(self, name: str) -> AbstractContextManager[None]:
        """Something talks to the host of *name* meanwhile: it is not idle."""

    async def wake(self, name: str) -> None:
        """A person opens a stopped notebook: have it started. Returns once that has started, or cannot now."""

    def tail(self, name: str, lines: int) -> list[str]:
        """The last log lines of the stage in work."""

    async def ask(self, method: str, name: str, verb: str, query: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """The status and the document with which the API answers *verb* of the notebook *name* ("": of the daemon).

        query: percent-encoded. body: JSON, or nothing.
        """

    async def changed(self, after: int, timeout: float) -> int:  # noqa: ASYNC109 - the wait is the purpose
        """The number of the newest change, once it is higher than *after* or *timeout* seconds have passed."""
