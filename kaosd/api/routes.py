"""What can be asked, as a table, and of whom: the daemon behind the API.

Each function takes the daemon and a checked request and returns the JSON of the answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from kaosd.api import requests
from kaosd.api.requests import checked
from kaosd.settings.schema import NotebookTable

Json = dict[str, Any]
Events = AsyncGenerator[Json]  # an answer that comes line by line
_NOTEBOOK_FIELDS = frozenset(NotebookTable.model_fields)


class Backend(Protocol):
    """The daemon as the API sees it; all in the event loop. Errors are KaosErrors; the rest are bugs."""

    def hand_over(self, name: str) -> Json:
        """A one-time address that signs a browser in to a notebook, or to the console (""): url, seconds."""

    async def metrics(self) -> str:
        """The daemon's figures in the text format of Prometheus."""

    async def status(self) -> Json:
        """All notebooks and the daemon itself; `kaosctl help json` describes the answer."""

    def version(self) -> Json:
        """Versions of the daemon and its answers."""

    def notebook(self, name: str) -> Json:
        """One notebook as in the status."""

    def history(self, name: str) -> Json:
        """Its deployments, newest first."""

    async def environment(self, name: str) -> Json:
        """What its environment holds, and what was installed by hand."""

    async def outdated(self, name: str) -> Json:
        """The packages of its environment of which the index has a newer version: outdated."""

    async def dockerfile(self, name: str) -> Json:
        """The Dockerfile that is made of a source without one: made_from, dockerfile."""

    async def edits(self, name: str) -> Json:
        """The edits made in it, against what is deployed."""

    async def diff(self, name: str, path: str | None) -> Json:
        """The same with what differs in each file; path: only that file, or what is below it."""

    async def between(self, name: str, first: int, last: int) -> Json:
        """What differs between two of its deployments: files, packages, data."""

    async def since_copy(self, name: str, copy: str) -> Json:
        """What differs between a recovered copy and the notebook's file."""

    async def recovered(self, name: str) -> Json:
        """Copies of work that newer versions replaced."""

    async def logs(self, name: str, query: Mapping[str, Any]) -> Json:
        """Lines of its logs; see requests.Logs."""

    async def why(self, path: str) -> Json:
        """Whether a path counts, and by which rule."""

    async def doctor(self) -> Json:
        """Checks of the machine, each with its fix."""

    async def events(self, after: int, timeout: float) -> Json:  # noqa: ASYNC109 - a wait for news, not a guard
        """Events above a number; waits for one up to *timeout* seconds."""

    async def wait(
        self,
        name: str,
        timeout: float | None,  # noqa: ASYNC109 - part of the answer
        tries: int | None,
    ) -> Json:
        """Returns when what is on disk now is live, or will not be."""

    async def deploy(self, request: Mapping[str, Any], *, replacing: bool) -> Json:
        """Register or change a notebook; keys as in [[notebook]], None: inherited again.

        replacing: it may get another source.
        """

    async def redeploy(self, name: str, *, force: bool, now: bool, when_idle: bool) -> Json:
        """Look again, try again. now, when_idle: do not wait for busy kernels, or wait without limit."""

    async def pause(self, name: str) -> Json:
        """Follow its directories no longer."""

    async def resume(self, name: str) -> Json:
        """Follow them again."""

    async def add(self, name: str, packages: Sequence[str]) -> Json:
        """Write requirements into its environment file: file, added, changed, there."""

    async def start_notebook(self, name: str) -> Json:
        """Start its host, if it is stopped."""

    async def stop_notebook(self, name: str) -> Json:
        """Stop its host and its kernels; it stays registered, and its directories are followed."""

    async def restart_notebook(self, name: str, *, kernels: bool) -> Json:
        """Replace its host by a new one, or restart its kernels only; "restarted" then says how many."""

    async def run(self, name: str, asked: Mapping[str, Any]) -> Events:
        """Run one of its notebook files, for *asked* see requests.Run; what comes of each cell."""

    async def cancel(self, name: str) -> Json:
        """Stop the build in flight."""

    async def rollback(self, name: str, to: str | None) -> Json:
        """Serve an older version."""

    async def pull(self, name: str, fields: Mapping[str, Any]) -> Json:
        """Write edits into the source directory; see requests.Pull."""

    async def reset(self, name: str, fields: Mapping[str, Any]) -> Json:
        """Bring the deployed version of files back; see requests.Reset."""

    async def restore(self, name: str, path: str | None) -> Json:
        """Bring a copy of an edit back into the host; None: the newest copy of each path."""

    async def clear(self, name: str) -> Json:
        """Delete its copies of edits."""

    async def kill(self, name: str, unwanted: Literal["none", "source", "all"]) -> Json:
        """Stop and forget it. unwanted: which repos are deleted with it."""

    async def backup(self, file: str) -> Json:
        """Write all that cannot be made again to a file: file, bytes, notebooks, copies, edits."""

    async def reload(self) -> Json:
        """Read the configuration again."""

    async def stop(self) -> Json:
        """Start to end."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. name: of the notebook in its path, valid; "" when there is none."""

    name: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table.

    mutating: logged, and refused while the daemon drains. stream: may last, so that only some run at once.
    An answer that is an iterator becomes lines of JSON; closing it ends what it tells of.
    """

    method: str
    path: str
    answer: Callable[[Backend, Ask], Awaitable[Json | Events]]
    mutating: bool = False
    stream: bool = False


async def _doctor(daemon: Backend, ask: Ask) -> Json:  # noqa: ARG001 - one signature for all
    return await daemon.doctor()


async def _events(daemon: Backend, ask: Ask) -> Json:
    query = checked(requests.Events, ask.query)
    return await daemon.events(query.after, min(query.timeout, requests.POLL_MAX))


async def _deploy(daemon: Backend, ask: Ask) -> Json:
    fields = {key: value for key, value in ask.body.items() if key in _NOTEBOOK_FIELDS}
    return await daemon.deploy(fields, replacing=checked(requests.Deploy, ask.body).replace)


async def _add(daemon: Backend, ask: Ask) -> Json:
    return await daemon.add(ask.name, checked(requests.Add, ask.body).packages)


async def _clear(daemon: Backend, ask: Ask) -> Json:
    return await daemon.clear(ask.name)


async def _kill(daemon: Backend, ask: Ask) -> Json:
    return await daemon.kill(ask.name, checked(requests.Kill, ask.query).repos)


async def _notebook(daemon: Backend, ask: Ask) -> Json:
    return daemon.notebook(ask.name)


async def _cancel(daemon: Backend, ask: Ask) -> Json:
    return await daemon.cancel(ask.name)


async def _history(daemon: Backend, ask: Ask) -> Json:
    return daemon.history(ask.name)


async def _environment(daemon: Backend, ask: Ask) -> Json:
    return await daemon.environment(ask.name)


async def _edits(daemon: Backend, ask: Ask) -> Json:
    return await daemon.edits(ask.name)


async def _diff(daemon: Backend, ask: Ask) -> Json:
    query = checked(requests.Diff, ask.query)
    if query.first is not None and query.last is not None:
        return await daemon.between(ask.name, query.first, query.last)
    if query.copied is not None:
        return await daemon.since_copy(ask.name, query.copied)
    return await daemon.diff(ask.name, query.path)


async def _outdated(daemon: Backend, ask: Ask) -> Json:
    return await daemon.outdated(ask.name)


async def _dockerfile(daemon: Backend, ask: Ask) -> Json:
    return await daemon.dockerfile(ask.name)


async def _logs(daemon: Backend, ask: Ask) -> Json:
    return await daemon.logs(ask.name, checked(requests.Logs, ask.query).model_dump(exclude_none=True))


async def _open(daemon: Backend, ask: Ask) -> Json:
    return daemon.hand_over(ask.name)


async def _pause(daemon: Backend, ask: Ask) -> Json:
    return await daemon.pause(ask.name)


async def _pull(daemon: Backend, ask: Ask) -> Json:
    return await daemon.pull(ask.name, checked(requests.Pull, ask.body).model_dump())


async def _reset(daemon: Backend, ask: Ask) -> Json:
    return await daemon.reset(ask.name, checked(requests.Reset, ask.body).model_dump())


async def _recovered(daemon: Backend, ask: Ask) -> Json:
    return await daemon.recovered(ask.name)


async def _redeploy(daemon: Backend, ask: Ask) -> Json:
    fields = checked(requests.Redeploy, ask.body)
    return await daemon.redeploy(ask.name, force=fields.force, now=fields.now, when_idle=fields.when_idle)


async def _restore(daemon: Backend, ask: Ask) -> Json:
    return await daemon.restore(ask.name, checked(requests.Restore, ask.body).path)


async def _restart(daemon: Backend, ask: Ask) -> Json:
    return await daemon.restart_notebook(ask.name, kernels=checked(requests.Restart, ask.body).kernels)


async def _run(daemon: Backend, ask: Ask) -> Events:
    return await daemon.run(ask.name, checked(requests.Run, ask.body).model_dump())


async def _start_notebook(daemon: Backend, ask: Ask) -> Json:
    return await daemon.start_notebook(ask.name)


async def _stop_notebook(daemon: Backend, ask: Ask) -> Json:
    return await daemon.stop_notebook(ask.name)


async def _resume(daemon: Backend, ask: Ask) -> Json:
    return await daemon.resume(ask.name)


async def _rollback(daemon: Backend, ask: Ask) -> Json:
    to = checked(requests.Rollback, ask.body).to
    return await daemon.rollback(ask.name, None if to is None else str(to))


async def _wait(daemon: Backend, ask: Ask) -> Json:
    wanted = checked(requests.Wait, ask.body)
    return await daemon.wait(ask.name, wanted.timeout, wanted.tries)


async def _backup(daemon: Backend, ask: Ask) -> Json:
    return await daemon.backup(checked(requests.Backup, ask.body).file)


async def _reload(daemon: Backend, ask: Ask) -> Json:  # noqa: ARG001 - one signature for all
    return await daemon.reload()


async def _status(daemon: Backend, ask: Ask) -> Json:  # noqa: ARG001 - one signature for all
    return await daemon.status()


async def _stop(daemon: Backend, ask: Ask) -> Json:  # noqa: ARG001 - one signature for all
    return await daemon.stop()


async def _version(daemon: Backend, ask: Ask) -> Json:  # noqa: ARG001 - one signature for all
    return daemon.version()


async def _why(daemon: Backend, ask: Ask) -> Json:
    return await daemon.why(checked(requests.Why, ask.query).path)


# An empty name is matched as well, and then refused as a name.
_NAME = "/v1/notebooks/{name:[^/]*}"

ROUTES = (  # sorted by path and method
    Route("POST", "/v1/backup", _backup, mutating=True),
    Route("GET", "/v1/doctor", _doctor),
    Route("GET", "/v1/events", _events, stream=True),
    Route("POST", "/v1/notebooks", _deploy, mutating=True),
    Route("DELETE", _NAME, _kill, mutating=True),
    Route("GET", _NAME, _notebook),
    Route("POST", f"{_NAME}/add", _add, mutating=True),
    Route("POST", f"{_NAME}/cancel", _cancel, mutating=True),
    Route("GET", f"{_NAME}/diff", _diff),
    Route("GET", f"{_NAME}/dockerfile", _dockerfile),
    Route("GET", f"{_NAME}/edits", _edits),
    Route("GET", f"{_NAME}/environment", _environment),
    Route("GET", f"{_NAME}/history", _history),
    Route("GET", f"{_NAME}/logs", _logs),
    Route("POST", f"{_NAME}/open", _open, mutating=True),
    Route("GET", f"{_NAME}/outdated", _outdated, stream=True),
    Route("POST", f"{_NAME}/pause", _pause, mutating=True),
    Route("POST", f"{_NAME}/pull", _pull, mutating=True),
    Route("DELETE", f"{_NAME}/recovered", _clear, mutating=True),
    Route("GET", f"{_NAME}/recovered", _recovered),
    Route("POST", f"{_NAME}/redeploy", _redeploy, mutating=True),
    Route("POST", f"{_NAME}/reset", _reset, mutating=True),
    Route("POST", f"{_NAME}/restart", _restart, mutating=True),
    Route("POST", f"{_NAME}/restore", _restore, mutating=True),
    Route("POST", f"{_NAME}/resume", _resume, mutating=True),
    Route("POST", f"{_NAME}/rollback", _rollback, mutating=True),
    Route("POST", f"{_NAME}/run", _run, mutating=True, stream=True),
    Route("POST", f"{_NAME}/start", _start_notebook, mutating=True),
    Route("POST", f"{_NAME}/stop", _stop_notebook, mutating=True),
    Route("POST", f"{_NAME}/wait", _wait, stream=True),
    Route("POST", "/v1/open", _open, mutating=True),
    Route("POST", "/v1/reload", _reload, mutating=True),
    Route("GET", "/v1/status", _status),
    Route("POST", "/v1/stop", _stop, mutating=True),
    Route("GET", "/v1/version", _version),
    Route("GET", "/v1/why", _why),
)

_BY_PATH = {(route.method, route.path.replace(_NAME, "/v1/notebooks/{name}")): route for route in ROUTES}


def find(method: str, path: str) -> Route | None:
    """The route of *path*, in which a notebook's name is written {name}."""
    return _BY_PATH.get((method, path))
