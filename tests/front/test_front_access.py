"""Who may come in: the decisions as tables, and the same through a real socket."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import WSServerHandshakeError
from multidict import CIMultiDict
from yarl import URL

from kaosd.front import Front, access
from kaosd.front.connections import listen

from .world import DAEMON, TOKEN, World

KNOWN = frozenset({"box.example", "other:99"})
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
        pytest.param("GET", {"Host": "127.0.0.1"}, True, id="no port"),
        pytest.param("GET", {"Host": "127.0.0.1:9999"}, True, id="port of a tunnel"),
        pytest.param("GET", {"Host": "[::1]:9999"}, True, id="loopback of IPv6"),
        pytest.param("GET", {"Host": "localhost:1", "Origin": "http://localhost:1"}, True, id="own origin in a tunnel"),
        pytest.param("GET", {"Host": "localhost:1", "Origin": "http://localhost:2"}, False, id="another tunnel"),
        pytest.param("GET", {"Host": "localhost.evil.example:8890"}, False, id="name with localhost in front"),
        pytest.param("GET", {"Host": "evil.localhost:8890"}, False, id="name below localhost"),
        pytest.param("GET", {"Host": "127.0.0.1:x"}, False, id="port that is none"),
        pytest.param("GET", {"Host": "127.0.0.1:8890:1"}, False, id="two ports"),
        pytest.param("GET", {"Host": "user@127.0.0.1:8890"}, False, id="name with a user"),
        pytest.param("GET", {"Host": ""}, False, id="empty host"),
        pytest.param("GET", {"Host": "other:98"}, False, id="configured host with another port"),
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


COOKIE = access.cookie_for("nb", TOKEN, "8890")


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
        pytest.param(
            {"Cookie": "{}={}".format(*access.cookie_for("xx", TOKEN, "8890"))}, "", False, id="other notebook"
        ),
        pytest.param({"Cookie": f"{COOKIE[0]}={access.cookie_for('nb', TOKEN, '1')[1]}"}, "", False, id="other port"),
    ],
)
def test_only_a_token_or_its_cookie_is_admitted(headers: dict[str, str], query: str, admitted: bool) -> None:
    assert admits(headers, query, [TOKEN, "daemon"], COOKIE) is admitted


def admits(headers: dict[str, str], query: str, tokens: list[str], cookie: tuple[str, str]) -> bool:
    shown = CIMultiDict(headers)
    return access.shows_token(shown, query, tokens) or access.shows_cookie(shown, cookie)


def test_a_cookie_of_another_start_is_worth_nothing() -> None:
    before, now = (access.cookie_for("nb", TOKEN, "8890", key) for key in ("a", "b"))
    assert before[0] == now[0]
    assert not access.shows_cookie(CIMultiDict({"Cookie": "{}={}".format(*before)}), now)


def test_an_empty_token_admits_nobody() -> None:
    headers = {"Authorization": "token ", "Cookie": "kaosd-8890-nb="}
    assert not admits(headers, "token=", ["", ""], access.cookie_for("nb", "", "8890"))


def test_the_cookie_holds_no_token() -> None:
    assert TOKEN not in "".join(access.cookie_for("nb", TOKEN, "8890"))


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
PATHS = ["/nb/echo", "/nb/", "/nb/lab", "/nb/kaosd/", "/nb/kaosd/state", "/kaosd/", "/kaosd/state", "/nb/socket"]


@pytest.mark.parametrize("path", [*PATHS, "/kaosd/open/nb/lab"])
@pytest.mark.parametrize("token", [None, "wrong", "token-of-other"])
async def test_nothing_is_passed_on_without_the_token(world: World, path: str, token: str | None) -> None:
    world.directory.put("nb", "unix:/nowhere")
    world.directory.put("other", "unix:/nowhere")
    async with world.get(path, token) as answer:
        if (path, token) == ("/nb/lab", None):
            assert answer.headers["Location"].startswith(f"http://{world.host}/nb/login?")  # as JupyterLab does
            return
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
        assert b"kaosctl open nb" in body or answer.status == 302


@pytest.mark.parametrize("path", ["/", "/kaosd/"])
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
    at = {**PAGE, "Host": world.index_host}
    async with world.get("/", None, headers=at) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/kaosd/")
    async with world.get(f"/?token={DAEMON}", None, headers=at) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/kaosd/")
        assert "Path=/kaosd/" in answer.headers["Set-Cookie"]
        index = {**at, "Cookie": answer.headers["Set-Cookie"].split(";")[0]}
    async with world.get("/kaosd/", None, headers=index) as answer:
        assert answer.status == 200
    async with world.get("/kaosd/open/nb/lab", None, headers=index) as answer:
        assert answer.status == 303
        there = URL(answer.headers["Location"])
        assert (there.host, there.port, there.path[:15]) == ("127.0.0.1", world.port, "/nb/kaosd/once/")
        assert TOKEN not in str(there)
    linked = {**PAGE, "Sec-Fetch-Site": "cross-site"}
    async with world.get(str(there.relative()), None, headers=linked) as answer:
        assert answer.status == 200  # a redirect would still belong to the index, and show no cookie
        assert 'content="0;url=/nb/lab"' in await answer.text()
        notebook = {**PAGE, "Cookie": answer.headers["Set-Cookie"].split(";")[0]}
    async with world.get("/nb/kaosd/", None, headers=notebook) as answer:
        assert answer.status == 200
    async with world.get("/nb/kaosd/", None, headers={**PAGE, "Cookie": index["Cookie"]}) as answer:
        assert answer.status == 401
    async with world.get("/kaosd/open/none/lab", None, headers=index) as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    ("host", "index", "right"),
    [
        ("127.0.0.1:8890", True, "localhost:8890"),
        ("127.0.0.1:8890", False, "127.0.0.1:8890"),
        ("localhost:9999", True, "localhost:9999"),
        ("localhost:9999", False, "127.0.0.1:9999"),
        ("LocalHost", False, "127.0.0.1"),
        ("[::1]:9999", True, "localhost:9999"),
        ("[::1]:9999", False, "[::1]:9999"),
        ("box.example:1", True, "box.example:1"),
        ("box.example:1", False, "box.example:1"),
    ],
)
def test_index_and_notebooks_have_names_of_their_own(host: str, index: bool, right: str) -> None:
    assert access.right_host(host, index=index) == right


@pytest.mark.parametrize("port", [None, 9999], ids=["own port", "tunnel"])
@pytest.mark.parametrize("path", ["/nb/lab?a=%20b", "/nb/", "/nb/files/x.html"])
async def test_a_page_of_a_notebook_is_never_shown_under_the_index_s_name(
    world: World, path: str, port: int | None
) -> None:
    _, address, _ = await world.upstream("one")
    world.directory.put("nb", address)
    port = port or world.port
    cookies = [access.cookie_for(scope, TOKEN, str(port), world.front._key) for scope in ("nb", "")]
    shown = "; ".join("{}={}".format(*cookie) for cookie in cookies)
    at = {"Host": f"localhost:{port}", "Cookie": shown}
    async with world.get(path, None, headers={**PAGE, **at}) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, f"http://127.0.0.1:{port}{path}")
    async with world.get(path, None, headers={**at, "Sec-Fetch-Site": "same-origin"}) as answer:
        assert answer.status == 401
    async with world.get("/nb/echo", headers={"Host": f"localhost:{port}"}) as answer:
        assert answer.status == 200  # a program, with the token


async def test_the_index_is_not_shown_under_the_name_of_notebooks(world: World) -> None:
    cookie = "{}={}".format(*access.cookie_for("", DAEMON, str(world.port), world.front._key))
    for path in ("/kaosd/", "/kaosd/open/nb/lab"):
        async with world.get(path, None, headers={**PAGE, "Cookie": cookie}) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, f"http://{world.index_host}{path}")
    for path in ("/kaosd/state", "/kaosd/", "/kaosd/open/nb/lab"):
        async with world.get(path, None, headers={"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}) as answer:
            assert answer.status == 401
        async with world.get(path, None, headers={"Cookie": cookie, "Host": world.index_host}) as answer:
            assert answer.status in (200, 404)


async def test_through_a_tunnel_all_goes_by_the_browser_s_own_port(world: World) -> None:
    """As `ssh -L 9999:127.0.0.1:8890` brings it: the port in Host and Origin is the tunnel's."""
    _, address, _ = await world.upstream("one")
    world.directory.put("nb", address)
    at = {"Host": "127.0.0.1:9999"}
    async with world.get(f"/nb/lab?token={TOKEN}", None, headers={**PAGE, **at}) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/nb/lab")
        cookie = answer.headers["Set-Cookie"].split(";")[0]
    assert cookie.startswith("kaosd-9999-nb=")
    own = {**at, "Cookie": cookie, "Origin": "http://127.0.0.1:9999"}
    async with world.get("/nb/lab", None, headers={**PAGE, **own}) as answer:
        assert answer.status == 200
    async with world.client.ws_connect("/nb/socket", headers=own) as ws:
        await ws.send_str("x")
        assert await ws.receive_str() == "one: x"
    with pytest.raises(WSServerHandshakeError) as refused:
        await world.client.ws_connect("/nb/socket", headers={**own, "Origin": f"http://{world.host}"})
    assert refused.value.status == 403
    async with world.get("/nb/lab", None, headers={**PAGE, "Cookie": cookie}) as answer:
        assert answer.status == 401  # without the tunnel it is another address


