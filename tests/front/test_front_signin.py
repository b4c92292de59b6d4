"""Signing in by a pasted token and by a one-time address; who may not."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any
from urllib.parse import quote

import pytest
from yarl import URL

from kaosd.front import once, signin
from kaosd.front.connections import has_ipv6
from kaosd.front.once import OneTime, another_user

from .world import DAEMON, TOKEN, World

PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}


def sent_by(world: World, host: str = "") -> dict[str, str]:
    """What a browser sends with the form."""
    host = host or world.host
    return PAGE | {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}


def cookie_of(answer: Any) -> str:
    return str(answer.headers["Set-Cookie"]).partition(";")[0]


async def post(world: World, path: str, **fields: str) -> tuple[int, Any, str]:
    """Send the form: status, headers and text of the answer."""
    host = world.index_host if path.startswith("/kaosd/") else world.host
    async with world.get(path, None, "POST", headers=sent_by(world, host), data=fields) as answer:
        return answer.status, answer.headers, await answer.text()


async def test_a_browser_without_the_token_is_asked_for_it_and_goes_on_where_it_wanted(world: World) -> None:
    world.directory.put("nb", None, "building")
    async with world.get("/nb/lab/tree/a.ipynb?x=%20y&token=wrong", None, headers=PAGE) as answer:
        text = await answer.text()
        assert (answer.status, answer.headers["Referrer-Policy"]) == (401, "same-origin")
        assert "form-action 'self'" in answer.headers["Content-Security-Policy"]
    assert 'type="password" name="token"' in text
    action = re.findall('action="([^"]*)"', text)
    wanted = re.findall('name="next" value="([^"]*)"', text)
    assert (action, wanted) == (["/nb/login"], ["/nb/lab/tree/a.ipynb?x=%20y"])
    status, headers, _ = await post(world, "/nb/login", token=TOKEN, next=wanted[0])
    assert (status, headers["Location"]) == (303, wanted[0])
    assert {"HttpOnly", "SameSite=Strict", "Path=/nb/"} <= {part.strip() for part in headers["Set-Cookie"].split(";")}
    async with world.get("/nb/kaosd/", None, headers=PAGE | {"Cookie": cookie_of_headers(headers)}) as answer:
        assert answer.status == 200


def cookie_of_headers(headers: Any) -> str:
    return str(headers["Set-Cookie"]).partition(";")[0]


async def test_the_console_is_opened_by_its_own_token_alone(world: World) -> None:
    world.directory.put("nb", None, "live")
    status, headers, text = await post(world, "/kaosd/login", token=TOKEN)
    assert (status, "Set-Cookie" in headers) == (401, False)
    assert "This token does not open this address." in text
    status, headers, _ = await post(world, "/kaosd/login", token=DAEMON, next="/kaosd/")
    assert (status, headers["Location"]) == (303, "/kaosd/")
    at = PAGE | {"Host": world.index_host, "Cookie": cookie_of_headers(headers)}
    async with world.get("/kaosd/", None, headers=at) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "pasted",
    [TOKEN, f"  {TOKEN}\n", DAEMON, f"http://127.0.0.1:8890/nb/lab?token={TOKEN}", f"http://x/?a=1&token={TOKEN}&b=2"],
)
async def test_the_token_may_be_pasted_with_its_address(world: World, pasted: str) -> None:
    world.directory.put("nb", None, "live")
    assert (await post(world, "/nb/login", token=pasted))[0] == 303


@pytest.mark.parametrize("token", ["", "mistaken", "token-of-other", "http://x/?token=", "http://[x/?token=a"])
async def test_a_wrong_token_is_told_and_shown_nowhere(world: World, token: str) -> None:
    world.directory.put("nb", None, "live")
    world.directory.put("other", None, "live")
    for name in ("nb", "unknown"):
        status, headers, text = await post(world, f"/{name}/login", token=token, next=f"/{name}/lab")
        assert (status, "Set-Cookie" in headers) == (401, False)
        assert 'role="alert"' in text
        assert not token or token not in text


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example/",
        "http://evil.example/",
        "/other/lab",
        "/kaosd/",
        "/nb/login",
        "/nb/\r\nX: y",
        "/nb/é",
        "javascript:0",
    ],
)
async def test_signing_in_leads_nowhere_else(world: World, wanted: str) -> None:
    world.directory.put("nb", None, "live")
    status, headers, _ = await post(world, "/nb/login", token=TOKEN, next=wanted)
    assert (status, headers["Location"]) == (303, "/nb/lab")
    async with world.get(f"/nb/login?next={quote(wanted, safe='')}", None, headers=PAGE) as answer:
        assert 'name="next" value="/nb/lab"' in await answer.text()


@pytest.mark.parametrize(
    ("headers", "data", "status"),
    [
        ({"Origin": "http://evil.example"}, {"token": TOKEN}, 403),
        ({"Origin": "null"}, {"token": TOKEN}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, {"token": TOKEN}, 403),
        ({"Content-Type": "text/plain"}, b"token=" + TOKEN.encode(), 400),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"token=" + b"x" * 20_000, 400),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"a&" * 100 + b"token=\xff", 400),
    ],
)
async def test_a_form_from_elsewhere_or_of_another_kind_is_refused(
    world: World, headers: dict[str, str], data: Any, status: int
) -> None:
    world.directory.put("nb", None, "live")
    async with world.get("/nb/login", None, "POST", headers=sent_by(world) | headers, data=data) as answer:
        assert (answer.status, "Set-Cookie" in answer.headers) == (status, False)


async def test_the_form_of_another_site_s_script_never_finishes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signin, "_FORM_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    head = f"POST /nb/login HTTP/1.1\r\nHost: {world.host}\r\nContent-Length: 50\r\n"
    writer.write(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken=".encode())
    assert (await reader.readline()).split()[1] == b"400"
    writer.close()
    await writer.wait_closed()


# -- one-time addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "path", "to"), [("nb", "/nb/kaosd/once/", "/nb/lab"), ("", "/kaosd/once/", "/kaosd/")]
)
async def test_a_one_time_address_signs_in_once(world: World, scope: str, path: str, to: str) -> None:
    world.directory.put("nb", None, "live")
    code = world.front._once.issue(scope)
    at = PAGE | {"Host": world.host if scope else world.index_host}
    async with world.get(path + code, None, headers=at) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, to)
        assert code not in answer.headers["Set-Cookie"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        cookie = cookie_of(answer)
    async with world.get(path + code, None, headers=at) as answer:
        assert (answer.status, "Set-Cookie" in answer.headers) == (401, False)
        assert "used already, or it is too old" in await answer.text()
    async with world.get(path + code, None, headers=at | {"Cookie": cookie}) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, to)  # the person went back, and is signed in


async def test_a_one_time_address_of_the_other_name_is_led_to_the_right_one_and_not_used_up(world: World) -> None:
    code = world.front._once.issue("")
    async with world.get(f"/kaosd/once/{code}", None, headers=PAGE) as answer:
        assert answer.headers["Location"] == f"http://{world.index_host}/kaosd/once/{code}"
    async with world.get(f"/kaosd/once/{code}", None, headers=PAGE | {"Host": world.index_host}) as answer:
        assert answer.status == 303


async def test_a_one_time_address_opens_nothing_else(world: World) -> None:
    world.directory.put("nb", None, "live")
    world.directory.put("other", None, "live")
    code = world.front._once.issue("nb")
    index = PAGE | {"Host": world.index_host}
    for path, at in ((f"/other/kaosd/once/{code}", PAGE), (f"/kaosd/once/{code}", index)):
        async with world.get(path, None, headers=at) as answer:
            assert (answer.status, "Set-Cookie" in answer.headers) == (401, False)
    async with world.get(f"/nb/kaosd/once/{code}", None, headers={"Accept": "*/*"}) as answer:
        assert answer.status == 401  # not a page: a link preview, or a script
    async with world.get(f"/nb/kaosd/once/{code}", None, "HEAD", headers=PAGE) as answer:
        assert answer.status == 401
    async with world.get(f"/nb/kaosd/once/{code}", None, headers=PAGE) as answer:
        assert answer.status == 303  # it was not used up


@pytest.mark.parametrize("code", ["", "x", "a" * 43, "%00", "a" * 5000, "é"])
async def test_a_guessed_one_time_address_opens_nothing(world: World, code: str) -> None:
    world.directory.put("nb", None, "live")
    world.front._once.issue("nb")
    async with world.get(f"/nb/kaosd/once/{code}", None, headers=PAGE) as answer:
        assert (answer.status, "Set-Cookie" in answer.headers) == (401, False)


async def test_another_user_of_the_machine_cannot_use_a_one_time_address(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.directory.put("nb", None, "live")
    code = world.front._once.issue("nb")
    mine = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: mine + 1)  # whose daemon it is
        patch.setattr(once, "_ROOT", mine + 2)
        async with world.get(f"/nb/kaosd/once/{code}", None, headers=PAGE) as answer:
            assert answer.status == 401
            assert "another user" in await answer.text()
    async with world.get(f"/nb/kaosd/once/{code}", None, headers=PAGE) as answer:
        assert answer.status == 303  # it was not used up


async def test_who_is_at_the_other_end_is_known_for_both_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    monkeypatch.setattr(once, "_ROOT", mine + 2)
    for address in ("127.0.0.1", *(["::1"] if has_ipv6() else [])):
        server = await asyncio.start_server(lambda _, far: far.close(), address, 0)
        near = server.sockets[0].getsockname()
        _, writer = await asyncio.open_connection(address, near[1])
        assert another_user(near, writer.get_extra_info("sockname")) == mine
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
    assert another_user(("127.0.0.1", 1), ("192.0.2.1", 2)) is None


def test_a_one_time_code_runs_out_and_so_does_their_number() -> None:
    now = [0.0]
    codes = OneTime(lambda: now[0])
    late, first = codes.issue("nb"), codes.issue("nb")
    now[0] = once.SECONDS + 1
    assert not codes.redeem("nb", late)
    fresh = codes.issue("nb")
    for _ in range(200):
        last = codes.issue("nb")
    assert [codes.redeem("nb", code) for code in (first, fresh, last, last)] == [False, False, True, False]


async def test_the_list_hands_over_to_a_notebook_without_its_token(world: World) -> None:
    world.directory.put("nb", None, "live")
    async with world.get("/kaosd/open/nb/kaosd/", DAEMON, headers={"Host": world.index_host}) as answer:
        there = URL(answer.headers["Location"])
    assert (there.host, there.path.rpartition("/")[0]) == ("127.0.0.1", "/nb/kaosd/once")
    assert there.query == {"next": "/nb/kaosd/"}
    linked = PAGE | {"Sec-Fetch-Site": "cross-site"}
    async with world.get(str(there.relative()), None, headers=linked) as answer:
        assert answer.status == 200  # a redirect would still belong to the list, and show no cookie
        assert 'content="0;url=/nb/kaosd/"' in await answer.text()
        assert "kaosd-" in answer.headers["Set-Cookie"]
