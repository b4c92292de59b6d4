"""Who may come in: the decisions as tables, and the same through a real socket."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict
from yarl import URL

from kaosd.front import access

from .world import DAEMON, TOKEN, World

KNOWN = access.addresses(8890, ("box.example", "other:99"))
HERE = {"Host": "127.0.0.1:8890"}
LINKED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    ("method", "headers", "comes_in"),
    [
        pytest.param("GET", HERE, True, id="program"),
        pytest.param("GET", {"Host": "localhost:8890"}, True, id="localhost"),
        pytest.param("GET", {"Host": "LOCALHOST:8890"}, True, id="host in capitals"),
        pytest.param("GET", {"Host": "box.example"}, True, id="configured host"),
        pytest.param("GET", {"Host": "box.example:8890"}, True, id="configured host with our port"),
        pytest.param("GET", {"Host": "other:99"}, True, id="configured host with its port"),
        pytest.param("GET", {"Host": "other"}, False, id="configured host without its port"),
        pytest.param("GET", {}, False, id="no host"),
        pytest.param("GET", {"Host": "evil.example:8890"}, False, id="rebound name"),
        pytest.param("GET", {"Host": "127.0.0.1"}, False, id="no port"),
        pytest.param("GET", {"Host": "127.0.0.1:8891"}, False, id="other port"),
        pytest.param("GET", {"Host": "127.0.0.1:8890.evil.example"}, False, id="host with our address in front"),
        pytest.param("GET", {**HERE, "Origin": "http://127.0.0.1:8890"}, True, id="own origin"),
        pytest.param("POST", {**HERE, "Origin": "http://127.0.0.1:8890"}, True, id="own origin posts"),
        pytest.param("GET", {**HERE, "Origin": "http://localhost:8890"}, False, id="origin is our other name"),
        pytest.param("GET", {**HERE, "Origin": "http://127.0.0.1:9999"}, False, id="origin at another port"),
        pytest.param("GET", {**HERE, "Origin": "https://evil.example"}, False, id="foreign origin"),
        pytest.param("GET", {**HERE, "Origin": "null"}, False, id="null origin"),
        pytest.param("GET", {**HERE, "Origin": "file://127.0.0.1:8890"}, False, id="origin of a file"),
        pytest.param("GET", {**HERE, "Origin": ""}, False, id="empty origin"),
        pytest.param("GET", {**HERE, "Sec-Fetch-Site": "same-origin"}, True, id="own page"),
        pytest.param("GET", {**HERE, "Sec-Fetch-Site": "none"}, True, id="typed address"),
        pytest.param("GET", {**HERE, **LINKED}, True, id="link on another site"),
        pytest.param("POST", {**HERE, **LINKED}, False, id="form on another site"),
        pytest.param("GET", {**HERE, **LINKED, "Sec-Fetch-Dest": "iframe"}, False, id="frame on another site"),
        pytest.param("GET", {**HERE, **LINKED, "Sec-Fetch-Mode": "no-cors"}, False, id="picture on another site"),
        pytest.param("GET", {**HERE, **LINKED, "Sec-Fetch-Mode": "websocket"}, False, id="websocket of another site"),
        pytest.param("GET", {**HERE, "Sec-Fetch-Site": "same-site"}, False, id="script of another port"),
        pytest.param("GET", {**HERE, "Sec-Fetch-Site": "cross-site"}, False, id="script of another site"),
    ],
)
def test_only_our_own_pages_and_people_come_in(method: str, headers: dict[str, str], comes_in: bool) -> None:
    assert (access.foreign(method, CIMultiDict(headers), KNOWN) is None) is comes_in


def test_two_hosts_are_foreign() -> None:
    twice = CIMultiDict([("Host", "127.0.0.1:8890"), ("Host", "evil")])
    assert access.foreign("GET", twice, KNOWN) is not None


COOKIE = access.cookie_for("nb", TOKEN, 8890)


@pytest.mark.parametrize(
    ("headers", "query", "admitted"),
    [
        pytest.param({}, "", False, id="nothing"),
        pytest.param({"Authorization": f"token {TOKEN}"}, "", True, id="token header"),
        pytest.param({"Authorization": f"Bearer {TOKEN}"}, "", True, id="bearer header"),
        pytest.param({"Authorization": f"bearer  {TOKEN} "}, "", True, id="spaces"),
        pytest.param({"Authorization": f"Basic {TOKEN}"}, "", False, id="other scheme"),
        pytest.param({"Authorization": TOKEN}, "", False, id="no scheme"),
        pytest.param({"Authorization": "token "}, "", False, id="empty header"),
        pytest.param({"Authorization": f"token {TOKEN}x"}, "", False, id="longer token"),
        pytest.param({"Authorization": "token \udc80"}, "", False, id="bytes that are no text"),
        pytest.param({}, f"token={TOKEN}", True, id="query"),
        pytest.param({}, f"a=b&token={TOKEN}&c", True, id="query among others"),
        pytest.param({}, f"t%6Fken={TOKEN.replace('-', '%2D')}", True, id="query encoded"),
        pytest.param({}, "token=", False, id="empty query"),
        pytest.param({}, "token=wrong", False, id="wrong query"),
        pytest.param({}, f"token=wrong&token={TOKEN}", True, id="wrong and right query"),
        pytest.param({"Cookie": "{}={}".format(*COOKIE)}, "", True, id="cookie"),
        pytest.param({"Cookie": "a=b; {}={}; c=d".format(*COOKIE)}, "", True, id="cookie among others"),
        pytest.param({"Cookie": f"{COOKIE[0]}={TOKEN}"}, "", False, id="token as cookie"),
        pytest.param({"Cookie": f"{COOKIE[0]}="}, "", False, id="empty cookie"),
        pytest.param({"Cookie": f"kaosd-8890-xx={COOKIE[1]}"}, "", False, id="cookie of another name"),
        pytest.param({"Cookie": "{}={}".format(*access.cookie_for("xx", TOKEN, 8890))}, "", False, id="other notebook"),
        pytest.param({"Cookie": f"{COOKIE[0]}={access.cookie_for('nb', TOKEN, 1)[1]}"}, "", False, id="other port"),
    ],
)
def test_only_a_token_or_its_cookie_is_admitted(headers: dict[str, str], query: str, admitted: bool) -> None:
    assert access.admits(CIMultiDict(headers), query, [TOKEN, "daemon"], COOKIE) is admitted


def test_an_empty_token_admits_nobody() -> None:
    headers = CIMultiDict({"Authorization": "token ", "Cookie": "kaosd-8890-nb="})
    assert not access.admits(headers, "token=", ["", ""], access.cookie_for("nb", "", 8890))


def test_the_cookie_holds_no_token() -> None:
    assert TOKEN not in "".join(access.cookie_for("nb", TOKEN, 8890))


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("", ""),
        ("token=x", ""),
        ("a=%20b&token=x&c", "a=%20b&c"),
        ("%74oken=x&a=1", "a=1"),
        ("tokens=x", "tokens=x"),
        ("token", ""),
    ],
)
def test_the_token_is_taken_out_of_the_query(query: str, left: str) -> None:
    assert access.without_token(query) == left


PAGE = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
PATHS = ["/nb/echo", "/nb/", "/nb/lab", "/nb/_kaosd/", "/nb/_kaosd/state", "/_kaosd/", "/_kaosd/state", "/nb/socket"]


@pytest.mark.parametrize("path", [*PATHS, "/_kaosd/open/nb/lab"])
@pytest.mark.parametrize("token", [None, "wrong", "token-of-other"])
async def test_nothing_is_passed_on_without_the_token(world: World, path: str, token: str | None) -> None:
    world.directory.put("nb", "unix:/nowhere")
    world.directory.put("other", "unix:/nowhere")
    async with world.get(path, token) as answer:
        assert answer.status == 401
        assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("headers", [{}, PAGE], ids=["program", "browser"])
@pytest.mark.parametrize("token", [None, "wrong"])
async def test_an_unknown_notebook_looks_like_a_missing_token(
    world: World, headers: dict[str, str], token: str | None
) -> None:
    async with world.get("/nb/lab?x=1", token, headers=headers) as answer:
        before = answer.status, (await answer.read()).split(b"nonce")[0], sorted(answer.headers)
    world.directory.put("nb", "unix:/nowhere", "failed", reason="secret reason")
    async with world.get("/nb/lab?x=1", token, headers=headers) as answer:
        body = await answer.read()
        assert (answer.status, body.split(b"nonce")[0], sorted(answer.headers)) == before
        assert b"secret reason" not in body
        assert b"kaosctl open nb" in body


@pytest.mark.parametrize("path", ["/", "/_kaosd/"])
async def test_who_asks_for_the_list_is_told_how_to_open_it(world: World, path: str) -> None:
    async with world.get(path) as answer:
        assert (answer.status, (await answer.json())["hint"]) == (401, "kaosctl open")


async def test_who_knows_the_daemon_s_token_is_told_that_a_notebook_is_unknown(world: World) -> None:
    async with world.get("/nb/lab", DAEMON) as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=["host", "origin", "site"],
)
@pytest.mark.parametrize("path", ["/", *PATHS])
async def test_a_foreign_request_is_refused_with_the_right_token(
    world: World, headers: dict[str, str], path: str
) -> None:
    world.directory.put("nb", "unix:/nowhere")
    async with world.get(path, headers=headers) as answer:
        assert answer.status == 403


async def test_a_refusal_page_links_to_no_other_site(world: World) -> None:
    for path in ("//evil.example/", "/\\evil.example/", "/%2fevil/"):
        async with world.client.get(URL(world.front.url + path, encoded=True), headers=PAGE) as answer:
            assert answer.status in (400, 401)
            assert 'href="//' not in await answer.text()
            assert "evil.example" not in await answer.text()


async def test_a_browser_is_given_a_cookie_and_an_address_without_the_token(world: World) -> None:
    _, address, _ = await world.upstream("one")
    world.directory.put("nb", address)
    async with world.get(f"/nb/echo?a=1&token={TOKEN}&b=2", None, headers=PAGE) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == "/nb/echo?a=1&b=2"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        cookie = answer.headers["Set-Cookie"]
        assert TOKEN not in cookie
        assert {"HttpOnly", "SameSite=Strict", "Path=/nb/"} <= {part.strip() for part in cookie.split(";")}
    async with world.get("/nb/echo?a=1", None, headers={**PAGE, "Cookie": cookie.split(";")[0]}) as answer:
        assert answer.status == 200


async def test_a_program_with_the_token_in_its_query_is_served_at_once(world: World) -> None:
    _, address, _ = await world.upstream("one")
    world.directory.put("nb", address)
    async with world.get(f"/nb/echo?a=1&token={TOKEN}", None) as answer:
        told = await answer.json()
    assert told["target"] == "/nb/echo?a=1"
    assert TOKEN not in str([one for one in told["headers"] if one[0] != "Authorization"])


async def test_the_index_signs_a_browser_in_to_a_notebook(world: World) -> None:
    world.directory.put("nb", None, "building")
    async with world.get("/", None, headers=PAGE) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/_kaosd/")
    async with world.get(f"/?token={DAEMON}", None, headers=PAGE) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/_kaosd/")
        assert "Path=/_kaosd/" in answer.headers["Set-Cookie"]
        index = {**PAGE, "Cookie": answer.headers["Set-Cookie"].split(";")[0]}
    async with world.get("/_kaosd/", None, headers=index) as answer:
        assert 'href="/_kaosd/open/nb/lab"' in await answer.text()
    async with world.get("/_kaosd/open/nb/lab", None, headers=index) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/nb/lab")
        notebook = {**PAGE, "Cookie": answer.headers["Set-Cookie"].split(";")[0]}
    async with world.get("/nb/_kaosd/", None, headers=notebook) as answer:
        assert answer.status == 200
    async with world.get("/nb/_kaosd/", None, headers=index) as answer:
        assert answer.status == 401
    async with world.get("/_kaosd/open/none/lab", None, headers=index) as answer:
        assert answer.status == 404


async def test_a_name_alone_leads_to_its_directory(world: World) -> None:
    async with world.get("/nb?token=x", None) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/nb/?token=x")
