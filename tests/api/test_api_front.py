"""The API's answers for the front, which asks without a socket."""

from __future__ import annotations

import pytest


async def test_the_front_is_given_the_apis_own_answers(api, daemon):
    assert await api.ask("GET", "mnist", "", "", b"") == (200, await daemon.notebook("mnist"))
    assert (await api.ask("GET", "", "status", "", b""))[1]["schema"] == 1
    assert await api.ask("GET", "mnist", "logs", "stage=build&lines=3", b"") == (
        200, {"of": "mnist", "query": {"stage": "build", "lines": 3}},
    )  # fmt: skip


async def test_the_front_changes_what_the_api_changes(api, daemon):
    status, _ = await api.ask("POST", "mnist", "redeploy", "", b'{"force": true}')
    assert status == 200
    assert daemon.calls == [("redeploy", "mnist", {"force": True, "now": False, "when_idle": False})]


@pytest.mark.parametrize(
    ("method", "name", "verb", "query", "body", "status"),
    [
        ("GET", "nobody", "history", "", b"", 404),
        ("GET", "mnist", "nothing", "", b"", 404),
        ("GET", "mnist", "redeploy", "", b"", 404),
        ("GET", "mnist", "logs", "lines=many", b"", 400),
        ("POST", "mnist", "redeploy", "", b'{"force": 1}', 400),
        ("POST", "mnist", "redeploy", "", b"no json", 400),
        ("POST", "mnist", "redeploy", "", b"[]", 400),
    ],
)
async def test_a_refusal_is_a_problem_document(api, daemon, method, name, verb, query, body, status):
    found, document = await api.ask(method, name, verb, query, body)
    assert (found, document["status"]) == (status, status)
    assert document["detail"]
    assert daemon.calls == []


async def test_the_front_changes_nothing_while_the_daemon_stops(api, daemon):
    api.draining = True
    status, document = await api.ask("POST", "mnist", "redeploy", "", b"")
    assert (status, document["code"]) == (503, "draining")
    assert daemon.calls == []
    assert (await api.ask("GET", "mnist", "", "", b""))[0] == 200