async def test_a_refusal_says_where_names_are_added(world: World) -> None:
    async with world.get("/nb/lab", headers={"Host": "lab.example"}) as answer:
        assert "hosts of [front]" in (await answer.json())["detail"]


async def test_a_cookie_ends_with_its_front_unless_the_port_is_held(short_directory: Path) -> None:
    held = listen(0)
    port = held[0].getsockname()[1]

    async def shown(given: list[socket.socket], cookie: str | None) -> tuple[int, str]:
        async with AsyncExitStack() as stack:
            world = World(stack, short_directory)
            world.front = Front(world.directory, port if given else 0, (), tuple(given))
            world.directory.put("nb", None, "failed")
            await world.open()
            headers = {**PAGE, "Cookie": cookie} if cookie else PAGE
            path = "/nb/kaosd/" if cookie else f"/nb/kaosd/?token={TOKEN}"
            async with world.get(path, None, headers={**headers, "Host": "127.0.0.1:9999"}) as answer:
                return answer.status, answer.headers.get("Set-Cookie", "").split(";")[0]

    _, cookie = await shown([], None)
    assert (await shown([], cookie))[0] == 401
    _, cookie = await shown([one.dup() for one in held], None)
    assert (await shown([one.dup() for one in held], cookie))[0] == 200
    for one in held:
        one.close()


