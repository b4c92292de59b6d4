"""Our own pages: what they say, that they follow, and that they leak and run nothing."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from kaosd.front.markup import Markup, element, join
from kaosd.front.routes import DescribedRoute, Route
from kaosd.front.summary import is_coming, summarise

from .world import DAEMON, TOKEN, World

PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)> \x1b]0;x\x07 \u202egnp \udcff & \"'"


def test_text_and_attributes_are_escaped_and_markup_is_not() -> None:
    made = element("p", "<b>", element("i", "&"), title='"><x', hidden=True, lang=False)
    assert made == '<p title="&quot;&gt;&lt;x" hidden>&lt;b&gt;<i>&amp;</i></p>'
    assert join("a\n<", Markup("<br>")) == "a\n&lt;<br>"


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\x9b", "\u202e", "\u2066", "\udcff", "\r"])
def test_control_characters_are_shown(char: str) -> None:
    assert char not in element("p", f"a{char}b")


@pytest.mark.parametrize(
    ("state", "status", "answering", "title", "marks"),
    [
        pytest.param(
            "building", {"build": {"state": "JOB_RUNNING"}}, False,
            "Building the environment", "now later later", id="first build",
        ),
        pytest.param(
            "building", {"build": {"state": "JOB_SUCCESS"}, "host": {"state": "PIPELINE_STARTING"}}, False,
            "Starting JupyterLab", "done now later", id="start after the build",
        ),
        pytest.param("swapping", {}, False, "Starting JupyterLab", "done now later", id="swap"),
        pytest.param(
            "stale", {"host": {"state": "PIPELINE_RESTARTING"}}, False,
            "Starting JupyterLab again", "done now later", id="host died",
        ),
        pytest.param("live", {}, False, "Starting JupyterLab", "done now later", id="live but away"),
        pytest.param(
            "failed", {"build": {"state": "JOB_FAILURE"}}, False,
            "The build failed", "failed later later", id="build failed",
        ),
        pytest.param(
            "failed", {"build": {"state": "JOB_SUCCESS"}}, False,
            "JupyterLab did not start", "done failed later", id="start failed",
        ),
        pytest.param("failed", {"build": None}, False, "JupyterLab did not start", "done failed later", id="nulls"),
        pytest.param("stopped", {}, False, "The notebook is stopped", "later later later", id="stopped"),
        pytest.param("held", {}, False, "The deployment is held", "later later later", id="held"),
        pytest.param("held", {"paused": True}, False, "The notebook is paused", "later later later", id="paused"),
        pytest.param("live", {}, True, "JupyterLab is running", "done done done", id="live"),
        pytest.param(
            "failed", {"build": {"state": "JOB_FAILURE"}}, True,
            "The last change could not be deployed", "done done done", id="old version serves",
        ),
    ],
)  # fmt: skip
def test_the_summary_says_where_a_notebook_stands(
    state: str, status: dict[str, Any], answering: bool, title: str, marks: str
) -> None:
    found = summarise(DescribedRoute("nb", "t", None, state, status), answering=answering)
    assert (found.title, " ".join(step.mark for step in found.steps)) == (title, marks)


@pytest.mark.parametrize(
    ("state", "coming"),
    [("building", True), ("swapping", True), ("live", True), ("stale", True), ("failed", False), ("stopped", False)],
)
def test_a_host_is_expected_only_while_something_is_done(state: str, coming: bool) -> None:
    assert is_coming(Route("nb", "t", None, state)) is coming


async def test_a_browser_sees_the_stage_the_error_and_the_log_while_no_host_answers(world: World) -> None:
    world.directory.lines = ["Collecting numpy", "Building wheel"]
    build = {"state": "JOB_FAILURE", "started_at": "2026-11-23T10:00:00Z", "error": "no such package: nunpy"}
    more = {"reason": build["error"], "next": [{"label": "logs", "command": "kaosctl logs nb --stage build"}]}
    world.directory.put("nb", None, "failed", build=build, **more)
    async with world.get("/nb/lab/tree/a.ipynb", headers=PAGE) as answer:
        assert (answer.status, answer.content_type) == (503, "text/html")
        text = await answer.text()
    for part in ("The build failed", "no such package: nunpy", "Building wheel", "kaosctl logs nb --stage build"):
        assert part in text
    assert "data-handover" in text


async def test_a_build_shows_how_far_it_is_and_what_is_usual(world: World) -> None:
    build = {"state": "JOB_RUNNING", "started_at": "2026-11-23T10:00:00Z"}
    world.directory.lines = ["2026-11-23T10:00:01.250Z step 2/4 resolve the requirements"]
    progress = {"stage": "build", "step": 2, "steps": 4, "text": "resolve the requirements", "expected": None}
    world.directory.put("nb", None, "building", build=build, progress=progress)
    parts = (await news(world, "/nb/kaosd/state", "", 0))["parts"]
    assert "usually" not in parts["progress"]
    assert "max=" not in parts["progress"]
    world.directory.put("nb", None, "building", build=build, progress={**progress, "expected": 83.4})
    parts = (await news(world, "/nb/kaosd/state", "", 0))["parts"]
    assert "of usually 1 min 23 s" in parts["progress"]
    assert 'max="83.4"' in parts["progress"]
    assert "Step 2 of 4: resolve the requirements" in parts["progress"]
    assert "<span>step 2/4 resolve the requirements\n</span>" in parts["log"]
    far = {**progress, "step": 4, "text": "install: 99 packages; 3 of 9 downloads, 45 of 107 MB"}
    world.directory.put("nb", None, "building", build=build, progress=far)
    parts = (await news(world, "/nb/kaosd/state", "", 0))["parts"]
    assert "Step 4 of 4: install: 99 packages; 3 of 9 downloads, 45 of 107 MB" in parts["progress"]


async def test_a_page_offers_what_it_may_ask_for_and_names_the_command_for_the_rest(world: World) -> None:
    steps = [
        {"label": "logs", "command": "kaosctl logs nb", "action": None},
        {"label": "try again", "command": "kaosctl redeploy nb", "action": {"verb": "redeploy", "body": {"now": True}}},
        {"label": "stop", "command": "kaosctl stop nb", "action": {"verb": "stop", "body": {}}},
    ]
    world.directory.put("nb", None, "failed", next=steps)
    shown = (await news(world, "/nb/kaosd/state", "", 0))["parts"]["next"]
    assert re.findall(r'<button data-verb="(\w+)" data-body="([^"]*)"', shown) == [
        ("redeploy", "{&quot;now&quot;: true}")
    ]
    assert "Logs: <code>kaosctl logs nb</code>" in shown
    assert "Stop: <code>kaosctl stop nb</code>" in shown  # only the console may
    world.directory.put("nb", None, "building")
    assert 'data-verb="cancel"' in (await news(world, "/nb/kaosd/state", "", 0))["parts"]["next"]


async def test_a_notebook_that_runs_shows_no_log_of_an_earlier_failure(world: World) -> None:
    _, address, _ = await world.upstream("one")
    world.directory.lines = ["error: no such package"]
    world.directory.put("nb", address, "live", build={"state": "JOB_FAILURE", "error": "no such package"})
    parts = (await news(world, "/nb/kaosd/state", "", 0))["parts"]
    assert "JupyterLab is running" in parts["headline"]
    assert "no such package" not in str(parts)


async def test_hostile_text_is_shown_and_not_run(world: World) -> None:
    world.directory.lines = [HOSTILE]
    status: dict[str, Any] = {
        "build": {"state": "JOB_FAILURE", "error": HOSTILE},
        "reason": HOSTILE,
        "source": {"live": HOSTILE, "disk": "x"},
        "deployment": {"number": 1, "cause": [HOSTILE]},
    }
    world.directory.put("nb", None, "failed", **status)
    for path, token in (("/nb/lab", TOKEN), ("/nb/kaosd/", TOKEN)):
        async with world.get(path, token, headers=PAGE) as answer:
            text = await answer.text()
        assert "alert(1)" in text
        assert "<script>" not in text
        assert "<img" not in text
        assert not {"\x1b", "\x07", "\u202e"} & set(text)


async def test_our_pages_allow_only_their_own_script_and_no_frame_of_others(world: World) -> None:
    world.directory.put("nb", None, "building")
    for path, token in (("/nb/lab", TOKEN), ("/kaosd/", DAEMON), ("/nb/lab", None)):
        headers = {**PAGE, "Host": world.index_host if token == DAEMON else world.host}
        async with world.get(path, token, headers=headers) as answer:
            policy, text = answer.headers["Content-Security-Policy"], await answer.text()
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        nonces = set(re.findall(r'nonce="([^"]+)"', text))
        assert len(nonces) == 1
        assert f"script-src 'nonce-{nonces.pop()}'" in policy
        assert not re.search(r'(src|href)="(https?:)?//|\son\w+=|\sstyle=', text)
        assert TOKEN not in text
        assert DAEMON not in text


async def test_the_nonce_is_new_for_every_page(world: World) -> None:
    policies = set()
    for _ in range(2):
        async with world.get("/nb/lab", None, headers=PAGE) as answer:
            policies.add(answer.headers["Content-Security-Policy"])
    assert len(policies) == 2


async def news(world: World, path: str, seen: str, wait: float, token: str = TOKEN) -> dict[str, Any]:
    async with world.get(f"{path}?seen={seen}&wait={wait}", token) as answer:
        assert answer.status == 200
        return dict(await answer.json())


async def test_an_open_page_hears_of_an_event_and_then_that_the_host_answers(world: World) -> None:
    world.directory.put("nb", None, "building", build={"state": "JOB_RUNNING"})
    first = await news(world, "/nb/kaosd/state", "", 20)
    assert (first["ready"], "Building" in first["parts"]["headline"]) == (False, True)
    world.directory.waiting.clear()
    asking = asyncio.ensure_future(news(world, "/nb/kaosd/state", first["tag"], 20))
    await world.directory.waiting.wait()
    world.directory.put("nb", None, "building", build={"state": "JOB_SUCCESS"})
    second = await asking
    assert "Starting" in second["parts"]["headline"]
    _, address, _ = await world.upstream("one")
    world.directory.put("nb", address)
    assert (await news(world, "/nb/kaosd/state", second["tag"], 20))["ready"]
    async with world.get("/nb/lab", headers=PAGE) as answer:
        assert "lab of one" in await answer.text()


async def test_an_open_page_hears_of_new_log_lines_though_they_are_no_events(world: World) -> None:
    world.directory.put("nb", None, "building")
    first = await news(world, "/nb/kaosd/state", "", 0)
    asking = asyncio.ensure_future(news(world, "/nb/kaosd/state", first["tag"], 20))
    await world.directory.waiting.wait()
    world.directory.lines.append("a new line")
    assert "a new line" in (await asking)["parts"]["log"]


async def test_a_page_that_has_seen_all_is_told_the_same_when_its_time_is_up(world: World) -> None:
    world.directory.put("nb", None, "building")
    first = await news(world, "/nb/kaosd/state", "", 0)
    for wait in (0.01, -1.0, float("nan")):
        assert await news(world, "/nb/kaosd/state", first["tag"], wait) == first
    async with world.get("/nb/kaosd/state?wait=long") as answer:
        assert answer.status == 400


async def test_a_host_that_does_not_answer_shows_the_page_and_does_not_promise_it(world: World) -> None:
    """Otherwise the page would load itself anew for ever."""
    world.directory.put("nb", f"unix:{world.place}/nobody.sock")
    async with world.get("/nb/lab", headers=PAGE) as answer:
        assert answer.status == 503
    assert not (await news(world, "/nb/kaosd/state", "", 0))["ready"]


async def test_a_program_gets_the_list_as_json(world: World) -> None:
    world.directory.put("aa", "unix:/x", "live", source={"disk": "example:1111111"})
    world.directory.put("bb", None, "building", source={"disk": "other:2222222"})
    async with world.get("/", DAEMON) as answer:
        found = [one["source"]["disk"] for one in (await answer.json())["notebooks"]]
    assert found == ["example:1111111", "other:2222222"]


async def test_the_console_says_without_javascript_what_to_do(world: World) -> None:
    async with world.get("/kaosd/", DAEMON, headers={**PAGE, "Host": world.index_host}) as answer:
        assert "<noscript><p>This page needs JavaScript. <code>kaosctl status</code>" in await answer.text()


async def test_pages_that_there_are_not_are_not_found(world: World) -> None:
    world.directory.put("nb", None, "building")
    for path, token in (("/kaosd/x", DAEMON), ("/nb/kaosd/x", TOKEN)):
        async with world.get(path, token) as answer:
            assert answer.status == 404


async def test_closing_the_front_lets_an_open_page_go(world: World) -> None:
    world.directory.put("nb", None, "building")
    first = await news(world, "/nb/kaosd/state", "", 0)
    world.directory.waiting.clear()
    asking = asyncio.ensure_future(news(world, "/nb/kaosd/state", first["tag"], 20))
    await world.directory.waiting.wait()
    closing = asyncio.ensure_future(world.front.close())
    world.directory.publish()
    assert await asking == first
    await closing
