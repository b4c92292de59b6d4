"""What can be asked over the API, as a table: each request, checked, goes straight to the function that answers it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kaosd.api import request_checks
from kaosd.api.request_checks import checked
from kaosd.requests import Requests
from kaosd.settings.schema import NotebookTable

Json = dict[str, Any]
Events = AsyncGenerator[Json]  # an answer that comes line by line
_NOTEBOOK_FIELDS = frozenset(NotebookTable.model_fields)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. name: of the notebook in its path, valid; "" when there is none."""

    name: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One line of the table.

    mutating: logged, and refused while the daemon drains. stream: may last, so that only some run at once.
    An answer that is an iterator becomes lines of JSON; closing it ends what it tells of.
    """

    method: str
    path: str
    answer: Callable[[Requests, Ask], Awaitable[Json | Events]]
    mutating: bool = False
    stream: bool = False


async def _add(to: Requests, ask: Ask) -> Json:
    return await to.files.add(ask.name, checked(request_checks.Add, ask.body).packages)


async def _backup(to: Requests, ask: Ask) -> Json:
    return await to.daemon.backup(checked(request_checks.Backup, ask.body).file)


async def _deploy(to: Requests, ask: Ask) -> Json:
    fields = {key: value for key, value in ask.body.items() if key in _NOTEBOOK_FIELDS}
    return await to.lifecycle.deploy(fields, replacing=checked(request_checks.Deploy, ask.body).replace)


async def _diff(to: Requests, ask: Ask) -> Json:
    query = checked(request_checks.Diff, ask.query)
    if query.first is not None and query.last is not None:
        return await to.files.between(ask.name, query.first, query.last)
    if query.copied is not None:
        return await to.files.since_copy(ask.name, query.copied)
    return await to.files.diff(ask.name, query.path)


async def _events(to: Requests, ask: Ask) -> Json:
    query = checked(request_checks.Events, ask.query)
    return await to.daemon.events(query.after, min(query.timeout, request_checks.POLL_MAX))


async def _kill(to: Requests, ask: Ask) -> Json:
    return await to.lifecycle.kill(ask.name, checked(request_checks.Kill, ask.query).repos)


async def _logs(to: Requests, ask: Ask) -> Json:
    return await to.reports.logs(ask.name, checked(request_checks.Logs, ask.query).model_dump(exclude_none=True))


async def _pull(to: Requests, ask: Ask) -> Json:
    return await to.files.pull(ask.name, checked(request_checks.Pull, ask.body).model_dump())


async def _redeploy(to: Requests, ask: Ask) -> Json:
    fields = checked(request_checks.Redeploy, ask.body)
    return await to.lifecycle.redeploy(ask.name, force=fields.force, now=fields.now, when_idle=fields.when_idle)


async def _reset(to: Requests, ask: Ask) -> Json:
    return await to.files.reset(ask.name, checked(request_checks.Reset, ask.body).model_dump())


async def _restart(to: Requests, ask: Ask) -> Json:
    return await to.lifecycle.restart(ask.name, kernels=checked(request_checks.Restart, ask.body).kernels)


async def _restore(to: Requests, ask: Ask) -> Json:
    return await to.files.restore(ask.name, checked(request_checks.Restore, ask.body).path)


async def _rollback(to: Requests, ask: Ask) -> Json:
    wanted = checked(request_checks.Rollback, ask.body).to
    return await to.lifecycle.rollback(ask.name, None if wanted is None else str(wanted))


async def _run(to: Requests, ask: Ask) -> Events:
    return to.lifecycle.run(ask.name, checked(request_checks.Run, ask.body).model_dump())


async def _wait(to: Requests, ask: Ask) -> Json:
    wanted = checked(request_checks.Wait, ask.body)
    return await to.lifecycle.wait(ask.name, wanted.timeout, wanted.tries)


async def _why(to: Requests, ask: Ask) -> Json:
    return await to.reports.why(checked(request_checks.WhyQuery, ask.query).path)


# An empty name is matched as well, and then refused as a name.
_NAME = "/v1/notebooks/{name:[^/]*}"

ROUTES = (  # sorted by path and method
    ApiRoute("POST", "/v1/backup", _backup, mutating=True),
    ApiRoute("GET", "/v1/doctor", lambda to, _: to.daemon.doctor()),
    ApiRoute("GET", "/v1/events", _events, stream=True),
    ApiRoute("POST", "/v1/notebooks", _deploy, mutating=True),
    ApiRoute("DELETE", _NAME, _kill, mutating=True),
    ApiRoute("GET", _NAME, lambda to, ask: to.reports.notebook(ask.name)),
    ApiRoute("POST", f"{_NAME}/add", _add, mutating=True),
    ApiRoute("POST", f"{_NAME}/cancel", lambda to, ask: to.lifecycle.cancel(ask.name), mutating=True),
    ApiRoute("GET", f"{_NAME}/diff", _diff),
    ApiRoute("GET", f"{_NAME}/dockerfile", lambda to, ask: to.reports.dockerfile(ask.name)),
    ApiRoute("GET", f"{_NAME}/edits", lambda to, ask: to.files.edits(ask.name)),
    ApiRoute("GET", f"{_NAME}/environment", lambda to, ask: to.reports.environment(ask.name)),
    ApiRoute("GET", f"{_NAME}/history", lambda to, ask: to.reports.history(ask.name)),
    ApiRoute("GET", f"{_NAME}/logs", _logs),
    ApiRoute("POST", f"{_NAME}/open", lambda to, ask: to.daemon.hand_over(ask.name), mutating=True),
    ApiRoute("GET", f"{_NAME}/outdated", lambda to, ask: to.reports.outdated(ask.name), stream=True),
    ApiRoute("POST", f"{_NAME}/pause", lambda to, ask: to.lifecycle.pause(ask.name), mutating=True),
    ApiRoute("POST", f"{_NAME}/pull", _pull, mutating=True),
    ApiRoute("DELETE", f"{_NAME}/recovered", lambda to, ask: to.files.clear(ask.name), mutating=True),
    ApiRoute("GET", f"{_NAME}/recovered", lambda to, ask: to.files.recovered(ask.name)),
    ApiRoute("POST", f"{_NAME}/redeploy", _redeploy, mutating=True),
    ApiRoute("POST", f"{_NAME}/reset", _reset, mutating=True),
    ApiRoute("POST", f"{_NAME}/restart", _restart, mutating=True),
    ApiRoute("POST", f"{_NAME}/restore", _restore, mutating=True),
    ApiRoute("POST", f"{_NAME}/resume", lambda to, ask: to.lifecycle.resume(ask.name), mutating=True),
    ApiRoute("POST", f"{_NAME}/rollback", _rollback, mutating=True),
    ApiRoute("POST", f"{_NAME}/run", _run, mutating=True, stream=True),
    ApiRoute("POST", f"{_NAME}/start", lambda to, ask: to.lifecycle.start(ask.name), mutating=True),
    ApiRoute("POST", f"{_NAME}/stop", lambda to, ask: to.lifecycle.stop(ask.name), mutating=True),
    ApiRoute("POST", f"{_NAME}/wait", _wait, stream=True),
    ApiRoute("POST", "/v1/open", lambda to, ask: to.daemon.hand_over(ask.name), mutating=True),
    ApiRoute("POST", "/v1/reload", lambda to, _: to.daemon.reload(), mutating=True),
    ApiRoute("GET", "/v1/status", lambda to, _: to.daemon.status()),
    ApiRoute("POST", "/v1/stop", lambda to, _: to.daemon.stop(), mutating=True),
    ApiRoute("GET", "/v1/version", lambda to, _: to.daemon.version()),
    ApiRoute("GET", "/v1/why", _why),
)

_BY_PATH = {(route.method, route.path.replace(_NAME, "/v1/notebooks/{name}")): route for route in ROUTES}


def find(method: str, path: str) -> ApiRoute | None:
    """The route of *path*, in which a notebook's name is written {name}."""
    return _BY_PATH.get((method, path))