async def test_a_tab_that_has_the_token_signs_in_again_by_itself(world: World) -> None:
    _, address, _ = await world.upstream("one")
    world.directory.put("nb", address)
    tab = {"Sec-Fetch-Site": "same-origin", "Cookie": f"kaosd-{world.port}-nb=of-an-earlier-start"}
    async with world.get("/nb/lab", headers=tab) as answer:
        given = answer.headers.getall("Set-Cookie")
    assert len(given) == 1
    assert {"HttpOnly", "SameSite=Strict", "Path=/nb/"} <= {part.strip() for part in given[0].split(";")}
    async with world.get("/nb/lab", None, headers={**PAGE, "Cookie": given[0].split(";")[0]}) as answer:
        assert answer.status == 200
        assert "Set-Cookie" not in answer.headers
    async with world.get("/nb/lab") as answer:  # a program wants none
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/nb/lab", f"/nb/lab?token={TOKEN}"),
        ("/nb/lab?", f"/nb/lab?token={TOKEN}"),
        ("lab?a=1#b", f"lab?a=1&token={TOKEN}#b"),
        ("http://127.0.0.1:9999/nb/tree", f"http://127.0.0.1:9999/nb/tree?token={TOKEN}"),
        ("http://127.0.0.1:8888/nb/tree", "http://127.0.0.1:8888/nb/tree"),
        ("/nb/lab?token=x", "/nb/lab?token=x"),
        ("/other/lab", "/other/lab"),
        ("/nb/../other/lab", "/nb/../other/lab"),
        ("../other", "../other"),
        ("//evil.example/nb/", "//evil.example/nb/"),
        ("https://evil.example/nb/", "https://evil.example/nb/"),
        ("http://127.0.0.1:9999@evil.example/nb/", "http://127.0.0.1:9999@evil.example/nb/"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("http://[", "http://["),
    ],
)
async def test_a_program_keeps_its_token_over_a_redirect_within_the_notebook(
    world: World, location: str, expected: str
) -> None:
    _, address, _ = await world.upstream("one")
    world.directory.put("nb", address)
    asked = URL.build(path="/nb/answer", query={"status": "302", "Location": location, "token": TOKEN})
    async with world.client.get(asked, headers={"Host": "127.0.0.1:9999"}, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, expected)
    async with world.get(str(asked.without_query_params("token")), headers={"Host": "127.0.0.1:9999"}) as answer:
        assert answer.headers["Location"] == location


