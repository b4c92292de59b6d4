"""The requests with which VS Code connects to an "Existing Jupyter Server", replayed against the front."""

from __future__ import annotations

import re

import pytest
from yarl import URL

from .world import TOKEN, Upstream, World


async def found_by_vscode(world: World, pasted: str) -> str:
    """The base address that VS Code makes of a pasted one: by where a request without the token is sent to sign in."""
    address = URL(re.sub(r"/(lab|tree)\??$", "", pasted.strip()))
    base = str(address.with_query(None))
    if address.path == "/":
        return base
    async with world.client.get(base, allow_redirects=False) as answer:
        there = answer.headers.get("Location", "")
    return there.partition("login?")[0] if "login?" in there else base


@pytest.mark.parametrize(
    "path", ["/nb/lab", "/nb/", "/nb", "/nb/tree", "/nb/lab/tree/a%20b.ipynb", "/nb/notebooks/a.ipynb"]
)
@pytest.mark.parametrize("token", [f"?token={TOKEN}", ""])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_vscode_finds_the_server_of_every_address_that_is_printed(
    served: tuple[World, Upstream], path: str, token: str, host: str
) -> None:
    world, _ = served
    base = await found_by_vscode(world, f"http://{host}:{world.port}{path}{token}")
    assert base.rstrip("/") == f"http://{host}:{world.port}/nb"


async def test_vscode_connects(served: tuple[World, Upstream]) -> None:
    world, _ = served
    base = await found_by_vscode(world, f"{world.front.url}/nb/lab?token={TOKEN}")
    async with world.client.get(f"{base}hub/api") as answer:
        assert answer.status == 401  # is it a JupyterHub?
    async with world.client.get(f"{base}tree?", allow_redirects=False) as answer:
        assert answer.status == 302  # does it want a password?
    signed = {"Authorization": f"token {TOKEN}"}
    for method, path in (("GET", "api/kernelspecs?1764"), ("GET", "api/sessions"), ("POST", "api/kernels")):
        async with world.client.request(method, f"{base}{path}", headers=signed) as answer:
            assert (answer.status, (await answer.json())["target"]) == (200, f"/nb/{path}")
    channels = f"{base}api/kernels/1/channels?session_id=2&token={TOKEN}"
    async with world.client.ws_connect(channels) as socket:
        await socket.send_str("execute")
        assert await socket.receive_str() == "one: execute"
