"""What each address answers, through a real socket; names, fields, errors, draining, long requests."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from structlog.testing import capture_logs
from wire import request

from kaosd import __version__
from kaosd.api import ROUTES
from kaosd.api.problems import status_of
from kaosd.errors import (
    ApiError,
    BuildFailed,
    BundleError,
    ConfigError,
    ConflictError,
    EngineUnavailable,
    NotFoundError,
    StoreError,
)
from kaosd.metrics import CONTENT_TYPE

MNIST = {"name": "mnist", "state": "live"}

HAPPY = {
    "POST /v1/open": ("/v1/open", None, {"url": "http://front/kaosd/once/c0de", "seconds": 120.0}, ("open", "", {})),
    "POST /v1/notebooks/{name}/open": (
        "/v1/notebooks/mnist/open", None, {"url": "http://front/mnist/kaosd/once/c0de", "seconds": 120.0},
        ("open", "mnist", {}),
    ),
    "GET /v1/events": ("/v1/events?after=0", None, {"events": [], "last": 0, "gap": False}, None),
    "POST /v1/notebooks": (
        "/v1/notebooks", {"name": "new", "cpu": 2, "memory": None, "replace": True, "unheard_of": 1},
        {"name": "new", "cpu": 2, "memory": None},
        ("deploy", "new", {"name": "new", "cpu": 2, "memory": None, "replacing": True}),
    ),
    "DELETE /v1/notebooks/{name}": (
        "/v1/notebooks/mnist?repos=source", None, {"killed": "mnist"}, ("kill", "mnist", {"unwanted": "source"}),
    ),
    "GET /v1/notebooks/{name}": ("/v1/notebooks/mnist", None, MNIST, None),
    "GET /v1/notebooks/{name}/diff": (
        "/v1/notebooks/mnist/diff?path=a/b.py", None, {"name": "mnist", "files": ["a/b.py"]}, None,
    ),
    "GET /v1/notebooks/{name}/edits": ("/v1/notebooks/mnist/edits", None, {"name": "mnist", "files": []}, None),
    "GET /v1/notebooks/{name}/environment": (
        "/v1/notebooks/mnist/environment", None, {"name": "mnist", "packages": []}, None,
    ),
    "GET /v1/notebooks/{name}/outdated": (
        "/v1/notebooks/mnist/outdated", None, {"name": "mnist", "outdated": []}, None,
    ),
    "GET /v1/notebooks/{name}/dockerfile": (
        "/v1/notebooks/mnist/dockerfile", None,
        {"name": "mnist", "made_from": [], "dockerfile": "FROM a\n"}, None,
    ),
    "GET /v1/notebooks/{name}/history": (
        "/v1/notebooks/mnist/history", None, {"pinned": None, "deployments": [MNIST]}, None,
    ),
    "GET /v1/notebooks/{name}/logs": (
        "/v1/notebooks/mnist/logs?stage=build&deploy=3&lines=5&x=y", None,
        {"of": "mnist", "query": {"stage": "build", "deploy": "3", "lines": 5}}, None,
    ),
    "POST /v1/notebooks/{name}/pause": ("/v1/notebooks/mnist/pause", None, MNIST, ("pause", "mnist", {})),
    "DELETE /v1/notebooks/{name}/recovered": ("/v1/notebooks/mnist/recovered", None, MNIST, ("clear", "mnist", {})),
    "GET /v1/notebooks/{name}/recovered": ("/v1/notebooks/mnist/recovered", None, {"recovered": [MNIST]}, None),
    "POST /v1/notebooks/{name}/redeploy": (
        "/v1/notebooks/mnist/redeploy", {"force": True}, MNIST,
        ("redeploy", "mnist", {"force": True, "now": False, "when_idle": False}),
    ),
    "POST /v1/notebooks/{name}/pull": (
        "/v1/notebooks/mnist/pull", {"paths": ["a"], "strip_outputs": True}, MNIST,
        ("pull", "mnist", {"paths": ["a"], "strip_outputs": True, "force": False, "dry_run": False}),
    ),
    "POST /v1/notebooks/{name}/reset": (
        "/v1/notebooks/mnist/reset", {"dry_run": True}, MNIST, ("reset", "mnist", {"paths": [], "dry_run": True}),
    ),
    "POST /v1/notebooks/{name}/restore": (
        "/v1/notebooks/mnist/restore", {"path": "model/a.py"}, MNIST, ("restore", "mnist", {"path": "model/a.py"}),
    ),
    "POST /v1/notebooks/{name}/resume": ("/v1/notebooks/mnist/resume", {}, MNIST, ("resume", "mnist", {})),
    "POST /v1/notebooks/{name}/rollback": (
        "/v1/notebooks/mnist/rollback", {"to": 3}, MNIST, ("rollback", "mnist", {"to": "3"}),
    ),
    "POST /v1/notebooks/{name}/add": (
        "/v1/notebooks/mnist/add", {"packages": ["scipy>=1"]}, MNIST, ("add", "mnist", {"packages": ["scipy>=1"]}),
    ),
    "POST /v1/notebooks/{name}/restart": (
        "/v1/notebooks/mnist/restart", {"kernels": True}, MNIST, ("restart", "mnist", {"kernels": True}),
    ),
    "POST /v1/notebooks/{name}/start": ("/v1/notebooks/mnist/start", {}, MNIST, ("start", "mnist", {})),
    "POST /v1/notebooks/{name}/stop": ("/v1/notebooks/mnist/stop", {}, MNIST, ("stop", "mnist", {})),
    "POST /v1/notebooks/{name}/wait": ("/v1/notebooks/mnist/wait", {"timeout": 0}, {"outcome": "timeout"}, None),
    "POST /v1/backup": (
        "/v1/backup", {"file": "/a/b"}, {"file": "/a/b", "bytes": 1}, ("backup", "", {"file": "/a/b"}),
    ),
    "POST /v1/reload": ("/v1/reload", {}, {"changed": []}, ("reload", "", {})),
    "GET /v1/status": ("/v1/status", None, {"schema": 1, "notebooks": [MNIST], "big": ""}, None),
    "POST /v1/stop": ("/v1/stop", {}, {}, ("stop", "", {})),
    "GET /v1/version": ("/v1/version", None, {"version": "0.1.0", "schema": 1}, None),
    "GET /v1/why": ("/v1/why?path=/a%FFb", None, {"path": "/a\udcffb", "counts": True}, None),
}  # fmt: skip

# These two answer with an error of the daemon, and stand in the table of errors below.
ERRING = {"GET /v1/doctor", "POST /v1/notebooks/{name}/cancel"}
LINES = {"POST /v1/notebooks/{name}/run"}


def shown(route):
    return f"{route.method} {route.path.replace('{name:[^/]*}', '{name}')}"


def test_the_table_is_sorted_and_every_route_is_tested():
    assert sorted(ROUTES, key=lambda route: (route.path, route.method)) == list(ROUTES)
    assert {shown(route) for route in ROUTES} == HAPPY.keys() | ERRING | LINES


def test_what_changes_something_is_not_a_get_and_the_other_way_round():
    assert all(route.mutating == (route.method != "GET") for route in ROUTES if not route.path.endswith("/wait"))


@pytest.mark.parametrize("route", HAPPY, ids=HAPPY.keys())
async def test_a_request_reaches_the_daemon_and_its_answer_comes_back(client, daemon, route):
    target, body, expected, call = HAPPY[route]
    answer = await client.ask(route.split()[0], target, body)
    assert (answer.status, answer.json) == (200, expected)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["kaosd-version"] == __version__
    assert daemon.calls == ([call] if call else [])


async def test_two_deployments_are_compared(client):
    answer = await client.ask("GET", "/v1/notebooks/mnist/diff?from=3&to=5", None)
    assert (answer.status, answer.json) == (200, {"name": "mnist", "from": 3, "to": 5})


async def test_what_comes_line_by_line_is_sent_as_it_comes_and_ends_with_an_error(client, daemon):
    await client.send(request("POST", "/v1/notebooks/mnist/run", {"notebook": "a.ipynb"}, "Connection: close\r\n"))
    head = (await client.reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert "http/1.1 200" in head
    assert "application/x-ndjson" in head
    await client.reader.readuntil(b'{"event": "started", "cells": 1}\n')
    daemon.settled.set()
    rest = (await client.closed()).decode()
    assert '"event": "error"' in rest
    assert '"detail": "the host went away"' in rest
    assert daemon.calls[-1] == ("closed", "", {})


async def test_what_comes_line_by_line_ends_when_the_client_leaves(client, daemon, eventually):
    await client.send(request("POST", "/v1/notebooks/mnist/run", {"notebook": "a.ipynb"}))
    await client.reader.readuntil(b'"cells": 1}\n')
    await client.close()
    await eventually(lambda: daemon.calls[-1] == ("closed", "", {}))


async def test_an_error_before_the_first_line_is_a_problem_document(client):
    answer = await client.ask("POST", "/v1/notebooks/mnist/run", {"notebook": "none.ipynb"})
    assert (answer.status, answer.json["code"]) == (404, "not_found")


async def test_a_copy_is_compared_with_the_notebooks_file(client):
    answer = await client.ask("GET", "/v1/notebooks/mnist/diff?copy=/state/x.py", None)
    assert (answer.status, answer.json) == (200, {"name": "mnist", "from": "/state/x.py"})


# target, body; status, code, part of the detail, hint
ERRORS = {
    "error of the daemon": ("GET /v1/doctor", None, 503, "store", "the disk is full", "make room"),
    "conflict": ("POST /v1/notebooks/mnist/cancel", {}, 409, "conflict", "has no build in flight", ""),
    "unknown notebook": ("GET /v1/notebooks/no", None, 404, "not_found", "no notebook 'no'", "there are: mnist"),
    "unknown address": ("GET /v2/status", None, 404, "no_such_route", "nothing at this", "see GET /v1/status"),
    "root": ("GET /", None, 404, "no_such_route", "nothing at this", "see GET /v1/status"),
    "wrong method": ("POST /v1/status", {}, 405, "method_not_allowed", "POST cannot be used here", "use GET"),
    "two wishes": (
        "POST /v1/notebooks/mnist/redeploy",
        {"now": True, "when_idle": True},
        400,
        "bad_request",
        "give when_idle alone",
        "",
    ),
    "flag that is none": ("POST /v1/notebooks/mnist/redeploy", {"force": "yes"}, 400, "bad_request", "force: ", ""),
    "pull of no name": ("POST /v1/notebooks/mnist/pull", {"paths": [""]}, 400, "bad_request", "paths: ", ""),
    "pull of a word": ("POST /v1/notebooks/mnist/pull", {"paths": "a"}, 400, "bad_request", "paths: ", ""),
    "restore of nothing": ("POST /v1/notebooks/mnist/restore", {}, 400, "bad_request", "path: field required", ""),
    "restore of no name": ("POST /v1/notebooks/mnist/restore", {"path": ""}, 400, "bad_request", "path: ", ""),
    "rollback to a list": ("POST /v1/notebooks/mnist/rollback", {"to": [1]}, 400, "bad_request", "to: ", ""),
    "add of nothing": ("POST /v1/notebooks/mnist/add", {"packages": []}, 400, "bad_request", "packages: ", ""),
    "add of a word": ("POST /v1/notebooks/mnist/add", {"packages": "a"}, 400, "bad_request", "packages: ", ""),
    "backup to a relative path": ("POST /v1/backup", {"file": "b"}, 400, "bad_request", "file: ", ""),
    "negative timeout": ("POST /v1/notebooks/mnist/wait", {"timeout": -1}, 400, "bad_request", "timeout: ", ""),
    "infinite timeout": ("POST /v1/notebooks/mnist/wait", b'{"timeout": 1e999}', 400, "bad_request", "timeout: ", ""),
    "events after a word": ("GET /v1/events?after=x", None, 400, "bad_request", "after: ", ""),
    "events before 0": ("GET /v1/events?after=-1", None, 400, "bad_request", "after: ", ""),
    "unknown stage": ("GET /v1/notebooks/mnist/logs?stage=x", None, 400, "bad_request", "stage: ", ""),
    "logs of a word": ("GET /v1/notebooks/mnist/logs?deploy=x", None, 400, "bad_request", "deploy: ", ""),
    "diff from one deployment": ("GET /v1/notebooks/mnist/diff?from=1", None, 400, "bad_request", "from and to", ""),
    "diff of a path and deployments": (
        "GET /v1/notebooks/mnist/diff?from=1&to=2&path=a",
        None,
        400,
        "bad_request",
        "from and to",
        "",
    ),
    "why of nothing": ("GET /v1/why", None, 400, "bad_request", "path: field required", ""),
    "why of a relative path": ("GET /v1/why?path=a", None, 400, "bad_request", "path: ", ""),
    "why of a NUL": ("GET /v1/why?path=/a%00", None, 400, "bad_request", "must be an absolute path", ""),
    "query of a thousand fields": ("GET /v1/why?" + "a&" * 1000, None, 400, "bad_request", "too many fields", ""),
}


@pytest.mark.parametrize(("ask", "body", "status", "code", "detail", "hint"), ERRORS.values(), ids=ERRORS.keys())
async def test_an_error_is_a_problem_document(client, daemon, ask, body, status, code, detail, hint):
    answer = await client.ask(*ask.split(), body)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["kaosd-version"] == __version__
    document = answer.json
    assert detail in document.pop("detail")
    assert document.pop("title")
    assert document == {"type": "about:blank", "status": status, "code": code, "hint": hint}
    assert daemon.calls == []


STATUSES = {
    "its own": (NotFoundError("x"), 404),
    "request": (ApiError("x"), 400),
    "conflict": (ConflictError("x"), 409),
    "argument": (ConfigError("x"), 400),
    "bundle": (BundleError("x"), 422),
    "passes": (StoreError("x"), 503),
    "stays": (StoreError("x", retryable=False), 500),
    "engine away": (EngineUnavailable("x"), 503),
    "build": (BuildFailed("x"), 500),
}


@pytest.mark.parametrize(("error", "status"), STATUSES.values(), ids=STATUSES.keys())
def test_each_error_has_its_status(error, status):
    assert status_of(error) == status


NAMES = ["..", "../x", "%2e%2e", "a/b", "", "n" * 300, "a\nb", "-rf", ".service", "a\x1b]0;x", "a\u202eb", "a\x00"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_a_name_that_is_none_is_refused(client, daemon, name):
    quoted = "".join(f"%{byte:02x}" for byte in name.encode())
    answer = await client.ask("POST", f"/v1/notebooks/{quoted}/pause", {})
    assert (answer.status, answer.json["code"]) == (400, "config")
    assert all(" " <= char <= "~" for char in answer.text)
    assert daemon.calls == []


@pytest.mark.parametrize("target", ["/../../etc/passwd", "/v1/notebooks/../status", "/v1/notebooks/a/b/pause", "//v1"])
async def test_a_path_outside_the_table_leads_nowhere(client, daemon, target):
    assert (await client.ask("GET", target)).status == 404
    assert daemon.calls == []


async def test_a_bug_is_told_without_its_inside_and_logged_with_it(client):
    with capture_logs() as logs:
        answer = await client.ask("POST", "/v1/notebooks", {"name": "bug"})
    assert (answer.status, answer.json["code"]) == (500, "bug")
    assert "secret" not in answer.text
    (entry,) = [entry for entry in logs if entry["event"] == "request_failed"]
    assert entry["exc_info"]
    assert (await client.ask("GET", "/v1/version")).status == 200


async def test_changes_are_logged_and_reads_are_not(client):
    with capture_logs() as logs:
        await client.ask("GET", "/v1/status")
        await client.ask("POST", "/v1/notebooks/mnist/pause")
    assert [(entry["event"], entry["method"], entry["path"]) for entry in logs] == [
        ("asked", "POST", "/v1/notebooks/mnist/pause")
    ]


async def test_while_draining_reads_are_answered_and_changes_refused(api, client, daemon):
    api.draining = True
    for route in ROUTES:
        body = {"timeout": 0} if route.path.endswith("/wait") else None
        answer = await client.ask(route.method, route.path.replace("{name:[^/]*}", "mnist"), body)
        assert (answer.json.get("code") == "draining") == route.mutating
        assert (answer.status == 503) == (route.mutating or route.path == "/v1/doctor")
    assert daemon.calls == []


async def test_events_are_waited_for_and_resumed(client, daemon):
    asked = asyncio.create_task(client.ask("GET", "/v1/events?after=0&timeout=60"))
    async with asyncio.timeout(10):
        while not daemon.waiting:
            await asyncio.sleep(0)
    await daemon.publish("state")
    assert (await asked).json == {"events": [{"seq": 1, "kind": "state"}], "last": 1, "gap": False}
    await daemon.publish("state")
    answer = await client.ask("GET", "/v1/events?after=1&timeout=60")
    assert [event["seq"] for event in answer.json["events"]] == [2]


async def test_a_wait_of_hours_is_taken_and_ends_when_it_is_live(client, daemon):
    asked = asyncio.create_task(client.ask("POST", "/v1/notebooks/mnist/wait", {"timeout": 36000}))
    async with asyncio.timeout(10):
        while not daemon.waiting:
            await asyncio.sleep(0)
    daemon.settled.set()
    assert (await asked).json == {"outcome": "live"}


async def test_a_waiting_request_ends_with_its_client(client, daemon, eventually):
    await client.send(b"POST /v1/notebooks/mnist/wait HTTP/1.1\r\nHost: kaosd\r\n\r\n")
    await eventually(lambda: daemon.waiting == 1)
    await client.close()
    await eventually(lambda: daemon.waiting == 0)


async def test_only_so_many_requests_wait_at_once(start, connect, daemon, eventually):
    await start(streams=3)
    for _ in range(3):
        await (await connect()).send(b"GET /v1/events?timeout=60 HTTP/1.1\r\nHost: kaosd\r\n\r\n")
    await eventually(lambda: daemon.waiting == 3)
    client = await connect()
    answer = await client.ask("GET", "/v1/events?timeout=60")
    assert (answer.status, answer.json["code"]) == (503, "busy")
    assert (await client.ask("GET", "/v1/status")).status == 200
    await daemon.publish("state")
    await eventually(lambda: daemon.waiting == 0)
    assert (await client.ask("GET", "/v1/events?timeout=60")).status == 200


async def test_a_common_client_can_talk_to_it(api, path):
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
        async with session.post("http://kaosd/v1/notebooks/mnist/redeploy", json={"now": True}) as answer:
            assert await answer.json() == MNIST
        async with session.get("http://kaosd/v1/version") as answer:
            assert (await answer.json())["schema"] == 1


async def test_figures_are_answered_as_text_for_prometheus(client):
    answer = await client.ask("GET", "/metrics")
    assert (answer.status, answer.text) == (200, "kaosd_info 1\n")
    assert answer.headers["content-type"] == CONTENT_TYPE
    assert (await client.ask("POST", "/metrics")).status == 405