@pytest.mark.parametrize(
    ("cookie", "passes"),
    [
        ("a=1", True),
        ("a=1; Path=/nb/", True),
        ("a=1; path = /nb", True),
        ("a=1; Path=/nb/deep; HttpOnly", True),
        ("a=1; Path=/", False),
        ("a=1; PATH=/", False),
        ("a=1; Path=/nb/; Path=/", False),
        ("a=1; Path=/; Path=/nb/", True),
        ("a=1; Path=/nbx/", False),
        ("a=1; Path=/kaosd/", False),
        ("a=1; Path=", True),
        ("kaosd-8890-nb=1; Path=/nb/", False),
        (" kaosd-8890=1", False),
    ],
)
async def test_a_host_sets_cookies_for_its_own_paths_only(world: World, cookie: str, passes: bool) -> None:
    _, address, _ = await world.upstream("one")
    world.directory.put("nb", address)
    asked = URL.build(path="/nb/answer", query={"Set-Cookie": cookie})
    async with world.get(str(asked)) as answer:
        assert [one.strip() for one in answer.headers.getall("Set-Cookie", [])] == [cookie.strip()] * passes


@pytest.mark.parametrize(
    "name", ["Service-Worker-Allowed", "clear-site-data", "Strict-Transport-Security", "Alt-Svc", "NEL", "Report-To"]
)
async def test_a_host_says_nothing_about_the_whole_origin(world: World, name: str) -> None:
    _, address, _ = await world.upstream("one")
    world.directory.put("nb", address)
    async with world.get(str(URL.build(path="/nb/answer", query={name: "/", "X-Other": "1"}))) as answer:
        assert name not in answer.headers
        assert answer.headers["X-Other"] == "1"


async def test_a_program_without_the_token_learns_the_server_s_address_as_from_jupyter(world: World) -> None:
    for known in (False, True):
        if known:
            world.directory.put("nb", "unix:/nowhere")
        async with world.get("/nb/lab?a=1", None) as answer:
            there = f"http://{world.host}/nb/login?next=%2Fnb%2Flab%3Fa%3D1"
            assert (answer.status, answer.headers["Location"]) == (302, there)
        async with world.get("/nb/api/status", None) as answer:
            assert "Location" not in answer.headers


async def test_a_name_alone_leads_to_its_directory(world: World) -> None:
    async with world.get("/nb?token=x", None) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/nb/?token=x")
